/**
 * Byte strings: text in which each character is one byte of its UTF-8 form.
 *
 * S3 orders keys by their UTF-8 bytes, JavaScript orders strings by UTF-16 units, and the two differ (U+1F600 against
 * U+FFA0). So keys, prefixes, URL parts, header values and XML inside the server are byte strings: `<` is S3's order, HTTP
 * headers already come this way from Node, and what is pure ASCII needs no conversion. Text of callers is converted once,
 * where it enters.
 */
import { isUtf8 } from 'node:buffer';

const NOT_ASCII = /[^\x00-\x7f]/;
const ESCAPE = /%([0-9a-fA-F]{2})/g;

/** Greater than every byte of UTF-8: `prefix + PAST_UTF8` follows all keys that begin with `prefix`. */
export const PAST_UTF8 = '\xff';

export function toByteString(text: string): string {
  return NOT_ASCII.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text;
}

export function fromByteString(bytes: string): string {
  return NOT_ASCII.test(bytes) ? Buffer.from(bytes, 'latin1').toString('utf8') : bytes;
}

export function isAscii(bytes: string): boolean {
  return !NOT_ASCII.test(bytes);
}

/** Takes `%XX` apart. `undefined` if an escape is broken or the bytes are not UTF-8. */
export function percentDecode(raw: string): string | undefined {
  if (!raw.includes('%')) return NOT_ASCII.test(raw) && !isUtf8(Buffer.from(raw, 'latin1')) ? undefined : raw;
  if (/%(?![0-9a-fA-F]{2})/.test(raw)) return undefined;
  const bytes = raw.replace(ESCAPE, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  if (NOT_ASCII.test(bytes) && !isUtf8(Buffer.from(bytes, 'latin1'))) return undefined;
  return bytes;
}

const ENCODED: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const char = String.fromCharCode(byte);
  return /[A-Za-z0-9\-._~]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
});

/** The URI encoding of SigV4: everything but unreserved characters becomes `%XX`; `keepSlash` leaves `/` as it is. */
export function percentEncode(bytes: string, keepSlash: boolean): string {
  if (keepSlash ? !/[^A-Za-z0-9\-._~/]/.test(bytes) : !/[^A-Za-z0-9\-._~]/.test(bytes)) return bytes;
  let out = '';
  for (let i = 0; i < bytes.length; i++) {
    const code = bytes.charCodeAt(i);
    out += keepSlash && code === 0x2f ? '/' : ENCODED[code & 0xff]!;
  }
  return out;
}
