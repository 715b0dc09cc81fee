/** Free documents are deleted for good, and count in the quota of their board. */
import { describe, expect, it, vi } from 'vitest';
import * as Y from 'yjs';
import { FreeDocument } from '../../src/blackboard/documents.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { cryptography, expectOk, MAIN, Network } from './network.ts';

const NAMES = ['a', 'b', 'c'];

function append(net: Network, name: string, text: string, document = 'plan') {
  return net.call(name, { op: 'documentEdit', board: MAIN, document, edits: [{ kind: 'append', text }] });
}

function remove(net: Network, name: string, document = 'plan') {
  return expectOk(net.call(name, { op: 'documentDelete', board: MAIN, document }));
}

function text(net: Network, name: string, document = 'plan'): string {
  return expectOk(net.call(name, { op: 'documentRead', board: MAIN, document })).text;
}

function texts(net: Network): string[] {
  return [...net.nodes.keys()].map((name) => text(net, name));
}

function bytes(net: Network, name: string): number {
  return (
    net
      .node(name)
      .boards.boards()
      .find((board) => board.name === MAIN)?.bytes ?? -1
  );
}

let nextId = 1e8;

/** What a Yjs client of the node sends; its answer. */
function give(net: Network, name: string, update: Uint8Array, document = 'plan') {
  const id = ++nextId;
  const writer = { agent: 'me' as AgentId };
  net.event(name, { kind: 'yjsUpdate', id, board: MAIN, document, update, writer });
  net.run(10);
  return net.answers.get(id);
}

function checkpointed(net: Network, name: string): Uint8Array[] {
  return [...net.node(name).boards.checkpoint()].map((record) => record.slice());
}

describe('boards: the documents of a board', () => {
  it('are told with it by name, on every node, those that are deleted left out', () => {
    const net = new Network(1, NAMES);
    const listed = (name: string) => net.node(name).boards.boards()[0]?.documents;
    expectOk(append(net, 'a', 'text'));
    for (const document of ['notes', 'agenda'])
      expectOk(
        net.call('b', { op: 'documentEdit', board: MAIN, document, edits: [{ kind: 'append', text: 'x' }] }),
      );
    net.converge();
    for (const name of NAMES) expect(listed(name)).toEqual(['agenda', 'notes', 'plan']);
    remove(net, 'c');
    net.converge();
    for (const name of NAMES) expect(listed(name)).toEqual(['agenda', 'notes']);
    expect(JSON.parse(JSON.stringify(net.node('a').boards.boards()))[0].documents).toEqual([
      'agenda',
      'notes',
    ]);
    expect(net.node('a').boards.boards()[0]?.allDocuments?.()).toEqual(['agenda', 'notes']);
  });
});

