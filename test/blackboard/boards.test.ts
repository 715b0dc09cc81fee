import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { expectOk, MAIN, Network, START_MS } from './network.ts';

describe('boards: local calls', () => {
  it('a write is read back with author, node, time and revision; an overwrite has a higher revision', () => {
    const net = new Network(1, ['a']);
    const first = net.write('a', 'task/1', { state: 'open' });
    const second = net.write('a', 'task/1', { state: 'done' });
    expect(second.revision).toBeGreaterThan(first.revision);
    const answer = expectOk(net.call('a', { op: 'read', board: MAIN, key: 'task/1' }));
    expect(answer).toMatchObject({
      found: true,
      value: { state: 'done' },
      author: 'agent-a',
      node: 'a',
      revision: second.revision,
    });
    expect(answer.found && Date.parse(answer.writtenAt)).toBeGreaterThanOrEqual(START_MS);
  });

  it('lists by prefix in pages, sorted, without deleted keys', () => {
    const net = new Network(1, ['a']);
    for (let index = 0; index < 25; index++) net.write('a', `k/${String(index).padStart(2, '0')}`, index);
    net.write('a', 'other', 1);
    net.call('a', { op: 'delete', board: MAIN, key: 'k/03' });
    const keys: string[] = [];
    let cursor: string | undefined;
    do {
      const page = expectOk(
        net.call('a', {
          op: 'list',
          board: MAIN,
          prefix: 'k/',
          limit: 10,
          ...(cursor === undefined ? {} : { cursor }),
        }),
      );
      keys.push(...page.entries.map((entry) => entry.key));
      cursor = page.cursor;
    } while (cursor !== undefined);
    expect(keys).toHaveLength(24);
    expect(keys).toEqual([...keys].sort());
    expect(keys).not.toContain('k/03');
  });

  it('a delete answers whether there was something, and reads find nothing afterwards', () => {
    const net = new Network(1, ['a']);
    net.write('a', 'x', 1);
    expect(expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'x' }))).toMatchObject({ deleted: true });
    expect(expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'x' }))).toMatchObject({
      deleted: false,
    });
    expect(net.read('a', 'x')).toBeUndefined();
  });

  it('what it exports is a Yjs document that Yjs itself reads alike', () => {
    const net = new Network(1, ['a', 'b']);
    for (let index = 0; index < 200; index++) net.write(index % 2 ? 'a' : 'b', `k${index % 17}`, index);
    net.converge();
    net.run(1_000);
    const doc = new Y.Doc();
    Y.applyUpdate(doc, net.node('a').boards.encodeState(MAIN, undefined));
    expect(doc.store.pendingStructs).toBeNull();
    const lanes = [...doc.share.keys()];
    expect(lanes).toHaveLength(2);
    let items = 0;
    for (const lane of lanes) items += doc.getArray(lane).length;
    expect(items).toBe(17);
    expect([...Y.encodeStateVector(doc)]).toEqual([...net.node('a').boards.stateVector(MAIN, undefined)]);
  });
});

describe('boards: replication', () => {
  it('a write on one node is read on every other', () => {
    const net = new Network(2, ['a', 'b', 'c']);
    net.write('a', 'x', 'one');
    net.until(() => net.read('c', 'x') === 'one' && net.read('b', 'x') === 'one', 100);
    net.write('b', 'x', 'two');
    net.until(() => net.read('a', 'x') === 'two' && net.read('c', 'x') === 'two', 100);
  });

  it('a node that joins later gets everything', () => {
    const net = new Network(3, ['a', 'b']);
    for (let index = 0; index < 500; index++) net.write(index % 2 ? 'a' : 'b', `k${index % 100}`, index);
    net.add('c');
    net.connectAll();
    net.converge();
    expect(net.read('c', 'k7')).toBe(net.read('a', 'k7'));
  });

  it('what came in large frames is in the journal of who took it: it starts again with all of it, alone', () => {
    const net = new Network(4, ['a']);
    const value = 'x'.repeat(1_000);
    for (let index = 0; index < 1_000; index++) net.write('a', `key-${index}`, `${index} ${value}`);
    net.add('c');
    net.connectAll();
    net.converge();
    const { journal } = net.node('c');
    expect(Math.max(...journal.map((record) => record.length))).toBeGreaterThan(64 * 1024);
    net.crash('a');
    net.restart('c');
    for (const index of [0, 500, 999]) expect(net.read('c', `key-${index}`)).toBe(`${index} ${value}`);
    expect(net.node('c').boards.boards()[0]?.keys).toBe(1_000);
  });
});
