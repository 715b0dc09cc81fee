/** Hash and size of a free document, kept up to date: the same as worked out anew, and at the cost of the change. */
import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { checkDocumentUpdate } from '../../src/blackboard/document-gate.ts';
import { FreeDocument } from '../../src/blackboard/documents.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { sha256 } from './network.ts';

const ROOM = { bytes: Number.POSITIVE_INFINITY, slack: 1 };

function holding(updates: readonly Uint8Array[]): FreeDocument {
  const document = new FreeDocument('d', 7, sha256);
  for (const update of updates) expect(document.merge(update, ROOM)).toMatchObject({ kind: 'merged' });
  return document;
}

/** One step of a client that uses everything that Yjs has. */
function step(doc: Y.Doc, rng: Rng): void {
  const text = doc.getText('text');
  const array = doc.getArray<unknown>('list');
  const map = doc.getMap<unknown>('map');
  const at = rng.below(text.length + 1);
  const length = Math.min(rng.below(9), text.length - at);
  const element = new Y.XmlElement('p');
  const values = () => [1, 12n, 'v', new Uint8Array([1, 2]), new Y.Map([['k', 1]])];
  const steps = [
    () => text.insert(at, rng.pick(['a', 'hello ', 'ä€𝄞', '𝄞𝄞', 'x'.repeat(700)])),
    () => text.insert(at, 'typed'),
    () => length > 0 && text.delete(at, length),
    () => length > 0 && text.format(at, length, { bold: rng.chance(0.5) || null }),
    () => array.insert(rng.below(array.length + 1), [1, 'two', { three: [3, -0.5] }, true, null]),
    () => array.length > 0 && array.delete(rng.below(array.length), 1),
    () => map.set(rng.pick(['p', 'q', 'r']), rng.pick(values())),
    () => map.delete(rng.pick(['p', 'q', 'r'])),
    () => doc.getXmlFragment('xml').insert(0, [element, new Y.XmlText('t')]),
  ];
  rng.pick(steps)();
}

/** Three clients that now and then tell each other what they did; all that they did, in that order. */
function history(seed: number, steps: number): Uint8Array[] {
  const rng = seededRng(seed);
  const updates: Uint8Array[] = [];
  const docs = [1, 2, 3].map((client) => {
    const doc = new Y.Doc();
    doc.clientID = client;
    doc.on('update', (update: Uint8Array, origin: unknown) => {
      if (origin !== 'other') updates.push(update);
    });
    return doc;
  });
  for (let index = 0; index < steps; index++) {
    step(rng.pick(docs), rng);
    if (!rng.chance(0.2)) continue;
    const [from, to] = [rng.pick(docs), rng.pick(docs)];
    Y.applyUpdate(to, Y.encodeStateAsUpdate(from, Y.encodeStateVector(to)), 'other');
  }
  return updates;
}

