/** The little XML that S3 speaks: written from byte strings, and read without attributes' meaning or namespaces. */

const SPECIAL = /[&<>"\x00-\x1f]/;
const SPECIALS = /[&<>"\x00-\x1f]/g;
const NAMED: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Control characters become references, as S3 writes them, though XML 1.0 knows only tab, LF and CR. */
export function escapeXml(bytes: string): string {
  if (!SPECIAL.test(bytes)) return bytes;
  return bytes.replace(SPECIALS, char => NAMED[char] ?? `&#${char.charCodeAt(0)};`);
}

/** `<name>text</name>`, or nothing where there is no text. */
export function element(name: string, text: string | number | boolean | undefined): string {
  if (text === undefined) return '';
  return `<${name}>${typeof text === 'string' ? escapeXml(text) : text}</${name}>`;
}

/** A whole document with S3's namespace around `inner`. */
export function document(root: string, inner: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</${root}>`;
}

export interface XmlNode {
  readonly name: string;
  readonly text: string;
  readonly children: readonly XmlNode[];
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescapeXml(bytes: string): string {
  if (!bytes.includes('&')) return bytes;
  return bytes.replace(/&(#x[0-9a-fA-F]+|#[0-9]+|[a-z]+);/g, (whole, name: string) => {
    if (name[0] !== '#') return ENTITIES[name] ?? whole;
    const code = name[1] === 'x' ? Number.parseInt(name.slice(2), 16) : Number.parseInt(name.slice(1), 10);
    return code > 0x10ffff ? whole : Buffer.from(String.fromCodePoint(code), 'utf8').toString('latin1');
  });
}

/** Reads a document; `undefined` if it is not well-formed. Text next to child elements is dropped. */
export function parseXml(bytes: string): XmlNode | undefined {
  interface Open {
    name: string;
    text: string;
    children: XmlNode[];
  }
  const root: Open = { name: '', text: '', children: [] };
  const stack: Open[] = [root];
  const token =
    /<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<!\[CDATA\[([\s\S]*?)\]\]>|<\/([^\s>]+)\s*>|<([^\s/>!?]+)[^>]*?(\/?)>|([^<]+)/gy;
  let at = 0;
  for (;;) {
    token.lastIndex = at;
    const match = token.exec(bytes);
    if (match === null) break;
    at = token.lastIndex;
    const top = stack[stack.length - 1]!;
    const [, cdata, closing, opening, selfClosing, text] = match;
    if (text !== undefined) top.text += unescapeXml(text);
    else if (cdata !== undefined) top.text += cdata;
    else if (opening !== undefined) {
      const node: Open = { name: opening.replace(/^.*:/, ''), text: '', children: [] };
      top.children.push(node);
      if (selfClosing !== '/') stack.push(node);
    } else if (closing !== undefined) {
      if (stack.length < 2 || closing.replace(/^.*:/, '') !== top.name) return undefined;
      stack.pop();
    }
  }
  if (at !== bytes.length || stack.length !== 1 || root.children.length !== 1) return undefined;
  return root.children[0];
}

/** Text of the first child `name` of `node`. */
export function childText(node: XmlNode, name: string): string | undefined {
  return node.children.find(child => child.name === name)?.text;
}