describe('boards: deleted documents', () => {
  it('K06 a deleted document is empty everywhere, and stays so through nodes that were away, restarts and checkpoints', () => {
    const net = new Network(1, NAMES);
    expectOk(append(net, 'a', 'secret plan'));
    net.converge();
    net.partition(['c'], ['a', 'b']);
    expect(remove(net, 'a')).toMatchObject({ deleted: true });
    net.run(1_000);
    expect(texts(net)).toEqual(['', '', 'secret plan']);
    net.restart('a');
    net.restart('b', checkpointed(net, 'b'));
    expect(texts(net)).toEqual(['', '', 'secret plan']);
    net.heal();
    net.converge();
    expect(texts(net)).toEqual(['', '', '']);
    for (const name of NAMES) net.restart(name, checkpointed(net, name));
    net.converge();
    expect(texts(net)).toEqual(['', '', '']);
    expect(NAMES.flatMap((name) => net.node(name).penalties)).toEqual([]);
    expect(remove(net, 'c')).toMatchObject({ deleted: false });
  });

  it.each(['a', 'b', 'c'])(
    'a late edit of what was deleted does not bring it back (first met: %s)',
    (first) => {
      const net = new Network(2, NAMES);
      expectOk(append(net, 'a', 'one two'));
      net.converge();
      net.partition(['c'], ['a', 'b']);
      net.cut('a', 'b');
      expectOk(append(net, 'c', ' three'));
      remove(net, 'a');
      if (first === 'c') net.mend('a', 'c');
      else if (first === 'b') net.mend('b', 'c');
      else net.mend('a', 'b');
      net.run(5_000);
      net.heal();
      net.converge();
      expect(texts(net)).toEqual(['', '', '']);
      expect(NAMES.flatMap((name) => net.node(name).penalties)).toEqual([]);
    },
  );

  it('two delete it at once, and one begins it anew: what is new stays', () => {
    const net = new Network(3, NAMES);
    expectOk(append(net, 'a', 'old'));
    net.converge();
    net.partition(['a'], ['b', 'c']);
    remove(net, 'a');
    remove(net, 'b');
    expectOk(append(net, 'b', 'new'));
    net.run(1_000);
    net.heal();
    net.converge();
    expect(texts(net)).toEqual(['new', 'new', 'new']);
    for (const name of NAMES) net.restart(name);
    net.converge();
    expect(texts(net)).toEqual(['new', 'new', 'new']);
  });

  it('a node that never had the document learns that it was deleted before it meets one that still has it', () => {
    const net = new Network(4, ['a', 'c']);
    expectOk(append(net, 'a', 'old'));
    net.converge();
    net.cut('a', 'c');
    remove(net, 'a');
    net.add('d');
    net.cut('d', 'c');
    net.connectAll();
    net.run(5_000);
    net.crash('a');
    net.mend('d', 'c');
    net.run(5_000);
    expect([text(net, 'c'), text(net, 'd')]).toEqual(['', '']);
  });

  it('Yjs clients see it empty, all shared types; one that comes back with its old copy brings nothing back', () => {
    const net = new Network(5, ['a', 'b']);
    const doc = new Y.Doc();
    doc.getText('text').insert(0, 'hello');
    doc.getMap('meta').set('k', new Y.Map([['n', 1]]));
    expect(give(net, 'a', Y.encodeStateAsUpdate(doc))).toMatchObject({ ok: true });
    net.converge();
    const away = new Y.Doc();
    Y.applyUpdate(away, net.node('b').boards.encodeState(MAIN, 'plan'));
    net.node('b').effects = [];
    remove(net, 'a');
    net.converge();
    const told = net
      .node('b')
      .effects.flatMap((effect) => (effect.kind === 'yjsUpdated' ? [effect.update] : []));
    for (const update of told) Y.applyUpdate(doc, update);
    expect([doc.getText('text').toString(), doc.getMap('meta').toJSON()]).toEqual(['', {}]);
    away.getText('text').insert(5, ' world');
    expect(give(net, 'b', Y.encodeStateAsUpdate(away))).toMatchObject({
      ok: false,
      error: { code: 'INVALID_ARGUMENT', message: expect.stringMatching(/was deleted/) },
    });
    net.converge();
    expect([text(net, 'a'), text(net, 'b')]).toEqual(['', '']);
    Y.applyUpdate(away, net.node('b').boards.encodeState(MAIN, 'plan', Y.encodeStateVector(away)));
    expect([away.getText('text').toString(), away.getMap('meta').toJSON()]).toEqual(['', {}]);
    const anew = new Y.Doc();
    Y.applyUpdate(anew, net.node('b').boards.encodeState(MAIN, 'plan'));
    anew.getText('text').insert(0, 'again');
    expect(give(net, 'b', Y.encodeStateAsUpdate(anew))).toMatchObject({ ok: true });
    net.converge();
    expect([text(net, 'a'), text(net, 'b')]).toEqual(['again', 'again']);
  });

  it('K10 a session that saw the deletion is never shown the document elsewhere', () => {
    const net = new Network(6, ['a', 'b']);
    expectOk(append(net, 'a', 'secret'));
    net.converge();
    net.cut('a', 'b');
    const { session } = remove(net, 'a');
    const asked = { op: 'documentRead', board: MAIN, document: 'plan', level: 'session', session } as const;
    expect(net.call('b', asked)).toMatchObject({ ok: false, error: { code: 'SESSION_NOT_SATISFIED' } });
    net.heal();
    net.converge();
    expect(expectOk(net.call('b', asked)).text).toBe('');
  });

  it('what is left of a deleted document is below 200 bytes, however it was typed', () => {
    const net = new Network(7, ['a']);
    const doc = new Y.Doc();
    doc.getText('text').insert(0, 'x'.repeat(2_000));
    for (let index = 0; index < 2_000; index++) doc.getText('text').insert((index * 7_919) % 2_000, 'y');
    give(net, 'a', Y.encodeStateAsUpdate(doc));
    expect(bytes(net, 'a')).toBeGreaterThan(20_000);
    remove(net, 'a');
    expect(bytes(net, 'a')).toBeLessThan(200);
    expect(net.node('a').boards.encodeState(MAIN, 'plan').length).toBeLessThan(200);
  });

  it.each([11, 12, 13, 14, 15, 16])(
    'under loss, cuts and restarts all come to the same (seed %i)',
    (seed) => {
      const net = new Network(seed, NAMES);
      Object.assign(net.faults, { loss: 0.2, duplication: 0.3, jitterMs: 50 });
      for (let index = 0; index < 80; index++) {
        const name = net.rng.pick(NAMES);
        const document = net.rng.pick(['plan', 'p/2']);
        if (net.rng.chance(0.2)) remove(net, name, document);
        else expectOk(append(net, name, `${index};`, document));
        if (net.rng.chance(0.1)) net.cut('a', net.rng.pick(['b', 'c']));
        if (net.rng.chance(0.1)) net.mend('a', net.rng.pick(['b', 'c']));
        if (net.rng.chance(0.05)) net.restart(net.rng.pick(NAMES));
        net.run(20);
      }
      net.heal();
      net.converge(20_000);
      expect(new Set(texts(net)).size).toBe(1);
      const sizes = NAMES.map((name) => bytes(net, name));
      expect(new Set(sizes).size).toBe(1);
      for (const name of NAMES) net.restart(name, checkpointed(net, name));
      expect(NAMES.map((name) => bytes(net, name))).toEqual(sizes);
      expect(NAMES.flatMap((name) => net.node(name).penalties)).toEqual([]);
    },
  );
});

