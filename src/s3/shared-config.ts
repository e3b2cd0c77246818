/** What stands in ~/.aws, read by the SDK's own code. */

/** True where ~/.aws/credentials (or AWS_SHARED_CREDENTIALS_FILE) holds the keys themselves for `profile`. */
export async function profileHasKeys(profile: string): Promise<boolean> {
  const { loadSharedConfigFiles } = await import('./sdk-chain.ts');
  const { credentialsFile } = await loadSharedConfigFiles({ ignoreCache: true });
  const section = credentialsFile[profile];
  return Boolean(section?.['aws_access_key_id'] && section['aws_secret_access_key']);
}
