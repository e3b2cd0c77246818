/** Content types of new files, by the last part of their names: /etc/mime.types, or a few that every S3 tool agrees on. */

/** What S3 itself gives an object without a type is binary/octet-stream; s3fs and the AWS CLI write this. */
export const DEFAULT_CONTENT_TYPE = 'application/octet-stream';
export const DIRECTORY_CONTENT_TYPE = 'application/x-directory';

export type ContentTypes = ReadonlyMap<string, string>;

const BUILT_IN: readonly (readonly [string, string])[] = [
  ['csv', 'text/csv'],
  ['css', 'text/css'],
  ['gif', 'image/gif'],
  ['gz', 'application/gzip'],
  ['htm', 'text/html'],
  ['html', 'text/html'],
  ['jpeg', 'image/jpeg'],
  ['jpg', 'image/jpeg'],
  ['js', 'text/javascript'],
  ['json', 'application/json'],
  ['md', 'text/markdown'],
  ['mp4', 'video/mp4'],
  ['parquet', 'application/vnd.apache.parquet'],
  ['pdf', 'application/pdf'],
  ['png', 'image/png'],
  ['svg', 'image/svg+xml'],
  ['txt', 'text/plain'],
  ['xml', 'application/xml'],
  ['zip', 'application/zip'],
];

/** Reads lines `type extension …` of a mime.types file; what it does not name keeps the built-in type. */
export function parseMimeTypes(text: string): ContentTypes {
  const types = new Map(BUILT_IN);
  for (const line of text.split('\n')) {
    const [type, ...extensions] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (!type || !/^[\w.+-]+\/[\w.+-]+$/.test(type)) continue;
    for (const extension of extensions) types.set(extension.toLowerCase(), type);
  }
  return types;
}

export function contentTypeOf(types: ContentTypes, name: string): string {
  const dot = name.lastIndexOf('.');
  return (dot > 0 ? types.get(name.slice(dot + 1).toLowerCase()) : undefined) ?? DEFAULT_CONTENT_TYPE;
}
