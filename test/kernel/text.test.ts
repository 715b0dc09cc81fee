/** Text that stands for bytes, held against Node's own. */
import { describe, expect, it } from 'vitest';
import { fromBase64Url, toBase64Url } from '../../src/kernel/text.ts';

describe('URL-safe base64 (RFC 4648, section 5)', () => {
  it('is what Node makes of the same bytes, and gives them back (0 to 300 bytes, each digit in each place)', () => {
    for (let length = 0; length <= 300; length++) {
      const bytes = Uint8Array.from({ length }, (_, at) => (at * 151 + length * 29) & 0xff);
      const text = toBase64Url(bytes);
      expect(text).toBe(Buffer.from(bytes).toString('base64url'));
      expect(fromBase64Url(text)).toEqual(bytes);
    }
  });

  it.each(['+', '/', '=', 'A', 'a b'])('is not %j', (text) => {
    expect(fromBase64Url(text)).toBeUndefined();
  });
});
