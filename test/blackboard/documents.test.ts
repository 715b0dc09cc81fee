import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import type { DocumentEdit } from '../../src/blackboard/api.ts';
import { writeDocumentSection } from '../../src/blackboard/sections.ts';
import { ByteWriter } from '../../src/kernel/bytes.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { cpuMs, expectOk, MAIN, Network } from './network.ts';

const NAMES = ['a', 'b', 'c'];

function edit(net: Network, name: string, ...edits: DocumentEdit[]) {
  return net.call(name, { op: 'documentEdit', board: MAIN, document: 'plan', edits });
}

function text(net: Network, name: string): string {
  return expectOk(net.call(name, { op: 'documentRead', board: MAIN, document: 'plan' })).text;
}

/** A Yjs client of the document `plan` on a node, which sends what it did when it is told to. */
function clientOf(net: Network, name: string) {
  const doc = new Y.Doc();
  let updates: Uint8Array[] = [];
  let id = 1e7;
  const { boards } = net.node(name);
  const receive = () =>
    Y.applyUpdate(doc, boards.encodeState(MAIN, 'plan', Y.encodeStateVector(doc)), 'node');
  receive();
  doc.on('update', (update: Uint8Array, origin: unknown) => {
    if (origin !== 'node') updates.push(update);
  });
  const give = (update: Uint8Array) => {
    const writer = { agent: 'me' as AgentId };
    net.event(name, { kind: 'yjsUpdate', id: ++id, board: MAIN, document: 'plan', update, writer });
    expect(net.answers.get(id)).toEqual({ ok: true, value: undefined });
  };
  const send = () => {
    const all = updates;
    updates = [];
    all.forEach(give);
  };
  return { doc, receive, send, sendAll: () => give(Y.encodeStateAsUpdate(doc)) };
}

