// Reads what `tap --reporter=tap` prints: one block per file, totals at the end.
//
//   # Subtest: test/unit/x.test.ts
//       ok 1 - …
//   not ok 3 - test/unit/x.test.ts # time=12ms
//   # { total: 9, pass: 8, fail: 1 }

/** Feed it line by line; `file(name, ok, ms, failures)` is called as each file ends. */
export class TapOutput {
  totals;
  #file;
  #block = [];
  constructor(file) {
    this.#file = file;
  }

  line(line) {
    if (/^ {4}/.test(line) || line === '') {
      this.#block.push(line);
      return;
    }
    const end = /^(not )?ok \d+ - (.*?)(?: # time=([\d.]+)(ms|s))?(?: \{)?$/.exec(line);
    if (end) {
      const [, not, name, time, unit] = end;
      const ms = Number(time ?? 0) * (unit === 's' ? 1000 : 1);
      this.#file(name, !not, ms, not ? failuresIn(this.#block) : []);
      this.#block = [];
      return;
    }
    const totals = /^# \{(.*)\}$/.exec(line);
    if (totals) this.totals = readTotals(totals[1]);
    // Diagnostics of a file as a whole (timeout, exit code) follow its line, indented by two.
    else if (/^ {2}/.test(line)) this.#block.push(line);
  }
}

/** ` total: 9, pass: 8, fail: 1 ` */
function readTotals(text) {
  const totals = { total: 0, pass: 0, fail: 0, skip: 0, todo: 0 };
  for (const [, name, value] of text.matchAll(/(\w+): (\d+)/g)) totals[name] = Number(value);
  return totals;
}

/** The innermost failed checks with their diagnostics, and the names of the tests around them. */
function failuresIn(block) {
  const shown = [];
  for (let index = 0; index < block.length; index++) {
    const failed = /^(\s+)not ok \d+ - (.*)$/.exec(block[index]);
    if (!failed) continue;
    shown.push(failed[0]);
    const indent = `${failed[1]}  `;
    if (block[index + 1] !== `${indent}---`) continue;
    // Long diffs are shown whole: they are why somebody reads this.
    for (index++; index < block.length && block[index] !== `${indent}...`; index++) shown.push(block[index]);
  }
  return shown;
}
