// What each group of tests and the demo need beside npm packages, in one place: programs by name, with the package that
// holds them in Debian/Ubuntu (apt) and in Fedora, RHEL, Amazon Linux (dnf); sizes as downloaded, times on two cores.
// Where the program alone does not tell that all is there, `check` is a command that succeeds only then.

const fuse3 = { program: 'fusermount3', apt: 'fuse3', dnf: 'fuse3', megabytes: 1 };

/** Programs that people use on a mount, tried there for real. */
const programs = [
  fuse3,
  { program: 'git', apt: 'git', dnf: 'git', megabytes: 10 },
  { program: 'rsync', apt: 'rsync', dnf: 'rsync', megabytes: 1 },
  { program: 'sqlite3', apt: 'sqlite3', dnf: 'sqlite', megabytes: 1 },
  { program: 'vim', apt: 'vim', dnf: 'vim-enhanced', megabytes: 9 },
  { program: 'gcc', apt: 'gcc libc6-dev', dnf: 'gcc glibc-devel', megabytes: 60 },
  { program: 'make', apt: 'make', dnf: 'make', megabytes: 1 },
  { program: 'zip', apt: 'zip unzip', dnf: 'zip unzip', megabytes: 1 },
  { program: 'dpkg-deb', apt: 'dpkg', dnf: 'dpkg', megabytes: 2 },
  { program: 'dbench', apt: 'dbench', dnf: 'dbench', megabytes: 2 },
  { program: 'bonnie++', apt: 'bonnie++', dnf: 'bonnie++', megabytes: 1 },
  {
    program: 'python3',
    apt: 'python3 python3-venv',
    dnf: 'python3',
    megabytes: 12,
    check: ['python3', '-c', 'import ensurepip'],
  },
  {
    program: 'Rscript',
    apt: 'r-base-core r-cran-data.table',
    dnf: 'R-core R-data.table',
    megabytes: 70,
    check: ['Rscript', '-e', 'library(data.table)'],
  },
];

/** The mount whose users come to us, at the version that the distribution has. */
const s3fs = { program: 's3fs', apt: 's3fs', dnf: 's3fs-fuse', megabytes: 1 };

/** What people use beside the mount, on the same bucket: the AWS CLI, Shiny, an sftp server. */
const story = [
  fuse3,
  { program: 'aws', apt: 'awscli', dnf: 'awscli-2', megabytes: 11 },
  {
    program: 'Rscript',
    apt: 'r-base-core r-cran-data.table r-cran-shiny',
    dnf: 'R-core R-data.table R-shiny',
    megabytes: 90,
    check: ['Rscript', '-e', 'library(data.table); library(shiny)'],
  },
  {
    program: 'sftp',
    apt: 'openssh-client openssh-sftp-server',
    dnf: 'openssh-clients openssh-server',
    megabytes: 2,
    check: ['sh', '-c', 'ls /usr/lib/openssh/sftp-server || ls /usr/libexec/openssh/sftp-server'],
  },
  {
    program: 'python3',
    apt: 'python3 python3-venv',
    dnf: 'python3',
    megabytes: 12,
    check: ['python3', '-c', 'import ensurepip'],
  },
];

/** A single-node Ceph with its S3 gateway. */
const rgw = {
  program: 'radosgw',
  apt: 'radosgw ceph-mon ceph-osd ceph-common',
  dnf: 'ceph-radosgw ceph-mon ceph-osd ceph-common',
  megabytes: 63,
  check: ['ceph-osd', '--version'],
};

/** What the suites of others need, beside those from crates.io. */
const suites = [
  fuse3,
  { program: 'fio', apt: 'fio', dnf: 'fio', megabytes: 3 },
  { program: 'stress-ng', apt: 'stress-ng', dnf: 'stress-ng', megabytes: 3 },
  { program: 'cargo', apt: 'cargo', dnf: 'cargo', megabytes: 120 },
];

/** A machine to boot: Debian's packages into a directory (60 MB more), and systemd in a container. */
const machine = [
  fuse3,
  { program: 'systemd-nspawn', apt: 'systemd-container', dnf: 'systemd-container', megabytes: 2 },
  { program: 'debootstrap', apt: 'debootstrap', dnf: 'debootstrap', megabytes: 1 },
  { program: 'dpkg-deb', apt: 'dpkg', dnf: 'dpkg', megabytes: 2 },
  { program: 'rpmbuild', apt: 'rpm', dnf: 'rpm-build', megabytes: 3 },
];

