/**
 * Bytes between nodes: a change here is a change of the protocol. The same bytes stand, field by field, in
 * docs/PROTOCOL.md, which therefore cannot drift from the code.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { joinFrames } from '../../src/adapters/libp2p/frames.ts';
import { protocolOf } from '../../src/adapters/libp2p/lane.ts';
import { hkdf, nodeCryptography, signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import { Boards } from '../../src/blackboard/boards.ts';
import { fromHex, toHex } from '../../src/kernel/codec.ts';
import { CHANNELS } from '../../src/kernel/effects.ts';
import type { AgentId, BoardName, NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { Instant } from '../../src/kernel/time.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { certifyMember, swarmFromSecret } from '../../src/mesh/identity/swarm.ts';
import { decodeHelloFrame, encodeRefusal, REFUSALS } from '../../src/mesh/links/hello.ts';
import { Links } from '../../src/mesh/links/links.ts';
import { encodeMessage, parseMessage } from '../../src/mesh/membership/messages.ts';
import { incarnationOf } from '../../src/node/lane-owners.ts';
import { cargoOf, loaded } from '../../src/replication/cargo.ts';
import { decodeFrame, encodeFrame } from '../../src/replication/frames.ts';
import { decodeDelta, encodeDelta, signedBytes } from '../../src/replication/record-codec.ts';
import { Records } from '../../src/replication/records.ts';

const NOW: Instant = { monoMs: 0, wallMs: Date.UTC(2026, 0, 1) };
const LATER: Instant = { monoMs: 1_000, wallMs: NOW.wallMs + 1_000 };
const signer = signerFromSeed(new Uint8Array(32).fill(1));
const self = nodeIdFromPublicKey(signer.publicKey);
const peer = nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(2)).publicKey);
const nonce = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const incarnation = incarnationOf(nodeCryptography, self, nonce);
const swarm = swarmOf('an example of a secret');

function swarmOf(secret: string) {
  const made = swarmFromSecret(secret, { hash: nodeCryptography.hash, hkdf, signerFromSeed });
  if (!made.ok) throw new Error(made.error.message);
  return made.value;
}

/** Words of the page that name a field, although a bound has the same name. */
const FIELDS: ReadonlySet<string> = new Set(['incarnations']);
const MAIN = 'main' as BoardName;

function sentBy(effects: readonly { readonly kind: string }[]): readonly Uint8Array[] {
  return effects.flatMap((effect) =>
    effect.kind === 'send' ? [(effect as unknown as { bytes: Uint8Array }).bytes] : [],
  );
}

function hello(): Uint8Array {
  const certificate = certifyMember(
    swarm,
    { nodeId: self, name: 'alpha', roles: ['worker'], zone: 'trusted', serial: 1 },
    NOW,
  );
  const config = { rootPublicKey: swarm.rootPublicKey, certificate, software: '0.1.0', incarnation };
  const links = new Links({ self, config, cryptography: nodeCryptography, rng: seededRng(1), now: NOW });
  links.handle({ kind: 'listening', addresses: [`/ip4/192.0.2.1/tcp/7331/p2p/${self}`] }, NOW);
  const [bytes] = sentBy(
    links.handle({ kind: 'connected', peer, address: '/ip4/192.0.2.2/tcp/7331', direction: 'out' }, NOW),
  );
  return bytes as Uint8Array;
}

function recordPush(): Uint8Array {
  const records = new Records({ self, signer, cryptography: nodeCryptography, rng: seededRng(1), now: NOW });
  records.handle({ kind: 'peerUp', peer }, NOW);
  records.publish('lanes', String(incarnation), { nonce: toHex(nonce) }, NOW);
  return sentBy(records.expire(NOW))[0] as Uint8Array;
}

function boardsOf(node: NodeId, run: number): Boards {
  return new Boards({
    self: node,
    incarnation: run,
    config: { boards: [{ name: 'main', mode: 'crdt' }] },
    lanes: {
      ownerOf: (wanted) => (wanted === incarnation ? self : undefined),
      of: (node) => (node === self ? { incarnations: [incarnation], folded: {} } : undefined),
    },
    membership: { isUp: () => true },
    signer,
    cryptography: nodeCryptography,
    rng: seededRng(1),
    now: NOW,
  });
}

