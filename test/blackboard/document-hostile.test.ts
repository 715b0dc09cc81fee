/** What faulty and hostile members do to free documents. */
import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { deletionUpTo } from '../../src/blackboard/documents.ts';
import { writeDeleted, writeDocumentSection } from '../../src/blackboard/sections.ts';
import { ByteWriter } from '../../src/kernel/bytes.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { cpuMs, expectOk, MAIN, Network } from './network.ts';

function inject(net: Network, to: string, update: Uint8Array, document = 'plan'): void {
  const writer = new ByteWriter();
  writer.byte(1);
  writeDocumentSection(writer, MAIN, document, update);
  net.inject('m', to, writer.take());
}

function text(net: Network, name: string, document = 'plan'): string {
  return expectOk(net.call(name, { op: 'documentRead', board: MAIN, document })).text;
}

function append(net: Network, name: string, added: string, document = 'plan') {
  return net.call(name, {
    op: 'documentEdit',
    board: MAIN,
    document,
    edits: [{ kind: 'append', text: added }],
  });
}

function contents(net: Network, name: string): unknown {
  const doc = new Y.Doc();
  Y.applyUpdate(doc, net.node(name).boards.encodeState(MAIN, 'plan'));
  return [doc.getText('text').toDelta(), doc.getMap('map').toJSON(), doc.getArray('list').toJSON()];
}

/** Honest nodes without `m`, which only injects. */
function separated(seed: number, names: readonly string[]): Network {
  const net = new Network(seed, [...names, 'm']);
  for (const left of names) {
    net.cut(left, 'm');
    for (const right of names) if (left < right) net.cut(left, right);
  }
  // A hostile node that is linked to all, and says what it likes to each.
  for (const name of names) net.event(name, { kind: 'peerUp', peer: net.node('m').id });
  return net;
}

function join(net: Network, names: readonly string[]): void {
  for (const left of names) for (const right of names) if (left < right) net.mend(left, right);
}

function made(client: number, build: (doc: Y.Doc) => void): Uint8Array {
  const doc = new Y.Doc();
  doc.clientID = client;
  build(doc);
  return Y.encodeStateAsUpdate(doc);
}

function scribble(doc: Y.Doc, rng: Rng, steps: number): void {
  const body = doc.getText('text');
  for (let step = 0; step < steps; step++) {
    const at = rng.below(body.length + 1);
    switch (rng.below(6)) {
      case 0:
        doc.getMap('map').set(rng.pick(['p', 'q']), rng.pick([1, 'v', new Y.Map([['k', 1]])]));
        break;
      case 1:
        doc.getArray('list').insert(0, [rng.below(9), [rng.below(9)]]);
        break;
      case 2:
        if (body.length > at) body.delete(at, 1);
        break;
      case 3:
        if (body.length > at) body.format(at, 1, { bold: true });
        break;
      default:
        body.insert(at, rng.pick(['a', 'bc', 'def']));
    }
  }
}

let nextId = 1e8;

