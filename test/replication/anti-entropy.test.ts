import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { AntiEntropy } from '../../src/replication/anti-entropy.ts';
import { at, CALM, Network, nodeId } from './network.ts';
import { ToyLattice } from './toy.ts';

class Mesh extends Network<AntiEntropy> {
  readonly lattices = new Map<NodeId, ToyLattice>();
  readonly ids: readonly NodeId[];

  constructor(size: number, seed: number) {
    const rng = seededRng(seed);
    super(rng.fork());
    this.ids = Array.from({ length: size }, (_, index) => nodeId(index + 1));
    for (const self of this.ids) {
      const lattice = new ToyLattice(self);
      this.lattices.set(self, lattice);
      const options = {
        self,
        channel: 'board',
        stream: 'board',
        lattice,
        rng: rng.fork(),
        now: this.now,
      } as const;
      this.add(self, new AntiEntropy(options));
    }
  }

  lattice(index: number): ToyLattice {
    return this.lattices.get(this.ids[index]!)!;
  }

  write(index: number, ...items: string[]): void {
    this.lattice(index).add(...items);
    this.tell(this.ids[index]!, { kind: 'changed' });
  }

  get equal(): boolean {
    const [first, ...rest] = [...this.lattices.values()].map((lattice) =>
      Buffer.from(lattice.root()).toString('hex'),
    );
    return rest.every((root) => root === first);
  }
}

describe('anti-entropy: push', () => {
  it('sends one frame for all changes of one tick, to all neighbours', () => {
    const mesh = new Mesh(5, 1);
    mesh.connectAll();
    mesh.run(10_000);
    const before = mesh.sent.length;
    for (let item = 0; item < 100; item++) mesh.write(0, `item ${item}`);
    mesh.run(2, () => mesh.equal);
    expect(mesh.sent.length - before).toBe(4);
    expect(mesh.equal).toBe(true);
  });
});
