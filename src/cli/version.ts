declare const S3MOUNT_VERSION: string;

/** Set by the bundler from package.json. */
export const VERSION: string = typeof S3MOUNT_VERSION === 'string' ? S3MOUNT_VERSION : 'development';
