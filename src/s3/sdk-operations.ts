/**
 * What is taken from the AWS SDK once the mount answers. In a file of its own and by name, so that it is loaded on first use
 * and a bundle holds these operations only.
 */
export {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectTaggingCommand,
  ListPartsCommand,
  RestoreObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
