// `npm run demo [-- --check]`: from a bare clone to a mounted bucket. Installs what is missing, builds, starts.
import { fileURLToPath } from 'node:url';
import { demoRequirements } from './requirements.mjs';

// `--prepared`: by tests, which have installed and built already. The bundle starts this script again for the work in the
// mount; there is nothing to prepare then either.
const given = process.argv.slice(2);
const args = given.filter(arg => arg !== '--prepared');
const prepared = args.length < given.length || args[0] === '--work-in';

let closeFuseDevice = () => {};
if (!prepared) {
  const { buildBundle, install, openFuseDevice, Refusal } = await import('./prepare.mjs');
  try {
    install(demoRequirements, line => console.log(`demo: ${line}`));
    buildBundle();
    // Root opens the device as it is; an ordinary user may need sudo for it once.
    if (process.getuid() !== 0) closeFuseDevice = openFuseDevice();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.error(`demo: ${error.message}`);
    process.exit(1);
  }
}
const { main } = await import(new URL('../dist/demo.js', import.meta.url).href);
try {
  await main(fileURLToPath(new URL('../bin/s3mount', import.meta.url)), args);
} finally {
  closeFuseDevice();
}
