/**
 * The least IAM policy with which a bucket can be mounted. Each action in it is there because a test fails without it
 * (`test/unit/cli-iam-policy.test.ts`).
 */

import { zoneOf } from '../s3/directory-bucket.ts';
import { parseBucket } from './bucket.ts';
import { usageError } from './exit-codes.ts';

export interface PolicyWish {
  /** As it is mounted: `BUCKET`, `BUCKET:/path`, `s3://…`, an access point's ARN. */
  readonly source: string;
  readonly readOnly: boolean;
  /** Below this only; beside the path in `source`. */
  readonly prefix?: string | undefined;
  /** ARN or ID of the key of KMS with which objects are encrypted. */
  readonly kms?: string | undefined;
  /** `aws`, `aws-cn`, `aws-us-gov`. */
  readonly partition?: string | undefined;
  /** A canned ACL is written (`default_acl`). */
  readonly acl?: boolean;
  /** Archived objects are brought back (`s3mount restore`). */
  readonly restore?: boolean;
}

interface Statement {
  readonly Sid: string;
  readonly Effect: 'Allow';
  readonly Action: readonly string[];
  readonly Resource: string;
  readonly Condition?: object;
}

export interface PolicyDocument {
  readonly Version: '2012-10-17';
  readonly Statement: readonly Statement[];
}

/** Throws a `CliError` for what is no bucket or no key. */
export function iamPolicy(wish: PolicyWish): PolicyDocument {
  const place = parseBucket(wish.source);
  const more = wish.prefix?.replace(/^\/+|\/+$/g, '') ?? '';
  const prefix = more === '' ? place.prefix : `${place.prefix}${more}/`;
  const isArn = place.bucket.startsWith('arn:');
  const partition = wish.partition ?? (isArn ? place.bucket.split(':')[1]! : 'aws');
  const bucketArn = isArn
    ? place.bucket.replace(/:accesspoint:/, ':accesspoint/')
    : `arn:${partition}:s3:::${place.bucket}`;
  const objects = `${isArn ? `${bucketArn}/object` : bucketArn}/${asPattern(prefix)}*`;
  const express = zoneOf(place.bucket) !== undefined;
  const statements = express
    ? [sessionStatement(place.bucket, prefix, partition, wish.readOnly)]
    : objectStatements(wish, bucketArn, objects, prefix);
  if (wish.kms !== undefined) {
    const domain = partition === 'aws-cn' ? 'amazonaws.com.cn' : 'amazonaws.com';
    const services = express ? [`s3.*.${domain}`, `s3express.*.${domain}`] : `s3.*.${domain}`;
    statements.push({
      Sid: 'UseTheKey',
      Effect: 'Allow',
      Action: wish.readOnly ? ['kms:Decrypt'] : ['kms:Decrypt', 'kms:GenerateDataKey'],
      Resource: kmsArn(wish.kms, partition),
      // By way of S3 only, not for anything else that this key protects.
      Condition: { StringLike: { 'kms:ViaService': services } },
    });
  }
  return { Version: '2012-10-17', Statement: statements };
}

/** A session with a directory bucket, in which everything is allowed that its mode allows. */
function sessionStatement(bucket: string, prefix: string, partition: string, readOnly: boolean): Statement {
  if (prefix !== '') {
    throw usageError(
      `"${bucket}" is a directory bucket, whose sessions are for all of it: leave the prefix out, no policy can be for "${prefix}" only.`,
    );
  }
  return {
    Sid: 'OpenSessions',
    Effect: 'Allow',
    Action: ['s3express:CreateSession'],
    Resource: `arn:${partition}:s3express:*:*:bucket/${asPattern(bucket)}`,
    ...(readOnly ? { Condition: { StringEquals: { 's3express:SessionMode': 'ReadOnly' } } } : {}),
  };
}

function objectStatements(wish: PolicyWish, bucketArn: string, objects: string, prefix: string): Statement[] {
  const statements: Statement[] = [
    {
      Sid: 'ListNames',
      Effect: 'Allow',
      Action: ['s3:ListBucket'],
      Resource: bucketArn,
      ...(prefix === '' ? {} : { Condition: { StringLike: { 's3:prefix': `${asPattern(prefix)}*` } } }),
    },
    {
      Sid: 'ReadObjects',
      Effect: 'Allow',
      Action: ['s3:GetObject', ...(wish.restore ? ['s3:RestoreObject'] : [])],
      Resource: objects,
    },
  ];
  if (!wish.readOnly) {
    statements.push({
      Sid: 'WriteObjects',
      Effect: 'Allow',
      Action: [
        's3:PutObject',
        's3:DeleteObject',
        // Tags that others gave go along when an object is written anew, renamed or copied.
        's3:GetObjectTagging',
        's3:PutObjectTagging',
        's3:AbortMultipartUpload',
        // Whether an upload whose end nobody heard of was completed.
        's3:ListMultipartUploadParts',
        ...(wish.acl ? ['s3:PutObjectAcl'] : []),
      ],
      Resource: objects,
    });
  }
  return statements;
}

/** `*`, `?` and `$` in a name mean themselves ("IAM policy elements: Variables"). */
function asPattern(text: string): string {
  return text.replace(/[*?$]/g, letter => `\${${letter}}`);
}

function kmsArn(key: string, partition: string): string {
  if (/^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/[A-Za-z0-9-]+$/.test(key)) return key;
  if (/^(?:mrk-)?[0-9a-f-]{32,36}$/i.test(key)) return `arn:${partition}:kms:*:*:key/${key}`;
  throw usageError(
    `--kms=${key} should be the ARN or the ID of a key: policies do not know aliases (aws kms describe-key --key-id ALIAS names it).`,
  );
}

export function policyText(document: PolicyDocument): string {
  return JSON.stringify(document, undefined, 2);
}
