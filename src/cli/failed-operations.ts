/** Which path a failed operation was about, and what a person calls it. */
import type { FailedOperation, OperationName } from '../fuse/observed.ts';
import type { Name } from '../fuse/ops.ts';

/** Operations whose second argument is a name below their first. */
const NAMED: ReadonlySet<OperationName> = new Set([
  'lookup',
  'symlink',
  'mknod',
  'mkdir',
  'unlink',
  'rmdir',
  'rename',
  'create',
]);

const DOING: Partial<Readonly<Record<OperationName, string>>> = {
  lookup: 'look at',
  getattr: 'look at',
  setattr: 'change of mode, owner, times or size',
  readlink: 'read of the link',
  symlink: 'making the link',
  mknod: 'create',
  flush: 'close',
  opendir: 'list',
  readdir: 'list',
  getxattr: 'read of an attribute',
  setxattr: 'setting an attribute',
  listxattr: 'listing of attributes',
  removexattr: 'removal of an attribute',
  copyFileRange: 'copy',
};

export function subjectOf({ name, args }: Pick<FailedOperation, 'name' | 'args'>): { nodeid: number; name?: Name } {
  const [first, second, third] = args;
  if (name === 'copyFileRange') return { nodeid: (second as { readonly nodeid: number }).nodeid };
  // link(nodeid, newParent, newName)
  if (name === 'link') return { nodeid: second as number, name: third as Name };
  return NAMED.has(name) ? { nodeid: first as number, name: second as Name } : { nodeid: first as number };
}

export function doingOf(name: OperationName): string {
  return DOING[name] ?? name;
}
