import type { NodeId } from '../../src/kernel/ids.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { AntiEntropy } from '../../src/replication/anti-entropy.ts';
import { Network, nodeId } from './network.ts';
import { ToyLattice } from './toy.ts';

/** Nodes with a toy lattice each. */
export class Mesh extends Network<AntiEntropy> {
  readonly lattices = new Map<NodeId, ToyLattice>();
  readonly ids: readonly NodeId[];
  readonly #seeds: Rng;

  constructor(size: number, seed: number) {
    const rng = seededRng(seed);
    super(rng.fork());
    this.#seeds = rng;
    this.ids = Array.from({ length: size }, (_, index) => nodeId(index + 1));
    for (const self of this.ids) this.boot(self, new ToyLattice(self));
  }

  /** A new machine over `lattice`, without neighbours. */
  boot(self: NodeId, lattice: ToyLattice): void {
    this.lattices.set(self, lattice);
    const rng = this.#seeds.fork();
    this.add(self, new AntiEntropy({ self, channel: 'board', stream: 'board', lattice, rng, now: this.now }));
  }

  id(index: number): NodeId {
    return this.ids[index]!;
  }

  machine(index: number): AntiEntropy {
    return this.nodes.get(this.id(index))!;
  }

  lattice(index: number): ToyLattice {
    return this.lattices.get(this.id(index))!;
  }

  link(left: number, right: number): void {
    this.connect(this.id(left), this.id(right));
  }

  write(index: number, ...items: string[]): void {
    this.lattice(index).add(...items);
    this.tell(this.id(index), { kind: 'changed' });
  }

  get equal(): boolean {
    const [first, ...rest] = [...this.lattices.values()].map((lattice) => lattice.rootText);
    return rest.every((root) => root === first);
  }
}

/** Types of frames by their first byte. */
export const FRAME = { push: 1, root: 2, digest: 3, delta: 4, grant: 5 } as const;

export function framesOf(mesh: Mesh, type: keyof typeof FRAME, since = 0): number {
  return mesh.sent.slice(since).filter(({ bytes }) => bytes[0] === FRAME[type]).length;
}