describe('free documents: two contents under equal clocks', () => {
  const NAMES = ['a', 'b', 'c'];

  it('S72 K04 every node comes to the same one of them, also when they meet later, and it is reported', () => {
    const net = separated(1, NAMES);
    for (const [index, name] of NAMES.entries()) {
      inject(
        net,
        name,
        made(66, (doc) => doc.getText('text').insert(0, ['one', 'two', 'six'][index] as string)),
      );
    }
    expect(NAMES.map((name) => text(net, name))).toEqual(['one', 'two', 'six']);
    net.mend('a', 'b');
    net.run(10_000);
    expect(text(net, 'a')).toBe(text(net, 'b'));
    net.mend('b', 'c');
    net.run(10_000);
    expect(new Set(NAMES.map((name) => text(net, name))).size).toBe(1);
    expect(['one', 'two', 'six']).toContain(text(net, 'a'));
    const marked = NAMES.filter((name) =>
      net.node(name).marks.some((mark) => mark.name === 'board.documentReplaced'),
    );
    expect(marked.length).toBeGreaterThan(0);
    const before = NAMES.map((name) => contents(net, name));
    for (const name of NAMES) net.restart(name);
    expect(NAMES.map((name) => contents(net, name))).toEqual(before);
    expectOk(append(net, 'a', ' and on'));
    net.run(5_000);
    for (const name of NAMES) expect(text(net, name)).toMatch(/ and on$/);
    const blamed = NAMES.flatMap((name) => net.node(name).penalties.filter(({ peer }) => peer !== 'm'));
    expect(blamed).toEqual([]);
  });

  it.each([...Array(12).keys()])(
    'also where honest edits, deletes and restarts go on between and beside them (seed %i)',
    (seed) => {
      const rng = seededRng(seed);
      const net = separated(seed, NAMES);
      for (const name of NAMES)
        inject(
          net,
          name,
          made(66, (doc) => scribble(doc, rng, 1 + rng.below(30))),
        );
      for (const name of NAMES) if (rng.chance(0.7)) expectOk(append(net, name, `-${name}-`));
      if (rng.chance(0.3)) expectOk(net.call('a', { op: 'documentDelete', board: MAIN, document: 'plan' }));
      net.mend('a', rng.pick(['b', 'c']));
      net.run(rng.below(3_000));
      expectOk(append(net, rng.pick(NAMES), '!'));
      if (rng.chance(0.3)) net.restart(rng.pick(NAMES));
      join(net, NAMES);
      net.run(rng.below(3_000));
      expectOk(append(net, rng.pick(NAMES), '?'));
      net.run(90_000);
      const [first, ...others] = NAMES.map((name) => contents(net, name));
      for (const other of others) expect(other).toEqual(first);
      const blamed = NAMES.flatMap((name) => net.node(name).penalties.filter(({ peer }) => peer !== 'm'));
      expect(blamed).toEqual([]);
    },
  );

  it('a copy of several megabytes gives way as well', () => {
    const net = separated(3, ['a', 'b']);
    const piece = 'lorem ipsum '.repeat(50_000);
    for (const name of ['a', 'b']) {
      const doc = new Y.Doc();
      doc.clientID = 66;
      for (let index = 0; index < 4; index++) {
        const vector = Y.encodeStateVector(doc);
        doc.getText('text').insert(index, index === 2 ? piece.replaceAll('l', name) : piece);
        inject(net, name, Y.encodeStateAsUpdate(doc, vector));
      }
    }
    expect(text(net, 'a').length).toBe(piece.length * 4);
    expect(text(net, 'a')).not.toBe(text(net, 'b'));
    net.mend('a', 'b');
    net.run(30_000);
    expect(text(net, 'a') === text(net, 'b')).toBe(true);
  });
});

