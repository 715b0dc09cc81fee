/** Nodes against a naive twin: of every key the write with the highest revision. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Entry } from '../../src/blackboard/api.ts';
import { expectOk, MAIN, Network } from './network.ts';

const names = ['a', 'b', 'c'];

type Op =
  | { kind: 'write'; node: number; key: number; value: number }
  | { kind: 'delete'; node: number; key: number }
  | { kind: 'append'; node: number; key: number; value: number }
  | { kind: 'cut'; left: number; right: number }
  | { kind: 'heal' }
  | { kind: 'restart'; node: number }
  /** From a part of what its journal held. */
  | { kind: 'restore'; node: number; share: number }
  | { kind: 'run'; ms: number };

const node = fc.nat(names.length - 1);
const key = fc.nat(4);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('write' as const), node, key, value: fc.nat(99) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), node, key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('append' as const), node, key, value: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), left: node, right: node }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'heal' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), node }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('run' as const), ms: fc.oneof(fc.nat(400), fc.nat(15_000)) }),
  },
);

interface Twin {
  revision: number;
  value: unknown;
}

/** Every acknowledged write, applied to a map by revision alone. */
class Naive {
  readonly sets = new Map<string, Twin>();
  readonly appends = new Map<string, { revision: number; value: unknown }[]>();

  set(keyName: string, revision: number, value: unknown): void {
    const known = this.sets.get(keyName);
    if (known === undefined || known.revision < revision) this.sets.set(keyName, { revision, value });
  }

  append(keyName: string, revision: number, value: unknown): void {
    this.appends.set(keyName, [...(this.appends.get(keyName) ?? []), { revision, value }]);
  }

  read(keyName: string): unknown {
    const base = this.sets.get(keyName);
    const items = (this.appends.get(keyName) ?? [])
      .filter((item) => item.revision > (base?.revision ?? 0))
      .sort((left, right) => left.revision - right.revision);
    if (items.length === 0) return base?.value;
    return [...(base?.value === undefined ? [] : [base.value]), ...items.map((item) => item.value)];
  }
}

function play(
  seed: number,
  ops: readonly Op[],
  faults: { loss: number; duplication: number; jitterMs: number },
) {
  const net = new Network(seed, names);
  Object.assign(net.faults, faults);
  const twin = new Naive();
  for (const each of ops) {
    // No two writes in one millisecond: the twin knows of no ties.
    net.run(1);
    const name = 'node' in each ? (names[each.node] as string) : '';
    switch (each.kind) {
      case 'write':
        twin.set(`k${each.key}`, net.write(name, `k${each.key}`, each.value).revision, each.value);
        break;
      case 'delete': {
        const answer = expectOk(net.call(name, { op: 'delete', board: MAIN, key: `k${each.key}` }));
        twin.set(`k${each.key}`, answer.revision, undefined);
        break;
      }
      case 'append': {
        const call = { op: 'append' as const, board: MAIN, key: `k${each.key}`, items: [each.value] };
        twin.append(`k${each.key}`, expectOk(net.call(name, call)).revision, each.value);
        break;
      }
      case 'cut':
        if (each.left !== each.right) net.cut(names[each.left] as string, names[each.right] as string);
        break;
      case 'heal': {
        net.heal();
        Object.assign(net.faults, faults);
        break;
      }
      case 'restart':
        net.restart(name);
        break;
      case 'restore': {
        const { journal } = net.node(name);
        net.restart(name, journal.slice(0, Math.floor(journal.length * each.share)));
        break;
      }
      case 'run':
        net.run(each.ms);
        break;
    }
  }
  return { net, twin };
}

