// What each group of tests and the demo need beside npm packages, in one place: programs by name, with the package that
// holds them in Debian/Ubuntu (apt) and in Fedora, RHEL, Amazon Linux (dnf); sizes as downloaded, times on two cores.

const fuse3 = { program: 'fusermount3', apt: 'fuse3', dnf: 'fuse3', megabytes: 1 };

/** Programs that people use on a mount, tried there for real. */
const programs = [
  fuse3,
  { program: 'git', apt: 'git', dnf: 'git', megabytes: 10 },
  { program: 'rsync', apt: 'rsync', dnf: 'rsync', megabytes: 1 },
  { program: 'sqlite3', apt: 'sqlite3', dnf: 'sqlite', megabytes: 1 },
  { program: 'vim', apt: 'vim', dnf: 'vim-enhanced', megabytes: 9 },
  { program: 'gcc', apt: 'gcc libc6-dev', dnf: 'gcc glibc-devel', megabytes: 60 },
];

export const npmPackages = { megabytes: 60, seconds: 30 };

/**
 * The groups in the order in which they run. `directories` below test/; those that do not exist are left out.
 * `seconds` is the limit for one file, so that nothing hangs for ever; `jobs` are files at once.
 */
export const groups = {
  unit: { directories: ['unit'], requirements: [], seconds: 60, jobs: 2, minutes: 1 },
  model: { directories: ['model'], requirements: [], seconds: 300, jobs: 2, minutes: 2 },
  semantics: { directories: ['semantics'], requirements: [], seconds: 60, jobs: 2, minutes: 1 },
  contract: { directories: ['contract'], requirements: [], seconds: 180, jobs: 2, minutes: 2 },
  functional: { directories: ['functional'], requirements: [], seconds: 300, jobs: 2, minutes: 3 },
  mount: { directories: ['mount'], requirements: [fuse3], seconds: 240, jobs: 2, minutes: 5 },
  programs: { directories: ['programs'], requirements: programs, seconds: 600, jobs: 1, minutes: 10 },
};

export const demoRequirements = [fuse3];