/** What a node sends to its neighbour on `board`: when it comes, at once for a write, and when its head is due. */
function boardFrames(): Record<'root' | 'push' | 'head' | 'short', Uint8Array> {
  const boards = boardsOf(self, incarnation);
  boards.expire(NOW);
  const [root] = sentBy(boards.handle({ kind: 'peerUp', peer }, NOW));
  const call = { op: 'write', board: MAIN, key: 'plan', value: 'go' } as const;
  boards.handle({ kind: 'requested', id: 1, call, writer: { agent: 'alice' as AgentId } }, NOW);
  const [push] = sentBy(boards.expire(NOW));
  const later = [...boards.expire(LATER), ...boards.expire(LATER)];
  const head = sentBy(later).find((frame) => frame[0] === 1);
  boards.handle(
    { kind: 'requested', id: 2, call: { ...call, value: 'on' }, writer: { agent: 'alice' as AgentId } },
    LATER,
  );
  const [short] = sentBy(boards.expire(LATER));
  return { root, push, head, short } as Record<'root' | 'push' | 'head' | 'short', Uint8Array>;
}

/** As `hex NAME` blocks of the page: bytes, with comments behind a semicolon. */
const page = readFileSync(resolve(import.meta.dirname, '../../docs/PROTOCOL.md'), 'utf8');

function shown(name: string): string {
  const block = new RegExp(`^\`{3}hex ${name}\\n([^\`]*)^\`{3}$`, 'm').exec(page)?.[1];
  if (block === undefined) throw new Error(`docs/PROTOCOL.md shows no bytes of ${name}`);
  return block.replace(/;.*$/gm, '').replace(/\s/g, '');
}

const PINNED = {
  hello:
    'de0007a46b696e64a568656c6c6fa876657273696f6e73920101ab6365727469666963617465c4b1258c92ae1b15e49d' +
    '34c8ce56d773ac2fd698a938a8d883a64f0beafa59882815399763079f109f79f06e5ce03b61aea5e023a954e41aabb0' +
    '76d800a16444500598b033303436323366613564356364343034d934313244334b6f6f574b3939566f56784e4537587a' +
    '79427758457a573778684b37477076383572394633563366794b53554b504835a5616c70686191a6776f726b6572a774' +
    '727573746564cb4279b76d61420000cb4279c1159700000001a677616c6c4d73cb4279b76daa800000a8736f66747761' +
    '7265a5302e312e30a961646472657373657391d9502f6970342f3139322e302e322e312f7463702f373333312f703270' +
    '2f313244334b6f6f574b3939566f56784e4537587a79427758457a573778684b37477076383572394633563366794b53' +
    '554b504835ab696e6361726e6174696f6ecb43300e0a0396e527',
  record:
    '01929192d934313244334b6f6f574b3939566f56784e4537587a79427758457a573778684b3747707638357239463356' +
    '3366794b53554b5048359195a56c616e6573b034353139303335383030303533303331cb4279b76daa800000c41ade00' +
    '01a56e6f6e6365b030313032303330343035303630373038c440439f5aff08d333c3cc94ad3f59944ed5921b3cd330a7' +
    '372b81ba69e58d4b17c312ed9e93467260a7b2f29d2b8ff6a412cc8be9ba5e413d68ff713eaad09adf0690',
  root: '0200e3b0c44298fc1c149afbf4c8996fb924',
  push:
    '0101046d61696e003c0101a7cadb9ca0c18308000301156c616e653a34353139303335383030303533303331170000eb' +
    '488b40000004706c616e05616c69636522676f2200',
  head:
    '0104046d61696ea7cadb9ca0c183080101cc75fcc3c5b300c4687a519a8ea48763e8d7eab6b733001d55043a49f4d7f3' +
    '82ce8a56d37e547cb902459809c9ede0e46fb135d205fdbf84bcd796cc45673cf9184219b817a4d5a0fc2cffe40cca75' +
    'cac9214ac1c83f08',
  short: '010a3bd457ed01010128e80704706c616e226f6e22',
  ping:
    '9401cb4279b76daa8000009193d934313244334b6f6f574a576f61715a6844616f454673684637526831627059396f68' +
    '696846687a6357366436394c72324e41537571050107',
  cargo: '9706cb4279b76daa80000090c0c0c0c60000000401929090',
  refused: 'de0004a46b696e64a772656675736564a4636f6465a5636c6f636ba26d73d2fffea070a876657273696f6e73920101',
} as const;

