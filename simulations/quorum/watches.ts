/**
 * What watchers are told (K47): on each node every revision once, in order, without a gap but where the copy was
 * replaced as a whole; and a client that goes from node to node and watches on where it was sees the same changes.
 */
import type { KeyChange, KeyRange } from '../../src/quorum/port.ts';
import type { Quorum } from '../../src/quorum/quorum.ts';
import type { QuorumMachine } from './machine.ts';
import { changesText } from './safety.ts';
import type { QuorumWorld } from './world.ts';

const ALL: KeyRange = { from: '\u0001', to: '\u{10ffff}' };
const POLL_MS = 300;
const PAGE = 7;

export class WatchChecker {
  readonly #world: QuorumWorld;
  /** Of each run: the last revision that was told. */
  readonly #told = new Map<QuorumMachine, { readonly quorum: Quorum; revision: number }>();
  /** What was told of each revision, wherever first; a text for comparison. */
  readonly #revisions = new Map<number, string>();
  #store: number | undefined;
  /** Where the wandering client watches on. */
  #next = 2;

  constructor(world: QuorumWorld) {
    this.#world = world;
    world.onEffect.push((machine, effect) => {
      if (effect.kind === 'registerChanged') this.#changed(machine, effect.revision, effect.changes);
      if (effect.kind === 'registerReplaced') this.#replaced(machine, effect.isSameStore);
    });
    world.scheduler.after(POLL_MS, () => this.#poll());
  }

  /** The wandering client sees everything at last. */
  finish(): void {
    const leader = this.#world.leader;
    if (leader?.quorum === undefined) return;
    while (this.#watchOn(leader, leader.quorum));
    if (this.#next !== leader.quorum.register.revision + 1)
      this.#world.violate(
        'watch',
        `a watch ends before ${this.#next}, the store is at ${leader.quorum.register.revision}`,
      );
  }

  #changed(machine: QuorumMachine, revision: number, changes: readonly KeyChange[]): void {
    const { quorum } = machine;
    if (quorum === undefined) return;
    let told = this.#told.get(machine);
    if (told?.quorum !== quorum) {
      // A run begins where its copy did, which a step may have taken further already.
      told = { quorum, revision: revision - 1 };
      this.#told.set(machine, told);
    }
    if (revision !== told.revision + 1)
      this.#world.violate('watch', `${machine.name} told revision ${revision} after ${told.revision}`);
    if (changes.length === 0)
      this.#world.violate('watch', `${machine.name} told revision ${revision} without changes`);
    told.revision = revision;
    this.#compare(machine, revision, changes);
  }

  #replaced(machine: QuorumMachine, isSameStore: boolean): void {
    const { quorum } = machine;
    const told = this.#told.get(machine);
    if (quorum === undefined || told?.quorum !== quorum) return;
    this.#told.delete(machine);
    if (isSameStore && quorum.register.revision < told.revision)
      this.#world.violate(
        'watch',
        `${machine.name} was taken back to ${quorum.register.revision} from ${told.revision}`,
      );
  }

  #poll(): void {
    const { running, rng } = this.#world;
    const machine = running.length === 0 ? undefined : rng.pick(running);
    if (machine?.quorum !== undefined) this.#watchOn(machine, machine.quorum);
    this.#world.scheduler.after(POLL_MS, () => this.#poll());
  }

  /** True where there may be more. */
  #watchOn(machine: QuorumMachine, quorum: Quorum): boolean {
    const store = quorum.replica?.carried.store;
    if (store === undefined || quorum.register.revision < this.#next) return false;
    this.#store ??= store;
    if (store !== this.#store) return false;
    const answer = quorum.register.changesFrom(this.#next, ALL, PAGE);
    if (answer.kind === 'compacted') {
      this.#next = answer.compactRevision;
      return true;
    }
    for (const { revision, changes } of answer.revisions) {
      if (revision !== this.#next)
        this.#world.violate(
          'watch',
          `${machine.name} shows revision ${revision} to who waits for ${this.#next}`,
        );
      this.#next = revision + 1;
      this.#compare(machine, revision, changes);
    }
    if (answer.next !== this.#next)
      this.#world.violate('watch', `${machine.name} would go on at ${answer.next} after ${this.#next - 1}`);
    return answer.revisions.length > 0;
  }

  /** Whether told at once or shown later, on whichever node. */
  #compare(machine: QuorumMachine, revision: number, changes: readonly KeyChange[]): void {
    const text = changesText(changes);
    const known = this.#revisions.get(revision);
    if (known === undefined) this.#revisions.set(revision, text);
    else if (known !== text)
      this.#world.violate('watch', `${machine.name} shows other changes of revision ${revision}`);
  }
}