describe('boards: documents and quotas', () => {
  const small = [{ name: 'main', mode: 'crdt', quotaBytes: 10_000 }] as const;

  it('documents count in the bytes of their board, together with the entries; what is refused says which', () => {
    const net = new Network(1, ['a'], [...small]);
    expectOk(append(net, 'a', 'x'.repeat(6_000)));
    expect(bytes(net, 'a')).toBeGreaterThan(6_000);
    const full = {
      ok: false,
      error: { code: 'QUOTA_EXCEEDED', message: /10000 bytes/, details: { documents: 1 } },
    };
    expect(append(net, 'a', 'y'.repeat(5_000), 'other')).toMatchObject({
      ...full,
      error: { ...full.error, message: expect.stringMatching(/10000 bytes/) },
    });
    const write = { op: 'write', board: MAIN, key: 'k', value: 'z'.repeat(5_000) } as const;
    expect(net.call('a', write)).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
    expect(remove(net, 'a')).toMatchObject({ deleted: true });
    expect(bytes(net, 'a')).toBeLessThan(200);
    expectOk(net.call('a', write));
    expectOk(append(net, 'a', 'y'.repeat(4_000), 'other'));
  });

  it('Yjs clients are refused as well, but for what deletes; edits that shrink are taken where all is full', () => {
    const net = new Network(2, ['a'], [...small]);
    const doc = new Y.Doc();
    let update = new Uint8Array(0);
    doc.on('update', (made: Uint8Array) => {
      update = new Uint8Array(made);
    });
    doc.getText('text').insert(0, 'x'.repeat(9_000));
    expect(give(net, 'a', update)).toMatchObject({ ok: true });
    const other = new Y.Doc();
    other.getText('text').insert(0, 'y'.repeat(2_000));
    const refused = give(net, 'a', Y.encodeStateAsUpdate(other), 'other');
    expect(refused).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
    expectOk(append(net, 'a', 'z'.repeat(500)));
    const find = 'z'.repeat(500);
    expectOk(
      net.call('a', {
        op: 'documentEdit',
        board: MAIN,
        document: 'plan',
        edits: [{ kind: 'replace', find, text: 'z'.repeat(400) }],
      }),
    );
    doc.getText('text').delete(0, 8_000);
    expect(give(net, 'a', update)).toMatchObject({ ok: true });
    expect(bytes(net, 'a')).toBeLessThan(3_000);
  });

  it('a board has so many documents and no more; deleting one makes room, and a name can be used again', () => {
    const net = new Network(3, ['a']);
    for (let index = 0; index < limits.documents; index++) expectOk(append(net, 'a', 'x', `d${index}`));
    expect(append(net, 'a', 'x', 'one more')).toMatchObject({
      ok: false,
      error: { code: 'QUOTA_EXCEEDED', message: expect.stringMatching(/10000 documents/) },
    });
    expect(text(net, 'a', 'one more')).toBe('');
    remove(net, 'a', 'd17');
    expectOk(append(net, 'a', 'x', 'one more'));
    remove(net, 'a', 'd18');
    expectOk(append(net, 'a', 'again', 'd17'));
    expect(text(net, 'a', 'd17')).toBe('again');
  });

  it('S79 what peers bring is merged up to four times the quota, then passed over without blame, and comes once there is room', () => {
    const net = new Network(4, ['a', 'b', 'c', 'd', 'e', 'f'], [...small]);
    const all = [...net.nodes.keys()];
    for (const left of all) for (const right of all) if (left < right) net.cut(left, right);
    for (const name of all) expectOk(append(net, name, name.repeat(9_500), name));
    net.heal();
    net.run(30_000);
    for (const name of all) {
      expect(bytes(net, name)).toBeLessThanOrEqual(40_000);
      expect(net.node(name).penalties).toEqual([]);
      expect(net.node(name).marks.some((mark) => mark.name === 'board.documentNoRoom')).toBe(true);
    }
    for (const name of all.slice(0, 3)) remove(net, name, name);
    net.converge(200_000);
    for (const name of all) expect(text(net, name, 'f')).toBe('f'.repeat(9_500));
  });
});