function made(): Readonly<Record<keyof typeof PINNED, Uint8Array>> {
  const doubt = { member: peer, incarnation: 5, state: 'suspect' } as const;
  return {
    hello: hello(),
    record: recordPush(),
    ...boardFrames(),
    ping: encodeMessage({ kind: 'ping', incarnation: NOW.wallMs, updates: [doubt], seq: 7 }),
    cargo: loaded(
      encodeMessage({ kind: 'gossip', incarnation: NOW.wallMs, updates: [] }),
      encodeFrame({ kind: 'push', delta: encodeDelta({ records: [], hints: [] }) }),
    ),
    refused: encodeRefusal('clock', -90_000),
  };
}

const bytesOf = (name: keyof typeof PINNED): Uint8Array => fromHex(PINNED[name]) as Uint8Array;

describe('protocol pins: bytes', () => {
  it.each(Object.keys(PINNED) as (keyof typeof PINNED)[])(
    '%s is made as it always was, and as docs/PROTOCOL.md shows it',
    (name) => {
      expect(toHex(made()[name])).toBe(PINNED[name]);
      expect(shown(name)).toBe(PINNED[name]);
    },
  );

  it('node id, incarnation and swarm come from key, nonce and secret', () => {
    expect({ self, incarnation, swarm: swarm.id, root: toHex(swarm.rootPublicKey) }).toEqual({
      self: '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5',
      incarnation: 4519035800053031,
      swarm: '304623fa5d5cd404',
      root: '1eea9fd10d6aeec892761ee55f1da4c1ae1eae78e75ceb37e00faf7f36be500c',
    });
  });

  it('what is pinned is read back: hello, refusal, ping, cargo, record', () => {
    expect(decodeHelloFrame(bytesOf('hello'))).toMatchObject({
      kind: 'hello',
      hello: { leastVersion: 1, mostVersion: 1, wallMs: NOW.wallMs, software: '0.1.0', incarnation },
    });
    expect(decodeHelloFrame(bytesOf('refused'))).toMatchObject({
      kind: 'refused',
      refusal: { code: 'clock', ms: -90_000 },
    });
    expect(parseMessage(bytesOf('ping'))).toMatchObject({
      kind: 'ping',
      seq: 7,
      updates: [{ member: peer, state: 'suspect' }],
    });
    const cargo = cargoOf(bytesOf('cargo'));
    expect(cargo && decodeFrame(cargo)).toMatchObject({ kind: 'push' });
    const frame = decodeFrame(bytesOf('record'));
    const record = frame?.kind === 'push' ? decodeDelta(frame.delta)?.records[0] : undefined;
    expect(record).toMatchObject({
      owner: self,
      kind: 'lanes',
      key: String(incarnation),
      sequence: NOW.wallMs,
    });
    expect(record && nodeCryptography.verifyNode(self, signedBytes(record), record.signature)).toBe(true);
  });

  it('a push and its head are taken in by a node that knows the author, and shown', () => {
    const reader = boardsOf(peer, 77);
    reader.handle({ kind: 'peerUp', peer: self }, NOW);
    for (const name of ['push', 'head'] as const) {
      const effects = reader.handle({ kind: 'received', from: self, bytes: bytesOf(name) }, LATER);
      expect(effects.filter(({ kind }) => kind === 'penalise')).toEqual([]);
    }
    expect(reader.read({ op: 'read', board: MAIN, key: 'plan' }, LATER)).toMatchObject({
      ok: true,
      value: { found: true, value: 'go', author: 'alice', node: self, writtenAt: '2026-01-01T00:00:00.000Z' },
    });
    reader.handle({ kind: 'received', from: self, bytes: bytesOf('short') }, LATER);
    expect(reader.read({ op: 'read', board: MAIN, key: 'plan' }, LATER)).toMatchObject({
      ok: true,
      value: { found: true, value: 'on', author: 'alice', node: self, writtenAt: '2026-01-01T00:00:01.000Z' },
    });
  });

  it('Yjs reads the update of a push as an array of one item', () => {
    const at = PINNED.push.indexOf('003c') + 4;
    const doc = new Y.Doc();
    Y.applyUpdate(doc, fromHex(PINNED.push.slice(at)) as Uint8Array);
    const items = doc.getArray<Uint8Array>(`lane:${incarnation}`).toArray();
    expect(items.map((item) => toHex(item))).toEqual(['0000eb488b40000004706c616e05616c69636522676f22']);
  });

  it('what is signed begins with a domain of its own', () => {
    const head = Buffer.from('skein/record/1\0\x34').toString('hex');
    const record = { owner: self, kind: 'lanes', key: 'k', sequence: 258, body: Uint8Array.of(7) } as const;
    const idHex = Buffer.from(self).toString('hex');
    expect(toHex(signedBytes(record))).toBe(`${head}${idHex}00056c616e657300016b000000000000010207`);
  });
});

