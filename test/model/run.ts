/** Runs commands on both filesystems, and checks what must hold after each and at the end. */
import { DirectoryInode, FileInode, type Inode, ROOT_NODEID } from '../../src/fs/inode.ts';
import { HIDDEN_PREFIX } from '../../src/fs/keys.ts';
import { O_ACCMODE, O_WRONLY } from '../../src/fs/modes.ts';
import { actionOf, type Command, wrongAttributes, wrongEntries } from './commands.ts';
import { ModelDirectory, ModelFile, ModelSpecial } from './reference.ts';
import { type Setting, World } from './world.ts';

export async function runCommands(setting: Setting, commands: readonly Command[]): Promise<World> {
  const world = new World(setting);
  for (const command of commands) {
    await runCommand(world, command);
    checkInvariants(world);
  }
  await finish(world);
  return world;
}

export async function runCommand(world: World, command: Command): Promise<void> {
  switch (command.do) {
    case 'forgetNames':
      world.history.push(command.do);
      world.kernel.forgetNames();
      return;
    case 'advance':
      world.history.push(`${command.ms} ms later`);
      return world.clock.advance(command.ms);
    case 'drain':
      world.history.push(command.do);
      await world.fs.filesystem.drain();
      return checkSaved(world);
    case 'remount':
      return remount(world);
    default: {
      const action = actionOf(world, command);
      if (action) await world.perform(action);
    }
  }
}

async function remount(world: World): Promise<void> {
  await closeAll(world);
  await unmount(world);
  world.history.push('mount');
  world.mount();
}

async function closeAll(world: World): Promise<void> {
  for (const id of [...world.model.handles.keys()]) {
    await world.perform({
      label: `close #${id}`,
      expect: model => model.close(id),
      run: async () => {
        const file = world.files.get(id)!;
        world.files.delete(id);
        await world.kernel.close(file);
      },
    });
  }
}

/** Everything is saved and given back; nothing may be left of it. */
async function unmount(world: World): Promise<void> {
  const { filesystem, budget } = world.fs;
  world.history.push('unmount');
  world.kernel.forgetNames();
  await filesystem.drain();
  // A marker of an emptied directory waits for a second.
  await world.clock.advance(2000);
  await filesystem.destroy();
  await turns(20);
  checkSaved(world);
  const left = [...filesystem.namespace.inodes()].filter(inode => inode.nodeid !== ROOT_NODEID);
  if (left.length > 0) world.fail(`inodes left: ${left.map(inode => `${inode.nodeid} ${inode.label}`).join(', ')}`);
  if (filesystem.unsaved().names.length > 0) world.fail(`left unsaved: ${filesystem.unsaved().names.join(', ')}`);
  if (world.store.openUploads > 0 && !world.mayLeaveUploads)
    world.fail(`${world.store.openUploads} multipart uploads left`);
  // All that is held now is cached blocks, which can be given up.
  if (!budget.tryAcquire(budget.total)) world.fail(`${budget.used} of ${budget.total} bytes of memory are lost`);
  budget.release(budget.total);
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve));
}

export async function finish(world: World): Promise<void> {
  await closeAll(world);
  await checkTree(world);
  await unmount(world);
  world.history.push('mount');
  world.mount();
  await checkTree(world);
}

// --- what must hold -------------------------------------------------------------------------------------------------------

export function checkInvariants(world: World): void {
  const { filesystem, budget } = world.fs;
  const { namespace } = filesystem;
  if (budget.used > budget.total) world.fail(`${budget.used} bytes of memory are used of ${budget.total}`);
  for (const nodeid of world.kernel.nodeids) namespace.inode(nodeid);
  const held = new Set(world.kernel.nodeids);
  for (const inode of namespace.inodes()) checkInode(world, inode, held);
}

function checkInode(world: World, inode: Inode, held: ReadonlySet<number>): void {
  const { namespace } = world.fs.filesystem;
  const { parent, name, nodeid } = inode;
  const label = `inode ${nodeid} (${name})`;
  if (parent) {
    if (parent.children.get(name) !== inode) world.fail(`${label} is not where its parent has it`);
    if (namespace.inode(parent.nodeid) !== parent) world.fail(`${label} has a parent that was let go`);
  }
  if (inode instanceof DirectoryInode) {
    for (const [child, below] of inode.children) {
      if (below.parent !== inode || below.name !== child) world.fail(`${label} has a child ${child} that is elsewhere`);
    }
  }
  const isNeeded =
    nodeid === ROOT_NODEID ||
    held.has(nodeid) ||
    inode.metadataUnsaved ||
    // What is listed ahead of a walker is let go when its listing has come.
    (inode instanceof DirectoryInode && (inode.children.size > 0 || inode.loading !== undefined)) ||
    (inode instanceof FileInode && (inode.unsaved || inode.opens > 0));
  if (!isNeeded) world.fail(`${label} is needed by nobody and was not let go`);
}