/** From crates.io, into a directory of its own in the checkout. */
export const cargoPackages = {
  names: ['fsx@0.3.2', 'pjdfstest@0.2.2'],
  directory: 'node_modules/.s3mount-cargo',
  seconds: 180,
};

/** From PyPI, into a directory of its own in the checkout. */
export const pythonPackages = {
  names: ['pandas', 'pyarrow', 'h5py', 'awswrangler', 'jupyter_server'],
  directory: 'node_modules/.s3mount-python',
  megabytes: 105,
  seconds: 45,
};

/** Other versions of Node, as the npm registry has them, into a directory of their own in the checkout. */
export const nodeVersions = {
  versions: [22, 24],
  directory: 'node_modules/.s3mount-node',
  megabytes: 90,
  seconds: 20,
};

/** The package of the second binding, as a user has it: from npm, into a directory of its own in the checkout. */
export const fuseNative = {
  version: '2.2.6',
  directory: 'node_modules/.s3mount-fuse-native',
  megabytes: 9,
  seconds: 5,
};

/** What it stands on. `fusermount` is in every version of it; its library is what counts. */
const fuse2 = {
  program: 'fusermount',
  apt: 'libfuse2',
  dnf: 'fuse-libs',
  megabytes: 1,
  check: ['sh', '-c', 'ldconfig -p | grep -q libfuse.so.2'],
};

/** The Node that the packages carry: the long-term release; and what builds them. */
export const packageRuntime = {
  version: '22.23.3',
  requirements: [
    { format: 'deb', program: 'dpkg-deb', apt: 'dpkg', dnf: 'dpkg', megabytes: 2 },
    { format: 'rpm', program: 'rpmbuild', apt: 'rpm', dnf: 'rpm-build', megabytes: 3 },
  ],
};

export const npmPackages = { megabytes: 60, seconds: 30 };

/**
 * Seconds for one file of tests, so that nothing hangs for ever. The longest usually take about 120 s; a machine
 * that is several times as slow is no failure. The tests have their own limits from this one (`test/support/limits.ts`).
 */
export const fileLimit = 600;

/**
 * The groups in the order in which they run. `directories` below test/; those that do not exist are left out.
 * `jobs` are files at once.
 */
export const groups = {
  unit: { directories: ['unit'], requirements: [], jobs: 2, minutes: 1 },
  model: { directories: ['model'], requirements: [], jobs: 2, minutes: 2 },
  faults: { directories: ['faults'], requirements: [], jobs: 1, minutes: 1 },
  semantics: { directories: ['semantics'], requirements: [], jobs: 2, minutes: 1 },
  contract: { directories: ['contract'], requirements: [], jobs: 2, minutes: 2 },
  mount: { directories: ['mount'], requirements: [fuse3], jobs: 2, minutes: 5 },
  nodes: { directories: ['nodes'], requirements: [fuse3], nodes: true, jobs: 1, minutes: 1 },
  bindings: {
    directories: ['bindings'],
    requirements: [fuse3, fuse2],
    nodes: true,
    fuseNative: true,
    jobs: 1,
    minutes: 1,
  },
  large: { directories: ['large'], requirements: [fuse3], jobs: 1, minutes: 4 },
  programs: { directories: ['programs'], requirements: programs, python: true, jobs: 2, minutes: 5 },
  interop: { directories: ['interop'], requirements: [fuse3, s3fs], jobs: 2, minutes: 1 },
  story: { directories: ['story'], requirements: story, python: true, jobs: 1, minutes: 3 },
  conformance: { directories: ['conformance'], requirements: suites, cargo: true, jobs: 2, minutes: 6 },
  boot: { directories: ['boot'], requirements: machine, jobs: 1, minutes: 2 },
  rgw: { directories: ['rgw'], requirements: [fuse3, rgw], jobs: 1, minutes: 2 },
};

export const demoRequirements = [fuse3];

/** The load of `npm run soak`; models and fuzzers need npm's packages only. */
export const loadRequirements = [fuse3, { program: 'python3', apt: 'python3', dnf: 'python3', megabytes: 12 }];
