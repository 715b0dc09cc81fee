/** Keys as bytes without making bytes of them: their length and order in UTF-8. */

const SURROGATES = 0xd800;
const AFTER_SURROGATES = 0xe000;

/** Length in UTF-8, or -1 where the text holds half a surrogate pair and so has no UTF-8 form. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    if (unit < 0x800) {
      bytes += 1;
    } else if (unit < SURROGATES || unit >= AFTER_SURROGATES) {
      bytes += 2;
    } else {
      const next = text.charCodeAt(at + 1);
      if (unit >= 0xdc00 || !(next >= 0xdc00 && next < AFTER_SURROGATES)) return -1;
      bytes += 2;
      at++;
    }
  }
  return bytes;
}

/**
 * Order of the UTF-8 forms, which is that of code points. JavaScript's `<` orders code units and differs where a
 * character beyond U+FFFF meets one from U+E000 to U+FFFF.
 */
export function compareKeys(left: string, right: string): number {
  const shorter = Math.min(left.length, right.length);
  for (let at = 0; at < shorter; at++) {
    const a = left.charCodeAt(at);
    const b = right.charCodeAt(at);
    if (a !== b) return a >= SURROGATES && b >= SURROGATES ? rank(a) - rank(b) : a - b;
  }
  return left.length - right.length;
}

/** Whether `<` may order this text wrongly against another of which the same is true. */
export function needsCodePoints(text: string): boolean {
  return /[\ud800-\uffff]/.test(text);
}

/** The smallest key that is greater. */
export function successor(key: string): string {
  return `${key}\0`;
}

function rank(unit: number): number {
  return unit < AFTER_SURROGATES ? unit + 0x2800 : unit;
}