/** After a drain: S3 has what the model has. */
function checkSaved(world: World): void {
  const files = new Map<string, Uint8Array>();
  const directories = new Set<string>();
  const unsaved = new Set<string>();
  for (const [path, entry] of world.model.paths()) {
    if (entry instanceof ModelDirectory) directories.add(`${path.slice(1)}/`);
    else if (entry instanceof ModelFile) files.set(path.slice(1), entry.bytes);
    else files.set(path.slice(1), Buffer.from(entry.target ?? ''));
    if (entry instanceof ModelFile && entry.isUnsaved) unsaved.add(path.slice(1));
  }
  for (const key of world.store.keys()) {
    if (key.startsWith(HIDDEN_PREFIX)) {
      if (world.model.handles.size === 0 && !world.mayLeaveHidden) world.fail(`S3 still has ${key}`);
    } else if (key.endsWith('/')) {
      if (!directories.has(key)) world.fail(`S3 has ${key}, which is no directory`);
    } else if (!files.has(key)) world.fail(`S3 has ${key}, which is no file`);
  }
  for (const [key, bytes] of files) {
    const stored = world.store.bytes(key);
    if (!stored) world.fail(`S3 lacks ${key}${unsaved.has(key) ? ' (unsaved)' : ''}`);
    if (Buffer.compare(stored, bytes) !== 0) world.fail(`S3 has ${key} with other bytes`);
  }
}

/** Walks all of it: names, attributes, contents, links, extended attributes. */
export async function checkTree(world: World): Promise<void> {
  const inos = new Map<bigint, string>();
  for (const [path, entry] of world.model.paths()) {
    const attributes = await world.kernel.stat(path);
    const wrong = wrongAttributes(world, entry, attributes);
    if (wrong) world.fail(`stat of ${path || '/'}: ${wrong}`);
    const twin = inos.get(attributes.ino);
    if (twin !== undefined) world.fail(`${path} and ${twin} have one st_ino`);
    inos.set(attributes.ino, path);
    if (entry instanceof ModelDirectory) {
      const wrongNames = wrongEntries(entry, await world.kernel.readdir(path, { plus: false, atOnce: 100 }));
      if (wrongNames) world.fail(`readdir of ${path || '/'}: ${wrongNames}`);
    } else if (entry instanceof ModelFile) {
      const file = await world.kernel.open(path, 0, 0);
      const bytes = await world.kernel.read(file, 0, entry.bytes.length + 1);
      await world.kernel.close(file);
      if (entry.isUntold && entry.isUnsaved) Object.assign(entry, { bytes: Buffer.from(bytes), isUnsaved: false });
      if (Buffer.compare(bytes, entry.bytes) !== 0) world.fail(`${path} has other bytes`);
    } else if (entry instanceof ModelSpecial && entry.target !== undefined) {
      const target = await world.kernel.readlink(path);
      if (target !== entry.target) world.fail(`${path} points to ${target}`);
    }
    const xattrs = await world.kernel.xattrs(path);
    if (entry.isUntold) Object.assign(entry, { xattrs, isUntold: false });
    if (JSON.stringify([...xattrs].sort()) !== JSON.stringify([...entry.xattrs].sort())) {
      world.fail(`${path} has xattrs ${JSON.stringify([...xattrs])} instead of ${JSON.stringify([...entry.xattrs])}`);
    }
  }
  for (const [id, { file }] of world.model.handles) await checkHandle(world, id, file, inos);
}

/** What is open is the file that it was, also without its name. */
async function checkHandle(
  world: World,
  id: number,
  entry: ModelFile,
  inos: ReadonlyMap<bigint, string>,
): Promise<void> {
  const file = world.files.get(id)!;
  const attributes = await world.kernel.fstat(file);
  const wrong = wrongAttributes(world, entry, attributes);
  if (wrong) world.fail(`fstat of #${id}: ${wrong}`);
  const path = inos.get(attributes.ino);
  if ((path === undefined) === entry.isLinked) world.fail(`#${id} is ${path ?? 'nowhere'}`);
  if ((file.flags & O_ACCMODE) === O_WRONLY) return;
  const bytes = await world.kernel.read(file, 0, entry.bytes.length + 1);
  if (Buffer.compare(bytes, entry.bytes) !== 0) world.fail(`#${id} has other bytes`);
}
