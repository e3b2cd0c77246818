/**
 * The little XML that S3 speaks, read without building a tree: elements with text or further elements, no attributes that
 * matter, no mixed content. Whatever goes beyond (comments, CDATA, a document type, a truncated end) is an `XmlError`.
 */
import { isAscii } from 'node:buffer';

export class XmlError extends Error {
  override readonly name = 'XmlError';
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Text between tags, with its entities resolved. */
export function unescapeXml(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&([^;&]{0,10})(;?)/g, (_all, name: string, end: string) => {
    const known = end === ';' ? ENTITIES[name] : undefined;
    if (known !== undefined) return known;
    const numeric = end === ';' ? /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(name) : null;
    const code = numeric ? Number.parseInt(numeric[1] ?? numeric[2]!, numeric[1] ? 16 : 10) : -1;
    if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw new XmlError('an unknown entity');
    return String.fromCodePoint(code);
  });
}

/** The bytes as text: ASCII, which nearly all of it is, costs a tenth of UTF-8. */
export function xmlText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.toString(isAscii(bytes) ? 'latin1' : 'utf8');
}

/** Where the content of the document's root element begins and ends. Throws `XmlError` if the root is not `name`. */
export function rootElement(xml: string, name: string): readonly [number, number] {
  const open = /^\uFEFF?\s*(?:<\?xml[^>]*\?>\s*)?<([A-Za-z][A-Za-z0-9]*)(?:\s[^<>]*)?(\/?)>/.exec(xml);
  if (!open || open[1] !== name) throw new XmlError(`the document is no <${name}>`);
  if (open[2] === '/') return [open[0].length, open[0].length];
  const close = xml.lastIndexOf('</');
  if (close < open[0].length || !new RegExp(`^</${name}\\s*>\\s*$`).test(xml.slice(close, close + 256))) {
    throw new XmlError(`the document ends before </${name}>`);
  }
  return [open[0].length, close];
}

/**
 * Calls `visit` for each element directly within `xml[from … to)`, with its name and where its content begins and ends.
 * Elements of one name are not nested in each other anywhere in S3's answers.
 */
export function eachElement(
  xml: string,
  from: number,
  to: number,
  visit: (name: string, from: number, to: number) => void,
): void {
  let at = from;
  for (;;) {
    const open = xml.indexOf('<', at);
    if (open < 0 || open >= to) return;
    const openEnd = xml.indexOf('>', open);
    if (openEnd < 0 || openEnd >= to) throw new XmlError('a tag without end');
    const first = xml.charCodeAt(open + 1);
    const letter = (first >= 65 && first <= 90) || (first >= 97 && first <= 122);
    if (!letter) throw new XmlError('something other than an element');
    if (xml.charCodeAt(openEnd - 1) === 47) {
      visit(nameOf(xml, open + 1, openEnd - 1), openEnd, openEnd);
      at = openEnd + 1;
      continue;
    }
    const name = nameOf(xml, open + 1, openEnd);
    const start = openEnd + 1;
    // Most elements hold text only: then the next tag closes them.
    let close = xml.indexOf('<', start);
    if (!closes(xml, close, name)) close = xml.indexOf(`</${name}>`, start);
    if (close < 0 || close >= to) throw new XmlError(`an element <${name}> without end`);
    visit(name, start, close);
    at = close + name.length + 3;
  }
}

/** True if `</name>` stands at `at`. */
function closes(xml: string, at: number, name: string): boolean {
  return (
    at >= 0 &&
    xml.charCodeAt(at + 1) === 47 &&
    xml.startsWith(name, at + 2) &&
    xml.charCodeAt(at + 2 + name.length) === 62
  );
}

/** The name in a tag: all of it but for attributes. */
function nameOf(xml: string, from: number, to: number): string {
  const text = xml.slice(from, to);
  const space = text.indexOf(' ');
  return space < 0 ? text : text.slice(0, space);
}

/** The texts of the named elements directly within the root `name`. Throws `XmlError`. */
export function textsIn(xml: string, name: string): Map<string, string> {
  const [from, to] = rootElement(xml, name);
  const texts = new Map<string, string>();
  eachElement(xml, from, to, (child, start, end) => {
    const text = xml.slice(start, end);
    if (!text.includes('<')) texts.set(child, unescapeXml(text));
  });
  return texts;
}
