/** Why a mount did not come about. */

export type MountErrorCode =
  /** No /dev/fuse, or it cannot be opened. */
  | 'no-device'
  /** The kernel or fusermount3 refused for want of rights. */
  | 'permission'
  /** fusermount3 is not installed. */
  | 'no-fusermount'
  /** `allow_other` by an ordinary user, without `user_allow_other` in /etc/fuse.conf. */
  | 'allow-other'
  | 'missing'
  | 'not-a-directory'
  | 'not-owned'
  /** Something of ours is mounted there already. */
  | 'busy'
  /** A dead mount is in the way. */
  | 'stale'
  /** A mount option that nobody knows. */
  | 'option'
  /** The kernel or the machine lacks what we need. */
  | 'unsupported'
  | 'failed';

/** `message` is one sentence for people: what failed, where, why, what to do. */
export class MountError extends Error {
  override readonly name = 'MountError';
  readonly code: MountErrorCode;
  constructor(code: MountErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
