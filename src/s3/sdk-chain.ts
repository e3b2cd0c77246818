/**
 * What is taken from the AWS SDK when a mount starts: its credential chain and its reading of the region. In a file of its
 * own, so that it is loaded on first use; by name, because a dynamic import of CommonJS in a bundle has no named exports.
 */
export { fromHttp } from '@aws-sdk/credential-provider-http';
export { defaultProvider } from '@aws-sdk/credential-provider-node';
export {
  loadConfig,
  loadSharedConfigFiles,
  NODE_REGION_CONFIG_FILE_OPTIONS,
  NODE_REGION_CONFIG_OPTIONS,
} from '@smithy/core/config';
export { fromContainerMetadata, fromInstanceMetadata } from '@smithy/credential-provider-imds';
