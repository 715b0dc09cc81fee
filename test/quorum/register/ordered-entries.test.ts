import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KeyValue } from '../../../src/quorum/port.ts';
import { compareKeys, utf8Length } from '../../../src/quorum/register/key-order.ts';
import { OrderedEntries } from '../../../src/quorum/register/ordered-entries.ts';

const ALL = { from: '', to: '\u{10ffff}' };

function entry(key: string, version = 1): KeyValue {
  return { key, value: new Uint8Array(0), createRevision: 1, modRevision: 1, version, lease: 0 };
}

function keysOf(entries: OrderedEntries): string[] {
  const keys: string[] = [];
  entries.visit(ALL, ({ key }) => keys.push(key) > 0);
  return keys;
}

describe('keys: order and length are those of UTF-8', () => {
  it('for any two texts', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'b', 'ß', '水', '\ud7ff', '\ue000', '\uffff', '😀', '\u{10ffff}'),
    });
    fc.assert(
      fc.property(text, text, (left, right) => {
        const bytes = Buffer.compare(Buffer.from(left), Buffer.from(right));
        expect(Math.sign(compareKeys(left, right))).toBe(bytes);
        expect(utf8Length(left)).toBe(Buffer.byteLength(left));
      }),
    );
  });

  it.each(['\ud800', 'a\udc00', '\udc00\ud800', '😀\ud83d'])(
    'half a surrogate pair has no length: %j',
    (text) => {
      expect(utf8Length(text)).toBe(-1);
    },
  );
});

describe('ordered entries', () => {
  it('stay sorted over thousands of insertions and deletions in any order, and what was frozen stays as it was', () => {
    const entries = new OrderedEntries();
    const model = new Set<string>();
    let seed = 1;
    const dice = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    const frozen: { chunks: readonly (readonly KeyValue[])[]; keys: string[] }[] = [];
    for (let step = 0; step < 20_000; step++) {
      const key = `key/${dice(5000)}${dice(20) === 0 ? '\ue000' : ''}${dice(20) === 0 ? '😀' : ''}`;
      // Grows, shrinks and grows again, so that chunks split, empty and join.
      if (dice(10) < (Math.floor(step / 5000) % 2 === 0 ? 8 : 2)) {
        entries.set(entry(key, step));
        model.add(key);
      } else {
        entries.delete(key);
        model.delete(key);
      }
      if (step % 2500 === 0) {
        const range = { from: `key/${dice(5000)}`, to: `key/${dice(5000)}` };
        for (const { key } of entries.deleteRange(range)) expect(model.delete(key)).toBe(true);
        const keys = [...model].sort(compareKeys);
        expect(keysOf(entries)).toEqual(keys);
        expect(entries.size).toBe(keys.length);
        frozen.push({ chunks: entries.frozen(), keys });
      }
    }
    for (const { chunks, keys } of frozen) expect(chunks.flat().map(({ key }) => key)).toEqual(keys);
  });

  it('keys put in order fill their chunks', () => {
    const entries = new OrderedEntries();
    for (let at = 0; at < 5000; at++) entries.set(entry(String(at).padStart(6, '0')));
    expect(entries.frozen().length).toBeLessThanOrEqual(Math.ceil(5000 / 512));
  });

  it('ranges that are deleted across many chunks', () => {
    const entries = new OrderedEntries();
    const name = (at: number): string => String(at).padStart(6, '0');
    for (let at = 0; at < 5000; at++) entries.set(entry(name(at)));
    expect(entries.deleteRange({ from: name(100), to: name(4900) })).toHaveLength(4800);
    expect(entries.deleteRange({ from: name(4900), to: name(100) })).toHaveLength(0);
    expect(keysOf(entries)).toEqual(
      [...Array(100).keys(), ...Array.from({ length: 100 }, (_, at) => 4900 + at)].map(name),
    );
    expect(entries.deleteRange(ALL)).toHaveLength(200);
    expect(keysOf(entries)).toEqual([]);
    entries.set(entry('again'));
    expect(entries.get('again')?.key).toBe('again');
  });
});