describe('free documents: hash and size', () => {
  it.each([1, 2, 3, 4, 5, 6])(
    'step by step, from one update, and read back in pieces, they are the same (seed %i)',
    (seed) => {
      const updates = history(seed, 150);
      const grown = new FreeDocument('d', 7, sha256);
      for (const [index, update] of updates.entries()) {
        expect(grown.merge(update, ROOM)).toMatchObject({ kind: 'merged' });
        if (index % 3 === 0) grown.hash();
      }
      const whole = grown.encode();
      const anew = holding([whole]);
      expect(anew.hash()).toEqual(grown.hash());
      expect(anew.bytes).toBe(grown.bytes);
      const half = holding(updates.slice(0, updates.length / 2));
      const rest = grown.encode(half.stateVector);
      expect(half.hash()).not.toEqual(grown.hash());
      expect(half.merge(rest, ROOM)).toMatchObject({ kind: 'merged' });
      expect(half.hash()).toEqual(grown.hash());
      // An estimate, and one that quotas can rely on.
      expect(whole.length).toBeLessThan(2 * grown.bytes);
      expect(grown.bytes).toBeLessThan(2 * whole.length + 200);
    },
  );

  it('a hash tells apart where things stand, not only what they are', () => {
    const make = (build: (doc: Y.Doc) => void) => {
      const doc = new Y.Doc();
      doc.clientID = 5;
      build(doc);
      return holding([Y.encodeStateAsUpdate(doc)])
        .hash()
        .join();
    };
    const hashes = [
      make((doc) => doc.getMap('m').set('a', 1)),
      make((doc) => doc.getMap('m').set('b', 1)),
      make((doc) => doc.getMap('n').set('a', 1)),
      make((doc) => doc.getArray('m').insert(0, [1])),
      make((doc) => doc.getMap('m').set('a', '1')),
      make((doc) => doc.getMap('m').set('a', 1n)),
      make((doc) => doc.getMap('m').set('a', new Y.Map())),
      make((doc) => doc.getMap('m').set('a', new Y.Array())),
      make((doc) => doc.getXmlFragment('m').insert(0, [new Y.XmlElement('a')])),
      make((doc) => doc.getXmlFragment('m').insert(0, [new Y.XmlElement('b')])),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('surrogate pairs that a leaf cuts in two count with both halves', () => {
    const of = (character: string) => {
      const doc = new Y.Doc();
      doc.clientID = 5;
      doc.getText('text').insert(0, `x${character.repeat(1_000)}`);
      return holding([Y.encodeStateAsUpdate(doc)]).hash();
    };
    expect(of('\u{1d11e}')).not.toEqual(of('\u{1f11e}'));
  });

  it('a small edit of a document of 5 MB hashes less than 16 KiB, wherever it is made', () => {
    const doc = new Y.Doc();
    doc.clientID = 5;
    const text = doc.getText('text');
    for (let index = 0; index < 20; index++) text.insert(index * 1_000, 'lorem ipsum '.repeat(21_000));
    const document = holding([Y.encodeStateAsUpdate(doc)]);
    document.hash();
    expect(document.bytes).toBeGreaterThan(5_000_000);
    let made: Uint8Array | undefined;
    doc.on('update', (update: Uint8Array) => {
      made = update;
    });
    for (const at of [0, 500, 2_000_000, 5_000_000]) {
      for (const edit of [() => text.insert(at, 'x'), () => text.delete(Math.max(0, at - 1), 3)]) {
        const before = document.work;
        edit();
        expect(document.merge(made as Uint8Array, ROOM)).toMatchObject({ changed: true });
        expect(document.bytes).toBeGreaterThan(5_000_000);
        document.hash();
        expect(document.work - before).toBeLessThan(16 * 1024);
      }
    }
    expect(document.hash()).toEqual(holding([document.encode()]).hash());
  });

  it('ranges of clocks that are huge and empty cost nothing', () => {
    const deleted = new FreeDocument('d', 7, sha256);
    expect(deleted.deleteUpTo(new Map([[9, 2 ** 32]]))).toBe(true);
    const opened = holding([deleted.encode()]);
    expect(opened.isLiving).toBe(false);
    expect(opened.hash()).toEqual(deleted.hash());
    expect(opened.work + deleted.work).toBeLessThan(1_024);
  });

  it('the gate tells what grows a document from what only deletes', () => {
    const doc = new Y.Doc();
    doc.clientID = 5;
    doc.getText('text').insert(0, 'abc');
    const vector = Y.encodeStateVector(doc);
    const whole = Y.encodeStateAsUpdate(doc);
    doc.getText('text').delete(0, 2);
    const deletes = Y.encodeStateAsUpdate(doc, vector);
    const known = (client: number) => (client === 5 ? 3 : 0);
    expect(checkDocumentUpdate(whole, () => 0, 7)).toMatchObject({
      layout: { grows: true, fromStart: true },
    });
    expect(checkDocumentUpdate(whole, known, 7)).toMatchObject({ layout: { grows: false } });
    expect(checkDocumentUpdate(deletes, known, 7)).toMatchObject({ kind: 'fits', layout: { grows: false } });
  });
});
