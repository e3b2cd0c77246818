/** The fault matrix as the tables of docs/RELIABILITY.md. */
import { FAULTS, type Verdict } from './matrix.ts';

export const BEGIN = '<!-- Written by scripts/fault-matrix.mjs from here on. -->';
export const END = '<!-- To here. -->';

/** One line for each request of each file operation; `once / lasting` where a fault may last. */
export function tableOf(verdicts: readonly Verdict[]): string {
  const rows = new Map<string, Map<string, string>>();
  for (const { cell, outcome } of verdicts) {
    const { operation, request, nth, fault, span } = cell;
    const name = `${operation.name} | ${request}${nth > 1 ? `, the ${nth}${nth === 2 ? 'nd' : 'rd'}` : ''}`;
    const row = rows.get(name) ?? new Map<string, string>();
    rows.set(name, row);
    const before = row.get(fault.name);
    row.set(fault.name, span === 'lasting' && before !== undefined ? `${before} / ${outcome}` : outcome);
  }
  const lines = [
    `| file operation | request | ${FAULTS.map(({ name }) => name).join(' | ')} |`,
    `|${'---|'.repeat(FAULTS.length + 2)}`,
  ];
  for (const [name, row] of rows)
    lines.push(`| ${name} | ${FAULTS.map(fault => row.get(fault.name) ?? '').join(' | ')} |`);
  return lines.join('\n');
}

/** What the columns are. */
export function legend(): string {
  return FAULTS.map(({ name, title, spans }) => `- **${name}** (${spans.join(', ')}): ${title}.`).join('\n');
}

/** `document` with the tables of `verdicts` between the marks. Throws where there are none. */
export function withTables(document: string, verdicts: readonly Verdict[]): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error('docs/RELIABILITY.md has no place for the fault matrix');
  return `${document.slice(0, begin)}${BEGIN}\n\n${legend()}\n\n${tableOf(verdicts)}\n\n${document.slice(end)}`;
}
