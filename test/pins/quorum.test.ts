/** Bytes of the quorum store between nodes, as docs/PROTOCOL.md shows them. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import { fromHex, toHex, utf8 } from '../../src/kernel/codec.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { decodeFrame, encodeFrame, encodeGreeting, type Greeting } from '../../src/quorum/frames.ts';
import { encodeCommand } from '../../src/quorum/register/command.ts';
import {
  parseStorageId,
  parseStoreId,
  type StorageId,
  type StoreId,
  serverIdOf,
} from '../../src/quorum/server.ts';

const self = nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(1)).publicKey);
const peer = nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(2)).publicKey);
const store = parseStoreId(0x11223344556677 % 2 ** 53) as StoreId;
const [from, to] = [parseStorageId(1_000_001) as StorageId, parseStorageId(2_000_002) as StorageId];
const servers = { from: serverIdOf(self, from), to: serverIdOf(peer, to) };

const greeting: Greeting = {
  kind: 'greeting',
  format: { newest: 1, store: 1 },
  version: 3,
  heard: 2,
  store,
  storage: from,
  hasData: true,
  mayFound: false,
  mayVote: true,
  boot: 4_000_004,
  claim: { term: 7, lastIndex: 300 },
  doubted: undefined,
  dissolved: [],
  replaced: [],
  voters: [servers.from],
};

const command = encodeCommand({
  kind: 'transact',
  client: 5_000_005,
  sequence: 9,
  lowestOutstanding: 9,
  transaction: {
    compares: [{ target: 'version', key: 'k', is: '=', than: 0 }],
    then: [{ op: 'put', key: 'k', value: utf8('v'), lease: 0 }],
    otherwise: [{ op: 'get', key: 'k' }],
  },
});

const append = {
  kind: 'append',
  ...servers,
  term: 7,
  previousIndex: 300,
  previousTerm: 6,
  commit: 299,
  round: 12,
  stable: 300,
  entries: [
    { kind: 'blank', index: 301, term: 7 },
    { kind: 'command', index: 302, term: 7, command },
  ],
} as const;

const page = readFileSync(resolve(import.meta.dirname, '../../docs/PROTOCOL.md'), 'utf8');

function shown(name: string): string {
  const block = new RegExp(`^\`{3}hex ${name}\\n([^\`]*)^\`{3}$`, 'm').exec(page)?.[1];
  if (block === undefined) throw new Error(`docs/PROTOCOL.md shows no bytes of ${name}`);
  return block.replace(/;.*$/gm, '').replace(/\s/g, '');
}

const made = {
  'quorum-greeting': encodeGreeting(greeting),
  'quorum-append': encodeFrame(store, from, to, { kind: 'raft', message: append }),
  'quorum-propose': encodeFrame(store, from, to, { kind: 'propose', requests: [{ sequence: 9, command }] }),
  'quorum-outdated': encodeFrame(store, from, to, {
    kind: 'outdated',
    index: 302,
    client: 9_090_909,
    sequences: [9, 10],
  }),
  'quorum-promise': encodeFrame(store, from, to, {
    kind: 'promise',
    promised: { term: 7, lastIndex: 300 },
  }),
};

describe('protocol pins: the quorum store', () => {
  it.each(Object.keys(made) as (keyof typeof made)[])('%s is made as docs/PROTOCOL.md shows it', (name) => {
    expect(toHex(made[name])).toBe(shown(name));
  });

  it('what is pinned is read back', () => {
    const read = (name: keyof typeof made) => decodeFrame(fromHex(shown(name)) as Uint8Array, self, peer);
    expect(read('quorum-greeting')).toEqual(greeting);
    expect(read('quorum-append')).toMatchObject({
      store,
      ...servers,
      frame: { kind: 'raft', message: append },
    });
    expect(read('quorum-promise')).toMatchObject({ frame: { promised: { term: 7, lastIndex: 300 } } });
    expect(read('quorum-propose')).toMatchObject({ frame: { requests: [{ sequence: 9, command }] } });
    expect(read('quorum-outdated')).toMatchObject({
      frame: { index: 302, client: 9_090_909, sequences: [9, 10] },
    });
  });

  it('anything cut short, or with a byte more, is malformed', () => {
    for (const bytes of Object.values(made)) {
      for (let length = 0; length < bytes.length; length++)
        expect(decodeFrame(bytes.subarray(0, length), self, peer)).toBeUndefined();
      expect(decodeFrame(Uint8Array.of(...bytes, 0), self, peer)).toBeUndefined();
    }
  });
});
