/** What the audit of dependencies says, from what npm says. */
import t from 'tap';

const script = new URL('../../scripts/audit.mjs', import.meta.url).href;
const { verdict } = (await import(script)) as {
  verdict(output: string): { readonly code: number; readonly text: string };
};

t.test('no hole, some holes, no answer', t => {
  const counts = { info: 0, low: 0, moderate: 0, high: 0, critical: 0, total: 0 };
  const clean = {
    auditReportVersion: 2,
    vulnerabilities: {},
    metadata: { vulnerabilities: counts, dependencies: { prod: 70 } },
  };
  t.match(verdict(JSON.stringify(clean)), { code: 0, text: /^No hole is known among 70 packages/ });
  const found = {
    ...clean,
    vulnerabilities: { left: { name: 'left', severity: 'high', range: '<1.2.3', fixAvailable: true } },
    metadata: { vulnerabilities: { ...counts, high: 1, total: 1 } },
  };
  t.match(verdict(JSON.stringify(found)), {
    code: 1,
    text: /1 packages:\n {2}left <1\.2\.3: high, mended in a newer version/,
  });
  const refused = { message: 'Not found', error: { summary: 'audit endpoint returned an error', detail: '' } };
  t.match(verdict(JSON.stringify(refused)), { code: 2, text: /answers no audits \(audit endpoint.*nothing is known/ });
  t.match(verdict(''), { code: 2 });
  t.match(verdict('{}'), { code: 2 }, 'never taken for a clean one');
  t.end();
});
