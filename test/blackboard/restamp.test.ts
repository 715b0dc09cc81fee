/** A node whose clock was ahead, and is corrected: what it wrote meanwhile, and what it writes later, travels. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/kernel/limits.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { expectOk, MAIN, Network } from './network.ts';

const HOUR_MS = 3_600_000;

/** `a` is alone with a clock that is an hour ahead. */
function ahead(names = ['a', 'b', 'c'], seed = 1): Network {
  const network = new Network(seed, names);
  for (const name of names) if (name !== 'a') network.cut('a', name);
  network.node('a').clockOffsetMs = HOUR_MS;
  return network;
}

const restarted = (network: Network) => {
  network.node('a').clockOffsetMs = 0;
  network.restart('a');
};
const stepped = (network: Network) => {
  network.node('a').clockOffsetMs = 0;
  network.run(15_000);
};

function append(network: Network, name: string, ...items: unknown[]): void {
  expectOk(network.call(name, { op: 'append', board: MAIN, key: 'log', items: items as never }));
}

describe.each([
  ['corrected before a restart', restarted],
  ['corrected while it runs', stepped],
])('boards: a clock that was an hour ahead, %s', (_, correct) => {
  it('all that was acknowledged arrives at once, later writes too, and nobody is told of stamps ahead', () => {
    const network = ahead();
    network.write('b', 'shared', 'older');
    network.run(200);
    network.heal();
    network.run(500);
    for (const name of ['b', 'c']) network.cut('a', name);
    network.write('a', 'shared', 'newer');
    for (let count = 0; count < 3_000; count++) network.write('a', `k${count % 2_500}`, count);
    network.call('a', { op: 'delete', board: MAIN, key: 'k7' });
    append(network, 'a', 1, 2);
    append(network, 'a', 3);
    correct(network);
    network.heal();
    network.run(2_000);
    network.write('a', 'later', 'too');
    network.write('b', 'k8', 'replaced');
    network.run(1_000);
    for (const name of ['a', 'b', 'c']) {
      expect(['shared', 'k0', 'k7', 'k8', 'k2499', 'later'].map((key) => network.read(name, key))).toEqual([
        'newer',
        2_500,
        undefined,
        'replaced',
        2_499,
        'too',
      ]);
      expect(network.read(name, 'log')).toEqual([1, 2, 3]);
    }
    expect(network.converged).toBe(true);
    expect(network.node('a').boards.stampedAheadMs(network.now())).toBe(0);
    network.restart('a');
    network.run(2_000);
    expect([network.converged, network.read('a', 'k0')]).toEqual([true, 2_500]);
  });

  it('times to live count anew from the correction, and tombstones stay a day', () => {
    const network = ahead();
    network.write('a', 'timed', 1, { ttlSeconds: 100 });
    correct(network);
    network.heal();
    network.run(50_000);
    expect([network.read('a', 'timed'), network.read('b', 'timed')]).toEqual([1, 1]);
    network.run(60_000);
    expect([network.read('a', 'timed'), network.read('b', 'timed')]).toEqual([undefined, undefined]);
  });
});

describe('boards: stamps ahead', () => {
  it('peers whose clocks were ahead too, and which hold the entries, come to the same', () => {
    const network = new Network(2, ['a', 'b', 'c']);
    for (const name of ['a', 'b']) {
      network.cut(name, 'c');
      network.node(name).clockOffsetMs = HOUR_MS;
    }
    network.write('a', 'k', 'a first');
    network.write('a', 'mine', 'a');
    network.run(500);
    network.write('b', 'k', 'b after it');
    append(network, 'a', 'a1');
    append(network, 'b', 'b1');
    network.run(500);
    for (const name of ['a', 'b']) {
      network.node(name).clockOffsetMs = 0;
      network.restart(name);
    }
    network.heal();
    network.run(30_000);
    network.write('a', 'now', 1);
    network.run(1_000);
    for (const name of ['a', 'b', 'c']) {
      expect(['k', 'mine', 'now'].map((key) => network.read(name, key))).toEqual(['b after it', 'a', 1]);
      expect((network.read(name, 'log') as string[]).toSorted()).toEqual(['a1', 'b1']);
    }
  });

  it('a clock that is behind is no reason: what others stamped says so, and no stamp is changed', () => {
    const network = new Network(3, ['a', 'b']);
    network.write('b', 'theirs', 1);
    const { revision } = network.write('a', 'mine', 1);
    network.run(500);
    network.cut('a', 'b');
    network.node('a').clockOffsetMs = -HOUR_MS;
    network.restart('a');
    network.run(20_000);
    const read = expectOk(network.call('a', { op: 'read', board: MAIN, key: 'mine' }));
    expect(read.revision).toBe(revision);
  });

  it('stamps within the allowed skew stay as they are', () => {
    const network = new Network(4, ['a', 'b']);
    network.node('a').clockOffsetMs = limits.clockSkewMs - 1_000;
    const { revision } = network.write('a', 'k', 1);
    network.node('a').clockOffsetMs = 0;
    network.restart('a');
    network.run(15_000);
    expect(expectOk(network.call('b', { op: 'read', board: MAIN, key: 'k' })).revision).toBe(revision);
  });

  it('K07 a crash in the midst of it loses nothing, wherever the journal ends', () => {
    for (let lost = 0; lost < 6; lost++) {
      const network = ahead();
      for (let count = 0; count < 50; count++) network.write('a', `k${count}`, count);
      network.node('a').clockOffsetMs = 0;
      const before = network.node('a').journal.length;
      network.restart('a');
      network.run(100);
      const { journal } = network.node('a');
      expect(journal.length).toBeGreaterThan(before + 1);
      network.restart('a', journal.slice(0, Math.max(before, journal.length - lost)));
      network.heal();
      network.run(30_000);
      for (const name of ['a', 'b', 'c']) {
        for (let count = 0; count < 50; count++) expect(network.read(name, `k${count}`)).toBe(count);
      }
    }
  });

  it('any history with clocks that go ahead and come back ends equal, and in the same on every node', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const rng = seededRng(seed);
        const names = ['a', 'b', 'c'];
        const network = new Network(seed, names);
        const last = new Map<string, string>();
        for (let step = 0; step < 40; step++) {
          const name = rng.pick(names);
          const node = network.node(name);
          const die = rng.float();
          if (die < 0.15) {
            node.clockOffsetMs = rng.chance(0.5) ? HOUR_MS : 0;
            // As links do: clocks that differ keep nodes apart.
            network.heal();
            for (const left of names) {
              for (const right of names) {
                const differ = network.node(left).clockOffsetMs !== network.node(right).clockOffsetMs;
                if (left < right && differ) network.cut(left, right);
              }
            }
          } else if (die < 0.25) network.restart(name);
          else if (die < 0.4) network.run(rng.below(20_000));
          else if (die < 0.5) append(network, name, step);
          else {
            network.write(name, `own/${name}`, `${name} ${step}`);
            last.set(`own/${name}`, `${name} ${step}`);
            network.write(name, 'shared', step);
          }
        }
        for (const name of names) network.node(name).clockOffsetMs = 0;
        network.heal();
        network.run(60_000);
        network.converge();
        for (const [key, value] of last)
          for (const name of names) expect(network.read(name, key)).toBe(value);
        network.write('a', 'shared', 'last');
        network.run(2_000);
        expect(names.map((name) => network.read(name, 'shared'))).toEqual(['last', 'last', 'last']);
      }),
      // In both, each of two nodes waited for what it had an old copy of.
      { numRuns: 25, examples: [[140], [996]] },
    );
  });
});