describe('boards: convergence', () => {
  it('K01 K02 loss 30 %, replay 50 %, reordering, cuts and restarts: equal on all nodes within 10 s of healing, and as the naive twin', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.array(op, { minLength: 5, maxLength: 60 }), (seed, ops) => {
        const { net, twin } = play(seed, ops, { loss: 0.3, duplication: 0.5, jitterMs: 80 });
        net.heal();
        net.converge(10_000);
        for (let index = 0; index <= 4; index++) {
          const answer = expectOk(net.call('b', { op: 'read', board: MAIN, key: `k${index}` }));
          expect(answer.found ? answer.value : undefined).toEqual(twin.read(`k${index}`));
        }
        net.run(5_000);
        expect(net.converged).toBe(true);
        for (const each of net.nodes.values()) {
          expect(each.marks.filter((mark) => mark.level === 'error')).toEqual([]);
          expect(each.penalties).toEqual([]);
        }
      }),
      { numRuns: 40, seed: 20261121 },
    );
  });

  it('K02 B10 with disks lost and older disks restored besides: equal on all nodes within 20 s, nobody blamed', () => {
    const restore = fc.record({
      kind: fc.constant('restore' as const),
      node,
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    const ops = fc.array(fc.oneof({ weight: 19, arbitrary: op }, { weight: 1, arbitrary: restore }), {
      minLength: 5,
      maxLength: 60,
    });
    fc.assert(
      fc.property(fc.nat(1_000_000), ops, (seed, each) => {
        const { net } = play(seed, each, { loss: 0.3, duplication: 0.5, jitterMs: 80 });
        net.heal();
        net.converge(20_000);
        net.run(60_000);
        expect(net.converged).toBe(true);
        for (const other of net.nodes.values()) expect(other.penalties).toEqual([]);
      }),
      { numRuns: 40, seed: 20261121 },
    );
  });

  it('K03 in any partition every node reads and writes', () => {
    const net = new Network(4, names);
    for (const left of names) for (const right of names) if (left < right) net.cut(left, right);
    for (const name of names) {
      net.write(name, `of/${name}`, name);
      expect(net.read(name, `of/${name}`)).toBe(name);
    }
    net.heal();
    net.converge();
    const list = expectOk(net.call('a', { op: 'list', board: MAIN }));
    expect(list.entries.map((entry: Entry) => entry.value)).toEqual(names);
  });

  it('a chain of nodes converges through the middle one, which is believed only with proof', () => {
    const net = new Network(5, names);
    net.cut('a', 'c');
    for (let index = 0; index < 300; index++) net.write('a', `k${index % 60}`, index);
    net.converge(10_000);
    expect(net.read('c', 'k59')).toBe(299);
    net.write('c', 'back', 1);
    net.until(() => net.read('a', 'back') === 1, 10_000);
  });

  it('K05 a node that was away for 20,000 overwrites catches up', () => {
    const net = new Network(6, names);
    net.write('c', 'mine', 'still here');
    net.converge();
    net.crash('c');
    for (let index = 0; index < 20_000; index += 50) {
      for (let each = 0; each < 50; each++) {
        net.ask(index % 100 === 0 ? 'a' : 'b', {
          op: 'write',
          board: MAIN,
          key: `k${(index + each) % 500}`,
          value: index,
        });
      }
      net.run(1);
    }
    net.restart('c');
    net.converge(10_000);
    expect(net.read('c', 'mine')).toBe('still here');
  });

  it('K06 what was deleted and trimmed while a node was away stays deleted when it returns with older writes', () => {
    const net = new Network(7, names);
    net.write('c', 'old', 'by c');
    net.converge();
    net.partition(['c'], ['a', 'b']);
    net.write('c', 'late', 'by c, away');
    net.run(10);
    expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'old' }));
    net.write('a', 'late', 'by a');
    expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'late' }));
    net.run(23 * 3_600_000);
    net.heal();
    net.converge();
    net.run(2_000);
    for (const name of names) {
      expect(net.read(name, 'old')).toBeUndefined();
      expect(net.read(name, 'late')).toBeUndefined();
    }
  });

  it('K07 journal and checkpoint each bring back what was acknowledged, hash equal', () => {
    const net = new Network(8, names);
    for (let index = 0; index < 400; index++)
      net.write(names[index % 3] as string, `k${index % 50}`, `v${index}`);
    expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'k1' }));
    expectOk(net.call('a', { op: 'append', board: MAIN, key: 'log', items: [1, 2, 3] }));
    net.converge();
    net.run(1_000);
    const before = net.node('a').boards.hash(MAIN, net.now());
    const records = [...net.node('a').boards.checkpoint()];
    net.restart('a');
    expect(net.node('a').boards.hash(MAIN, net.now())).toBe(before);
    net.restart('a', [...records, ...records]);
    expect(net.node('a').boards.hash(MAIN, net.now())).toBe(before);
    net.converge();
  });

  it('a checkpoint written while writes go on, with the log since its beginning, is complete', () => {
    const net = new Network(9, ['a']);
    const value = 'v'.repeat(2_000);
    for (let index = 0; index < 600; index++) net.write('a', `k${index}`, value);
    const logFrom = net.node('a').journal.length;
    const records: Uint8Array[] = [];
    let index = 0;
    for (const record of net.node('a').boards.checkpoint()) {
      records.push(record);
      net.write('a', `k${index}`, `new ${index}`);
      expectOk(net.call('a', { op: 'delete', board: MAIN, key: `k${599 - index}` }));
      index++;
    }
    expect(index).toBeGreaterThan(4);
    const before = net.node('a').boards.hash(MAIN, net.now());
    net.restart('a', [...records, ...net.node('a').journal.slice(logFrom)]);
    expect(net.node('a').boards.hash(MAIN, net.now())).toBe(before);
  });
});
