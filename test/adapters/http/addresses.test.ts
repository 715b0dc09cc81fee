/** One machine does not take every connection. */
import { describe, expect, it } from 'vitest';
import { AddressCount } from '../../../src/adapters/http/addresses.ts';
import { limits } from '../../../src/kernel/limits.ts';

const most = limits.httpConnectionsPerAddress;

describe('http connections per address', () => {
  it.each(['192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1'])(
    'are at most a quarter of all (%s)',
    (address) => {
      const count = new AddressCount();
      const releases = Array.from({ length: most }, () => count.take(address));
      expect(most * 4).toBe(limits.httpConnections);
      expect(count.take(address)).toBeUndefined();
      expect(count.take('192.0.2.99')).toBeDefined();
      releases[0]?.();
      expect(count.take(address)).toBeDefined();
      expect(count.take(address)).toBeUndefined();
    },
  );

  it('leave nothing behind once they are closed', () => {
    const count = new AddressCount();
    const releases = Array.from({ length: 1_000 }, (_, at) => count.take(`192.0.2.${at % 250}`));
    expect(count.size).toBe(250);
    for (const release of releases) release?.();
    expect(count.size).toBe(0);
  });

  it.each(['127.0.0.1', '::1', '::ffff:127.0.0.1', undefined])('are not counted for %s', (address) => {
    const count = new AddressCount();
    for (let at = 0; at <= most; at++) expect(count.take(address)).toBeDefined();
    expect(count.size).toBe(0);
  });
});
