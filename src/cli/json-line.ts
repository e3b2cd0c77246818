/**
 * JSON that a terminal shows as it stands. JSON.stringify escapes what is below a space, but not DEL, the controls from
 * U+0080 on (U+009B begins a sequence as ESC [ does) or marks of direction.
 */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu,
    // Beyond the first 65,536 two escapes stand for one.
    found =>
      Array.from({ length: found.length }, (_, i) => `\\u${found.charCodeAt(i).toString(16).padStart(4, '0')}`).join(
        '',
      ),
  );
}