describe('boards: documents', () => {
  it('edits by exact text on several nodes merge', () => {
    const net = new Network(1, NAMES);
    expectOk(edit(net, 'a', { kind: 'append', text: 'one two three' }));
    net.converge();
    net.partition(['a'], ['b', 'c']);
    expectOk(edit(net, 'a', { kind: 'replace', find: 'one', text: 'ONE' }));
    expectOk(edit(net, 'b', { kind: 'insert_after', find: 'three', text: ' four' }));
    net.heal();
    net.converge();
    for (const name of NAMES) expect(text(net, name)).toBe('ONE two three four');
  });

  it('text that does not occur exactly once is refused, saying how often, and nothing is edited', () => {
    const net = new Network(2, ['a']);
    expectOk(edit(net, 'a', { kind: 'append', text: 'aa b' }));
    const answer = edit(net, 'a', { kind: 'append', text: 'X' }, { kind: 'replace', find: 'a', text: 'c' });
    expect(answer).toMatchObject({
      ok: false,
      error: { code: 'INVALID_ARGUMENT', details: { occurrences: 2 } },
    });
    expect(edit(net, 'a', { kind: 'replace', find: 'nope', text: '' })).toMatchObject({
      ok: false,
      error: { details: { occurrences: 0 } },
    });
    expect(text(net, 'a')).toBe('aa b');
  });

  it('refused edits and updates use up no place: documents stay as many as have something in them', () => {
    const net = new Network(3, ['a']);
    for (let count = 0; count <= limits.documents; count++) {
      const edits = [{ kind: 'replace', find: 'nothing', text: 'x' }] as const;
      const refused = net.call('a', { op: 'documentEdit', board: MAIN, document: `d${count}`, edits });
      expect(refused).toMatchObject({ ok: false, error: { code: 'INVALID_ARGUMENT' } });
    }
    expectOk(edit(net, 'a', { kind: 'append', text: 'there is room' }));
  });

  it('a Yjs client writes any types, on any node, and all merge; restarts keep them', () => {
    const net = new Network(3, NAMES);
    expectOk(edit(net, 'a', { kind: 'append', text: 'hello' }));
    net.converge();
    const doc = new Y.Doc();
    Y.applyUpdate(doc, net.node('b').boards.encodeState(MAIN, 'plan'));
    const updates: Uint8Array[] = [];
    doc.on('update', (update: Uint8Array) => updates.push(update));
    doc.getText('text').insert(5, ' world');
    doc.getMap('meta').set('nested', new Y.Map([['k', [1, { two: 2 }]]]));
    doc.getText('text').format(0, 5, { bold: true });
    for (const update of updates) {
      net.event('b', {
        kind: 'yjsUpdate',
        id: 1e6 + updates.indexOf(update),
        board: MAIN,
        document: 'plan',
        update,
        writer: { agent: 'me' as AgentId },
      });
    }
    net.converge();
    expect(net.answers.get(1e6)).toEqual({ ok: true, value: undefined });
    for (const name of NAMES) expect(text(net, name)).toBe('hello world');
    const before = net.hashes();
    for (const name of NAMES) net.restart(name);
    expect(net.hashes()).toEqual(before);
    const copy = new Y.Doc();
    Y.applyUpdate(copy, net.node('c').boards.encodeState(MAIN, 'plan'));
    expect(copy.getMap('meta').toJSON()).toEqual({ nested: { k: [1, { two: 2 }] } });
  });

  it('K10 an edit that only removes text: a session that saw it is never shown the old text elsewhere', () => {
    const net = new Network(8, ['a', 'b']);
    expectOk(edit(net, 'a', { kind: 'append', text: 'keep secret' }));
    net.converge();
    net.cut('a', 'b');
    const { session } = expectOk(edit(net, 'a', { kind: 'replace', find: ' secret', text: '' }));
    const asked = { op: 'documentRead', board: MAIN, document: 'plan', level: 'session', session } as const;
    expect(net.call('b', asked)).toMatchObject({ ok: false, error: { code: 'SESSION_NOT_SATISFIED' } });
    expect(text(net, 'b')).toBe('keep secret');
    net.heal();
    net.converge();
    expect(expectOk(net.call('b', asked)).text).toBe('keep');
    net.restart('b');
    expect(expectOk(net.call('b', asked)).text).toBe('keep');
  });

  it.each(['nothing else', 'that it inserted'])(
    'K10 K11 what an unmodified Yjs client deletes, and %s, is in the tokens of its node',
    (beside) => {
      const net = new Network(9, NAMES);
      expectOk(edit(net, 'a', { kind: 'append', text: 'one two three' }));
      net.converge();
      const client = clientOf(net, 'b');
      net.cut('a', 'b');
      net.cut('c', 'b');
      client.doc.getText('text').delete(3, 4);
      client.send();
      client.receive();
      client.doc.transact(() => {
        client.doc.getText('text').delete(0, 3);
        if (beside === 'that it inserted') client.doc.getText('text').insert(0, '>');
      });
      client.send();
      const left = client.doc.getText('text').toString();
      const seen = expectOk(net.call('b', { op: 'documentRead', board: MAIN, document: 'plan' }));
      expect(seen.text).toBe(left);
      const asked = { op: 'documentRead', board: MAIN, document: 'plan', session: seen.session } as const;
      expect(net.call('c', asked)).toMatchObject({ ok: false, error: { code: 'SESSION_NOT_SATISFIED' } });
      net.heal();
      net.converge();
      expect(expectOk(net.call('c', asked)).text).toBe(left);
      client.receive();
      expect(client.doc.getText('text').toString()).toBe(left);
      expect(net.node('c').penalties).toEqual([]);
    },
  );

  it('a client that repeats all that it has, with deletions of its own, is merged everywhere', () => {
    const net = new Network(10, ['a', 'b']);
    expectOk(edit(net, 'a', { kind: 'append', text: 'one two' }));
    const client = clientOf(net, 'a');
    client.doc.getText('text').delete(0, 4);
    client.sendAll();
    net.converge();
    expect([text(net, 'a'), text(net, 'b')]).toEqual(['two', 'two']);
    client.sendAll();
    net.converge();
    expect(net.node('b').penalties).toEqual([]);
    net.cut('a', 'b');
    const { session } = expectOk(net.call('a', { op: 'documentRead', board: MAIN, document: 'plan' }));
    expect(net.call('b', { op: 'documentRead', board: MAIN, document: 'plan', session }).ok).toBe(true);
  });

  it('1,000 deletions, key by key, cost a document less than 100 bytes beside what is left of their text', () => {
    const net = new Network(11, ['a']);
    expectOk(edit(net, 'a', { kind: 'append', text: 'x'.repeat(1_000) }));
    const client = clientOf(net, 'a');
    for (let index = 999; index >= 0; index--) {
      client.doc.getText('text').delete(index, 1);
      client.send();
    }
    expect(text(net, 'a')).toBe('');
    expect(net.node('a').boards.encodeState(MAIN, 'plan').length).toBeLessThan(100);
  });

  it('converges under loss and reordering', () => {
    const net = new Network(4, NAMES);
    Object.assign(net.faults, { loss: 0.3, duplication: 0.3, jitterMs: 50 });
    for (let index = 0; index < 60; index++) {
      expectOk(edit(net, NAMES[index % 3] as string, { kind: 'append', text: `${index};` }));
      net.run(20);
    }
    net.heal();
    net.converge(15_000);
    expect(
      text(net, 'a')
        .split(';')
        .filter(Boolean)
        .map(Number)
        .sort((x, y) => x - y),
    ).toEqual([...Array(60).keys()]);
  });

  it('S70 S71 S82 hostile document updates are refused or wait for nothing', () => {
    const net = new Network(5, ['a', 'm']);
    expectOk(edit(net, 'a', { kind: 'append', text: 'safe' }));
    net.converge();
    const withheld = new Y.Doc();
    withheld.getText('text').insert(0, 'x');
    const vector = Y.encodeStateVector(withheld);
    withheld.getText('text').insert(1, 'y');
    const cyclic = new ByteWriter();
    for (const number of [2, 1, 10, 0, 0x84, 11, 0, 1, 65, 1, 11, 0, 0x84, 10, 0, 1, 65, 0])
      cyclic.varuint(number);
    const updates = [
      Uint8Array.of(1, 0xff, 0xff, 0xff, 0x0f, 5, 0, 0),
      Y.encodeStateAsUpdate(withheld, vector),
      Y.encodeStateAsUpdateV2(withheld),
      Y.encodeStateAsUpdate(withheld).subarray(0, 8),
      Uint8Array.of(...Y.encodeStateAsUpdate(withheld), 0),
      cyclic.take(),
    ];
    const before = net.hashes();
    for (const update of updates) {
      const writer = new ByteWriter();
      writer.byte(1);
      writeDocumentSection(writer, MAIN, 'plan', update);
      const startMs = cpuMs();
      net.inject('m', 'a', writer.take());
      expect(cpuMs() - startMs).toBeLessThan(50);
    }
    net.run(5_000);
    expect(net.hashes()).toEqual(before);
    expect(text(net, 'a')).toBe('safe');
    expect(net.node('a').penalties.length).toBeGreaterThanOrEqual(4);
  });

  it('the entries cannot be written through Yjs, and the answer says how to write them', () => {
    const net = new Network(6, ['a']);
    net.event('a', {
      kind: 'yjsUpdate',
      id: 1e6,
      board: MAIN,
      document: undefined,
      update: Uint8Array.of(0, 0),
      writer: { agent: 'me' as AgentId },
    });
    expect(net.answers.get(1e6)).toMatchObject({ ok: false, error: { code: 'DENIED' } });
  });

  it('a document of several megabytes reaches a node that joins later', () => {
    const net = new Network(7, ['a']);
    const piece = 'lorem ipsum '.repeat(limits.editBytes / 12 - 1);
    for (let index = 0; index < 8; index++) expectOk(edit(net, 'a', { kind: 'append', text: piece }));
    net.add('b');
    net.connectAll();
    net.converge();
    expect(text(net, 'b').length).toBe(piece.length * 8);
  });
});