describe('free documents: hostile updates', () => {
  it('a big integer, which JSON has not, is content like any other', () => {
    const net = new Network(1, ['a', 'm']);
    inject(
      net,
      'a',
      made(66, (doc) => doc.getMap('m').set('n', 12n)),
    );
    net.run(2_000);
    expect(net.node('a').penalties).toEqual([]);
    expect(net.hashes()).toHaveLength(2);
    const doc = new Y.Doc();
    Y.applyUpdate(doc, net.node('a').boards.encodeState(MAIN, 'plan'));
    expect(doc.getMap('m').get('n')).toBe(12n);
  });

  it('50,000 top-level types, for each of which Yjs would search all others, are refused; 1,024 in all are kept', () => {
    const net = new Network(2, ['a', 'm']);
    const many = (from: number, count: number, client: number) => {
      const writer = new ByteWriter();
      for (const number of [1, count, client, 0]) writer.varuint(number);
      for (let index = from; index < from + count; index++) {
        for (const number of [4, 1]) writer.varuint(number);
        writer.text(`r${index}`);
        writer.text('x');
      }
      writer.varuint(0);
      return writer.take();
    };
    const huge = many(0, 50_000, 66);
    const startMs = cpuMs();
    inject(net, 'a', huge);
    net.run(3_000);
    for (let index = 0; index < 10; index++) inject(net, 'a', many(index * 900, 900, 100 + index));
    net.run(3_000);
    expect(cpuMs() - startMs).toBeLessThan(1_000);
    expect(net.node('a').penalties).toHaveLength(1);
    const doc = new Y.Doc();
    Y.applyUpdate(doc, net.node('a').boards.encodeState(MAIN, 'plan'));
    expect(doc.share.size).toBeLessThanOrEqual(1_024);
  });

  it('insertions that Yjs would compare with each other for a minute hold a node up for moments, and all come to the same', () => {
    const net = new Network(10, ['a', 'b', 'm']);
    net.cut('b', 'm');
    const count = 4_000;
    const writer = new ByteWriter();
    for (const number of [2, count, 10, 0]) writer.varuint(number);
    // Each stands at the start, before another one of client 9.
    for (let clock = 0; clock < count; clock++) {
      for (const number of [0x44, 9, clock]) writer.varuint(number);
      writer.text('a');
    }
    for (const number of [1, 9, 0, 4, 1]) writer.varuint(number);
    writer.text('text');
    writer.text('b'.repeat(count));
    writer.varuint(0);
    const update = writer.take();
    for (let round = 0; round < 3; round++) {
      const startMs = cpuMs();
      inject(net, 'a', update);
      expect(cpuMs() - startMs).toBeLessThan(500);
    }
    const held = text(net, 'a');
    expect(held.length).toBeGreaterThan(count);
    expect(held.length).toBeLessThan(2 * count);
    expectOk(append(net, 'b', 'beside', 'other'));
    net.until(() => text(net, 'b') === held && text(net, 'a', 'other') === 'beside', 60_000);
    expect([...net.node('a').penalties, ...net.node('b').penalties]).toEqual([]);
    net.restart('a');
    expect(text(net, 'a')).toBe(held);
    net.converge();
  });

  it('what two wrote apart at one place, 400 times each, is merged as a whole all the same', () => {
    const net = new Network(11, ['a', 'b']);
    expectOk(append(net, 'a', '[start]'));
    net.converge();
    net.cut('a', 'b');
    for (const name of ['a', 'b']) {
      const doc = new Y.Doc();
      Y.applyUpdate(doc, net.node(name).boards.encodeState(MAIN, 'plan'));
      doc.on('update', (update: Uint8Array) => {
        const writer = { agent: 'me' as AgentId };
        net.event(name, { kind: 'yjsUpdate', id: ++nextId, board: MAIN, document: 'plan', update, writer });
      });
      for (let index = 0; index < 400; index++) doc.getText('text').insert(0, `${name}${index};`);
    }
    net.heal();
    net.converge(60_000);
    expect(text(net, 'a').match(/[ab]\d+;/g)).toHaveLength(800);
    expect([...net.node('a').penalties, ...net.node('b').penalties]).toEqual([]);
  });

  it('more Yjs clients than a document has room for are passed over, and its digest stays sendable', {
    timeout: 90_000,
  }, () => {
    const net = new Network(3, ['a', 'b', 'm']);
    net.cut('a', 'b');
    net.cut('b', 'm');
    const crowd = (from: number, count: number) => {
      const writer = new ByteWriter();
      writer.varuint(count);
      for (let client = from; client < from + count; client++) {
        for (const number of [1, 2 ** 40 + client, 0, 4, 1, 4]) writer.varuint(number);
        for (const letter of 'text') writer.byte(letter.charCodeAt(0));
        for (const number of [1, 97]) writer.varuint(number);
      }
      writer.varuint(0);
      return writer.take();
    };
    for (let index = 9; index >= 0; index--) inject(net, 'a', crowd(index * 12_000, 12_000));
    expect(net.node('a').penalties).toEqual([]);
    const held = text(net, 'a').length;
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThanOrEqual(2 * limits.documentClients);
    expectOk(append(net, 'b', 'beside', 'other'));
    net.mend('a', 'b');
    net.until(() => text(net, 'b').length === held && text(net, 'a', 'other') === 'beside', 60_000);
    expect([...net.node('a').penalties, ...net.node('b').penalties]).toEqual([]);
  });

  it('deletions of what is not here, of huge clocks, and of what this node is still to write', () => {
    const net = new Network(4, ['a', 'm']);
    expectOk(append(net, 'a', 'safe', 'other'));
    const send = (clocks: ReadonlyMap<number, number>, document: string) => {
      const writer = new ByteWriter();
      writer.byte(1);
      const vector = new ByteWriter();
      vector.varuint(clocks.size);
      for (const [client, clock] of clocks) {
        vector.varuint(client);
        vector.varuint(clock);
      }
      writeDeleted(writer, MAIN, document, vector.take());
      net.inject('m', 'a', writer.take());
    };
    send(new Map([[66, 2 ** 32]]), 'ghost');
    expect(net.node('a').penalties).toEqual([]);
    expectOk(append(net, 'a', 'alive', 'ghost'));
    expect(text(net, 'a', 'ghost')).toBe('alive');
    send(new Map([[66, 2 ** 32 + 1]]), 'ghost');
    send(new Map([[66, 0]]), 'ghost');
    send(new Map([[net.node('a').incarnation, 100]]), 'other');
    expect(net.node('a').penalties).toHaveLength(3);
    inject(net, 'a', deletionUpTo(new Map([[net.node('a').incarnation, 100]])), 'other');
    expect(net.node('a').penalties).toHaveLength(4);
    expect([text(net, 'a', 'ghost'), text(net, 'a', 'other')]).toEqual(['alive', 'safe']);
  });

  it('S79 10,000 tiny documents of a member: bounded, and a change of one of them is still found and repaired', {
    timeout: 90_000,
  }, () => {
    const net = new Network(5, ['a', 'b', 'm']);
    net.cut('a', 'b');
    net.cut('b', 'm');
    let bytes = new ByteWriter(1_000_000);
    bytes.byte(1);
    for (let index = 0; index < 10_000; index++) {
      const update = made(1_000 + index, (doc) => doc.getText('text').insert(0, 'tiny'));
      writeDocumentSection(bytes, MAIN, `tiny ${index}`, update);
      if (bytes.length < 300_000) continue;
      net.inject('m', 'a', bytes.take());
      bytes = new ByteWriter(1_000_000);
      bytes.byte(1);
    }
    net.inject('m', 'a', bytes.take());
    net.mend('a', 'b');
    net.run(20_000);
    expect(net.converged).toBe(true);
    net.cut('a', 'b');
    for (const index of [0, 5_000, 9_999]) expectOk(append(net, 'a', '!', `tiny ${index}`));
    net.mend('a', 'b');
    net.run(2_000);
    for (const index of [0, 5_000, 9_999]) expect(text(net, 'b', `tiny ${index}`)).toBe('tiny!');
    expect(net.node('b').penalties).toEqual([]);
  });

  it.each(['__proto__', 'a/b', '..', 'ÿ\u0000\u0007', '\u202eevil', '%2F', '💥'.repeat(64)])(
    'the name %j of a peer is a name like any other',
    (name) => {
      const net = new Network(6, ['a', 'b', 'm']);
      net.cut('b', 'm');
      inject(
        net,
        'a',
        made(66, (doc) => doc.getText('text').insert(0, 'x')),
        name,
      );
      net.run(5_000);
      expect(net.converged).toBe(true);
      expect(new TextDecoder().decode(net.node('b').boards.encodeState(MAIN, name))).toMatch(/x/);
      expect([...net.node('a').penalties, ...net.node('b').penalties]).toEqual([]);
      net.restart('b');
      expect(net.converged).toBe(true);
    },
  );

  it('S71 2,000 updates whose predecessor is withheld leave nothing behind', () => {
    const net = new Network(7, ['a', 'm']);
    const doc = new Y.Doc();
    doc.getText('text').insert(0, 'first');
    for (let index = 0; index < 2_000; index++) {
      const vector = Y.encodeStateVector(doc);
      doc.getText('text').insert(0, 'next');
      inject(net, 'a', Y.encodeStateAsUpdate(doc, vector), `d${index}`);
    }
    net.run(2_000);
    expect(
      net
        .node('a')
        .boards.boards()
        .find(({ name }) => name === MAIN)?.bytes,
    ).toBe(0);
    expect(net.node('a').journal.filter((record) => record.length > 200)).toEqual([]);
    expectOk(append(net, 'a', 'fine'));
  });

  it('two halves of a large document, written apart, come together although both were near its bound', {
    timeout: 90_000,
  }, () => {
    const net = new Network(8, ['a', 'b']);
    net.cut('a', 'b');
    const piece = 'x'.repeat(limits.editBytes);
    for (const name of ['a', 'b']) {
      let answer = append(net, name, piece);
      while (answer.ok) answer = append(net, name, piece);
      expect(answer).toMatchObject({ error: { code: 'QUOTA_EXCEEDED' } });
    }
    net.heal();
    net.run(60_000);
    expect(text(net, 'a').length).toBeGreaterThan(1.8 * limits.documentBytes);
    expect(text(net, 'a') === text(net, 'b')).toBe(true);
    expect([...net.node('a').penalties, ...net.node('b').penalties]).toEqual([]);
    expect(append(net, 'a', 'x')).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
  });

  it('an update of a Yjs client that its board has no room for is refused, and its connection goes on', () => {
    const net = new Network(9, ['a'], [{ name: 'main', mode: 'crdt', quotaBytes: 1_000 }]);
    const writer = { agent: 'me' as AgentId };
    const update = made(66, (doc) => doc.getText('text').insert(0, 'x'.repeat(2_000)));
    net.event('a', { kind: 'yjsUpdate', id: 1e9, board: MAIN, document: 'plan', update, writer });
    expect(net.answers.get(1e9)).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
    expect(net.node('a').boards.encodeState(MAIN, 'plan')).toEqual(Uint8Array.of(0, 0));
  });
});
