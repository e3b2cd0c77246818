/**
 * s3mount with bugs planted in it: `mkdir` of these names throws what no operation should throw. Arguments as s3mount's.
 */
import { main } from '../../src/cli/main.ts';
import { S3FileSystem } from '../../src/fs/filesystem.ts';

const original = S3FileSystem.prototype.mkdir;

S3FileSystem.prototype.mkdir = function (this: S3FileSystem, parent, name, mode, ctx) {
  switch (name) {
    case 'bug at once':
      throw new TypeError('planted at once');
    case 'bug in a promise':
      return Promise.reject(new TypeError('planted in a promise'));
    case 'bug in a timer':
      setTimeout(() => {
        throw new TypeError('planted in a timer');
      }, 10);
      // Nobody answers this one: its caller must not hang either.
      return new Promise(() => {});
    case 'bug in a forgotten promise':
      void Promise.reject(new TypeError('planted in a forgotten promise'));
      return new Promise(() => {});
    default:
      return original.call(this, parent, name, mode, ctx);
  }
};

await main(process.argv.slice(2));