describe('protocol pins: names and bounds', () => {
  it('channels keep their protocol ids, and the page has them all', () => {
    expect(CHANNELS.map((channel) => protocolOf(channel))).toEqual([
      '/skein/hello/1',
      '/skein/mesh/1',
      '/skein/records/1',
      '/skein/board/1',
      '/skein/quorum/1',
      '/skein/call/1',
    ]);
    for (const channel of CHANNELS) expect(page).toContain(`| \`${channel}\` | \`${protocolOf(channel)}\` |`);
  });

  it('a frame on a stream stands behind its length', () => {
    const frames = [new Uint8Array(3).fill(1), new Uint8Array(200).fill(2), new Uint8Array(0)];
    expect(toHex(joinFrames(frames, 207)).replace(/(02){200}/, '…')).toBe('03010101c801…00');
  });

  it('the page has every reason for a refusal', () => {
    for (const code of REFUSALS) expect(page).toContain(`\`${code}\``);
  });

  it('the page has every bound that it names, as it is', () => {
    const rows = [...page.matchAll(/^\| `(\w+)` \| ([\d,]+) \|$/gm)];
    const listed = Object.fromEntries(
      rows.map(([, name = '', value = '']) => [name, Number(value.replaceAll(',', ''))]),
    );
    const words = new Set([...page.matchAll(/`(\w+)`/g)].map(([, word = '']) => word));
    const named = Object.keys(limits).filter((name) => words.has(name) && !FIELDS.has(name));
    expect(named.filter((name) => listed[name] === undefined)).toEqual([]);
    for (const [name, value] of Object.entries(listed))
      expect([name, limits[name as keyof typeof limits]]).toEqual([name, value]);
    expect(rows.length).toBeGreaterThan(30);
  });
});

describe('documents', () => {
  const root = resolve(import.meta.dirname, '../..');
  const pages = readdirSync(resolve(root, 'docs')).filter((name) => name.endsWith('.md'));

  it.each(pages)('every file that %s names is there', (name) => {
    const text = readFileSync(resolve(root, 'docs', name), 'utf8');
    const files = [
      ...text.matchAll(/`((?:src|test|simulations|nodes|configs)\/[\w./-]*\.(?:ts|yaml|json))`/g),
    ];
    // Capitals stand for something to fill in.
    const named = files.map(([, file = '']) => file).filter((file) => !/[A-Z]{3}/.test(file));
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, link]) => `docs/${link}`);
    const missing = [...named, ...links].filter((file) => !existsSync(resolve(root, file)));
    expect(missing).toEqual([]);
  });
});
