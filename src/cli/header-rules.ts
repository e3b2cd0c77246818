/**
 * `ahbe_conf=FILE`, s3fs's headers by the end of a name: lines `SUFFIX HEADER VALUE`, `reg:REGEX HEADER VALUE`, or ` HEADER VALUE`
 * (a blank first) for all files. Of several lines that fit, the last one for a header counts.
 */
import { readFileSync } from 'node:fs';
import type { ObjectHeaders } from '../fs/options.ts';
import type { ContentHeaders } from '../s3/store.ts';
import { usageError } from './exit-codes.ts';

interface Rule {
  readonly fits: (path: string) => boolean;
  readonly field?: keyof ContentHeaders;
  /** User metadata, without `x-amz-meta-`. */
  readonly metadata?: string;
  readonly value: string;
}

const FIELDS: Readonly<Record<string, keyof ContentHeaders>> = {
  'content-type': 'contentType',
  'content-encoding': 'contentEncoding',
  'content-disposition': 'contentDisposition',
  'content-language': 'contentLanguage',
  'cache-control': 'cacheControl',
  expires: 'expires',
  'x-amz-website-redirect-location': 'websiteRedirectLocation',
};

/** Throws a `CliError` that names the line. */
export function readHeaderRules(file: string): ObjectHeaders {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`ahbe_conf: ${file} cannot be read: ${(error as Error).message}.`);
  }
  const rules = text.split('\n').flatMap((line, index) => ruleOf(line, `${file}, line ${index + 1}`) ?? []);
  return path => {
    const headers: Partial<Record<keyof ContentHeaders, string>> = {};
    const metadata: Record<string, string> = {};
    for (const rule of rules) {
      if (!rule.fits(path)) continue;
      if (rule.field) headers[rule.field] = rule.value;
      else metadata[rule.metadata!] = rule.value;
    }
    return { headers, metadata };
  };
}

function ruleOf(raw: string, at: string): Rule | undefined {
  const line = raw.replace(/\r$/, '');
  if (line.trim() === '' || line.startsWith('#')) return undefined;
  const [, which = '', name = '', value = ''] = /^(\S*)[ \t]+(\S+)[ \t]*(.*)$/.exec(line) ?? [];
  if (name === '') throw usageError(`${at}: it should be SUFFIX HEADER VALUE, or a blank first for all files.`);
  const header = name.toLowerCase().replace(/:$/, '');
  const fits = matcherOf(which, at);
  if (Object.hasOwn(FIELDS, header)) return { fits, field: FIELDS[header]!, value };
  if (header.startsWith('x-amz-meta-')) return { fits, metadata: header.slice('x-amz-meta-'.length), value };
  throw usageError(`${at}: ${name} cannot be set: only headers of the content and x-amz-meta-… can.`);
}

function matcherOf(which: string, at: string): (path: string) => boolean {
  if (!which.startsWith('reg:')) return path => path.endsWith(which);
  try {
    const pattern = new RegExp(which.slice('reg:'.length), 'u');
    // s3fs's paths begin with a slash.
    return path => pattern.test(`/${path}`);
  } catch (error) {
    throw usageError(`${at}: ${(error as Error).message}.`);
  }
}
