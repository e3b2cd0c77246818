/** Data people's programs: pandas, Parquet, HDF5, memory maps, R. */
import { readFileSync, statSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run } from '../support/processes.ts';
import { python } from '../support/python.ts';

t.test('pandas: CSV and Parquet', async t => {
  const mount = await aMount(t);
  const script = `
import os, sys
import pandas as pd, numpy as np
d = sys.argv[1]
n = 120_000
frame = pd.DataFrame({'i': np.arange(n), 'x': np.sqrt(np.arange(n)), 's': ['값 %d' % (i % 977) for i in range(n)],
                      't': pd.date_range('2020-01-01', periods=n, freq='s')})
os.makedirs(d + '/parts')
frame.to_csv(d + '/frame.csv', index=False)
frame.to_parquet(d + '/frame.parquet')
frame.to_parquet(d + '/frame.zstd.parquet', compression='zstd', row_group_size=10_000)
frame.assign(p=frame.i % 4).to_parquet(d + '/parts/by', partition_cols=['p'])
frame.iloc[:1000].to_csv(d + '/frame.csv.gz', index=False)
with open(d + '/frame.csv', 'a') as f: f.write('%d,1.5,end,2030-01-01\\n' % n)
`;
  const check = `
import sys
import pandas as pd, pyarrow.parquet as pq
d = sys.argv[1]
n = 120_000
csv = pd.read_csv(d + '/frame.csv')
assert len(csv) == n + 1 and csv.i.sum() == n * (n + 1) // 2 and csv.s.iloc[-1] == 'end', csv.tail()
frame = pd.read_parquet(d + '/frame.parquet')
pd.testing.assert_frame_equal(frame, pd.read_parquet(d + '/frame.zstd.parquet'))
assert frame.i.sum() == n * (n - 1) // 2 and frame.s.iloc[978] == '값 1'
two = pd.read_parquet(d + '/frame.zstd.parquet', columns=['x'])
assert two.shape == (n, 1)
assert pq.ParquetFile(d + '/frame.zstd.parquet').read_row_group(7).num_rows == 10_000
parts = pd.read_parquet(d + '/parts/by', filters=[('p', '==', 3)])
assert len(parts) == n // 4 and (parts.i % 4 == 3).all()
assert len(pd.read_csv(d + '/frame.csv.gz')) == 1000
print('read')
`;
  python(script, [mount.dir]);
  t.equal(python(check, [mount.dir]), 'read\n', 'by the mount that wrote it');
  await mount.remount();
  t.equal(python(check, [mount.dir]), 'read\n', 'by a fresh mount');
  t.equal((await mount.client.head('frame.csv'))!.size, statSync(mount.path('frame.csv')).size);
  t.equal((await mount.client.get('frame.csv'))!.toString('utf8', 0, 8), 'i,x,s,t\n');
});

t.test('HDF5 and numpy memory maps change files in place', async t => {
  const mount = await aMount(t);
  const script = `
import sys
import h5py, numpy as np
d = sys.argv[1]
with h5py.File(d + '/a.h5', 'w') as f:
    f.create_dataset('x', data=np.arange(500_000), chunks=(10_000,), compression='gzip')
with h5py.File(d + '/a.h5', 'r+') as f:
    f['x'][1000:2000] = -1
    f.create_dataset('y', data=np.ones(1000))
m = np.memmap(d + '/map.dat', dtype='float64', mode='w+', shape=(1000, 1000))
m[10, :] = 7.5
m.flush()
del m
# In place, by a map of a part and by one that keeps its changes to itself.
r = np.memmap(d + '/map.dat', dtype='float64', mode='r+', offset=8 * 1000 * 500, shape=(500, 1000))
r[:, 3] = np.arange(500)
r[7] += 1
del r
c = np.memmap(d + '/map.dat', dtype='float64', mode='c', shape=(1000, 1000))
c[:] = 99
assert c.sum() == 99_000_000
del c
np.save(d + '/array.npy', np.arange(300_000).reshape(300, 1000))
a = np.load(d + '/array.npy', mmap_mode='r+')
a[299, 999] = -5
a.flush()
assert np.load(d + '/array.npy')[299, 999] == -5
`;
  const check = `
import sys
import h5py, numpy as np
d = sys.argv[1]
with h5py.File(d + '/a.h5', 'r') as f:
    x = f['x'][:]
    assert (x[1000:2000] == -1).all() and x[2000] == 2000 and x.sum() == sum(range(500_000)) - sum(range(1000, 2000)) - 1000
    assert f['y'][:].sum() == 1000
m = np.memmap(d + '/map.dat', dtype='float64', mode='r', shape=(1000, 1000))
assert m[10, 999] == 7.5 and m[11, 0] == 0 and m[999, 3] == 499 and m[507, 3] == 8 and m[507, 4] == 1
assert m.sum() == 7500 + sum(range(500)) + 1000
a = np.load(d + '/array.npy', mmap_mode='r')
assert a[299, 999] == -5 and a[:299].sum() == sum(range(299_000)) and a[299, 998] == 299_998
print('read')
`;
  // HDF5 locks its files: flock works within a mount.
  python(script, [mount.dir]);
  t.equal(python(check, [mount.dir]), 'read\n');
  await mount.remount();
  t.equal(python(check, [mount.dir]), 'read\n', 'by a fresh mount');
});

t.test('R: read.csv, fread, fwrite, saveRDS', async t => {
  const mount = await aMount(t);
  const script = `
d <- commandArgs(TRUE)[1]
suppressMessages(library(data.table))
setDTthreads(2)
n <- 50000
f <- data.frame(i = seq_len(n), x = sqrt(seq_len(n)), s = paste0("값 ", seq_len(n) %% 100))
write.csv(f, file.path(d, "f.csv"), row.names = FALSE, fileEncoding = "UTF-8")
a <- read.csv(file.path(d, "f.csv"), encoding = "UTF-8")
stopifnot(nrow(a) == n, sum(a$i) == sum(f$i), all.equal(a$x, f$x), a$s[7] == "값 7")
b <- fread(file.path(d, "f.csv"), encoding = "UTF-8")
stopifnot(nrow(b) == n, sum(b$i) == sum(f$i))
fwrite(b, file.path(d, "g.csv"))
fwrite(b[1:10], file.path(d, "g.csv"), append = TRUE)
stopifnot(nrow(fread(file.path(d, "g.csv"))) == n + 10)
saveRDS(f, file.path(d, "f.rds"))
stopifnot(identical(readRDS(file.path(d, "f.rds")), f))
save(f, file = file.path(d, "f.RData"))
cat("done\\n")
`;
  t.equal(run('Rscript', ['-e', script, mount.dir]), 'done\n');
  await mount.remount();
  const check = `
d <- commandArgs(TRUE)[1]
f <- readRDS(file.path(d, "f.rds")); e <- new.env(); load(file.path(d, "f.RData"), e)
stopifnot(nrow(f) == 50000, identical(e$f, f), nrow(read.csv(file.path(d, "g.csv"))) == 50010)
cat("done\\n")
`;
  t.equal(run('Rscript', ['-e', check, mount.dir]), 'done\n', 'by a fresh mount');
  t.equal(readFileSync(mount.path('f.csv'), 'utf8').split('\n').length, 50_002);
});
