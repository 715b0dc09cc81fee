/**
 * What clients were promised by each of several stores, and what became of the stores: none may lose data unless a
 * person ordered it, and then only what the order allows.
 */
import type { TransactionAnswer } from '../../../src/quorum/port.ts';
import type { QuorumMachine } from '../machine.ts';
import type { QuorumWorld } from '../world.ts';

interface Promised {
  readonly key: string;
  readonly revision: number;
  readonly machine: QuorumMachine;
}

/** What a person ordered of a store. */
type Order =
  | { readonly kind: 'given up' }
  /** What the new store began with. */
  | { readonly kind: 'gone on from'; readonly into: string; readonly keys: ReadonlySet<string> };

export class StoresLedger {
  readonly #world: QuorumWorld;
  readonly #promised = new Map<string, Promised[]>();
  readonly #orders = new Map<string, Order>();
  /** Stores that were founded, without those that go on from another. */
  founded = 0;
  acknowledged = 0;

  constructor(world: QuorumWorld) {
    this.#world = world;
    world.onEffect.push((_, effect) => {
      if (effect.kind === 'mark' && effect.name === 'quorum.founded') this.founded++;
    });
  }

  /** A write of a key that nobody wrote before. */
  acknowledge(machine: QuorumMachine, key: string, { revision }: TransactionAnswer): void {
    const store = machine.quorum?.status().store;
    if (store === undefined) {
      this.#world.violate('stores', `${machine.name} acknowledged ${key} and carries no store`);
      return;
    }
    this.acknowledged++;
    const promised = this.#promised.get(store) ?? [];
    promised.push({ key, revision, machine });
    this.#promised.set(store, promised);
  }

  holdsData(store: string): boolean {
    return (this.#promised.get(store)?.length ?? 0) > 0;
  }

  orderedGivenUp(store: string): void {
    this.#orders.set(store, { kind: 'given up' });
  }

  /** A person goes on alone at the machine: what it had acknowledged itself, and what it shows, must be in the new store. */
  orderedGoneOn(machine: QuorumMachine, from: string, shown: ReadonlySet<string>): void {
    const status = machine.quorum?.status();
    if (status?.store === undefined || status.store === from) return;
    const keys = keysOf(machine);
    for (const key of shown)
      if (!keys.has(key))
        this.#world.violate('recover', `${machine.name} showed ${key}, and goes on without it`);
    for (const { key, machine: by } of this.#promised.get(from) ?? [])
      if (by === machine && !keys.has(key))
        this.#world.violate('recover', `${machine.name} acknowledged ${key} itself, and goes on without it`);
    this.#orders.set(from, { kind: 'gone on from', into: status.store, keys });
  }

  /** Once all is quiet: every store with data that nobody gave up is led, and holds all that it acknowledged. */
  check(): void {
    for (const [store, promised] of this.#promised) {
      const end = this.#endOf(store);
      if (end === undefined) continue;
      const leader = this.#world.machines.find(
        ({ isLeader, quorum }) => isLeader && quorum?.status().store === end.store,
      );
      if (leader === undefined) {
        this.#world.violate('stores', `nobody leads ${end.store}, which holds data and was not given up`);
        continue;
      }
      const keys = keysOf(leader);
      const lost = promised.filter(({ key }) => end.isBound(key) && !keys.has(key));
      if (lost.length > 0)
        this.#world.violate('stores', `${store} acknowledged ${lost.map(({ key }) => key).join(', ')}: lost`);
      if (end.store !== store) this.#checkTokens(promised, leader);
    }
  }

  /** Where what the store acknowledged must be at last; `undefined` where a person gave it up. */
  #endOf(store: string): { store: string; isBound: (key: string) => boolean } | undefined {
    const order = this.#orders.get(store);
    if (order === undefined) return { store, isBound: () => true };
    if (order.kind === 'given up') return undefined;
    const next = this.#endOf(order.into);
    return next && { store: next.store, isBound: (key) => order.keys.has(key) && next.isBound(key) };
  }

  /** Revisions are fencing tokens: what the lost voters handed out is not handed out again. */
  #checkTokens(promised: readonly Promised[], leader: QuorumMachine): void {
    const most = Math.max(...promised.map(({ revision }) => revision));
    const next = Math.min(
      ...(this.#promised.get(leader.quorum?.status().store ?? '') ?? []).map(({ revision }) => revision),
    );
    if (next <= most)
      this.#world.violate(
        'tokens',
        `revision ${next} was handed out again, behind ${most} of the store before`,
      );
  }

  /** Above all that any store that was carried here ever acknowledged. */
  get highestRevision(): number {
    return Math.max(0, ...[...this.#promised.values()].flat().map(({ revision }) => revision));
  }
}

/** What a copy holds of the clients' keys. */
export function keysOf(machine: QuorumMachine): ReadonlySet<string> {
  const found = machine.quorum?.register.range({ from: 'w', to: 'x' }, 100_000).found ?? [];
  return new Set(found.map(({ key }) => key));
}