describe('boards: what a small edit costs', () => {
  it.each([
    ['of one of 3,000 documents', 3_000, 'some text', 24],
    ['of a document of 5 MB', 1, 'lorem ipsum '.repeat(20_000), 24],
  ])(
    '%s: no document is encoded anew, and each node hashes less than 32 KiB for it',
    { timeout: 60_000 },
    (_what, count, piece, most) => {
      const hashed = vi.spyOn(cryptography, 'hash');
      const encoded = vi.spyOn(FreeDocument.prototype, 'encode');
      const net = new Network(5, ['a', 'b']);
      for (let index = 0; index < count; index++) net.ask('a', editOf(`d${index}`, piece));
      for (let index = 0; count === 1 && index < 20; index++) expectOk(append(net, 'a', piece, 'd0'));
      net.run(5_000);
      expect(net.converged).toBe(true);
      const client = new Y.Doc();
      Y.applyUpdate(client, net.node('a').boards.encodeState(MAIN, 'd0'));
      let update = new Uint8Array(0);
      client.on('update', (made: Uint8Array) => {
        update = new Uint8Array(made);
      });
      hashed.mockClear();
      encoded.mockClear();
      for (let index = 0; index < most; index++) {
        client.getText('text').insert(index % 9, 'x');
        expect(give(net, 'a', update, 'd0')).toMatchObject({ ok: true });
        net.run(2_000);
        expect(bytes(net, 'b')).toBe(bytes(net, 'a'));
      }
      expect(text(net, 'b', 'd0').slice(0, 20)).toBe(client.getText('text').toString().slice(0, 20));
      expect(encoded).not.toHaveBeenCalled();
      const work = hashed.mock.calls.reduce((sum, [input]) => sum + input.length, 0);
      expect(work / most / 2).toBeLessThan(32 * 1024);
      vi.restoreAllMocks();
    },
  );
});

function editOf(document: string, added: string) {
  return { op: 'documentEdit', board: MAIN, document, edits: [{ kind: 'append', text: added }] } as const;
}
