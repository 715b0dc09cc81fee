import type { NodeId } from '../kernel/ids.ts';
import type { Rng } from '../kernel/rng.ts';
import type { Deadline, Instant } from '../kernel/time.ts';

/** Rounds in a row that find nobody lacking, after which a rumour is dropped. */
const COLD_ROUNDS = 2;
const FANOUT = 64;
/** While changes keep coming the rumour waits for a pause, but not longer than this. */
const POSTPONED_MS = 1_000;
/** Where all pairs are connected rumours find nobody lacking; they then become as rare as this. */
const SLOWEST_MS = 1_600;

/**
 * Whom to tell "something changed here" beyond the push: one random neighbour at a time, twice as many each
 * time one of them turns out to have lacked it, nobody any more once two rounds found nobody. So a hub tells
 * fifty leaves in half a second, and a full mesh hears a few 18-byte frames after a burst of writes.
 */
export class Rumour {
  readonly #fastestMs: number;
  readonly #rng: Rng;
  readonly #told = new Set<NodeId>();
  #delayMs: number;
  #sinceMs = 0;
  #fanout = 1;
  #rounds = 0;
  /** Rounds in a row, over all rumours, that found nobody lacking. */
  #fruitless = 0;
  #deadline: Deadline | undefined;

  constructor(delayMs: number, rng: Rng) {
    this.#fastestMs = delayMs;
    this.#delayMs = delayMs;
    this.#rng = rng;
  }

  get deadline(): Deadline | undefined {
    return this.#deadline;
  }

  /** Something new is here, from `from` or of this node's own. */
  changed(from: NodeId | undefined, now: Instant): void {
    this.#told.clear();
    if (from !== undefined) this.#told.add(from);
    this.#fanout = 1;
    this.#rounds = COLD_ROUNDS;
    if (this.#deadline === undefined) this.#sinceMs = now.monoMs;
    this.#schedule(Math.min(now.monoMs + this.#jittered(), this.#sinceMs + POSTPONED_MS + this.#delayMs));
  }

  /** `peer` asked and lacked something. */
  served(peer: NodeId, now: Instant): void {
    if (!this.#told.has(peer)) return;
    this.#fruitless = 0;
    this.#delayMs = this.#fastestMs;
    this.#fanout = Math.min(this.#fanout * 2, FANOUT);
    this.#rounds = COLD_ROUNDS;
    if (this.#deadline === undefined) this.#schedule(now.monoMs + this.#jittered());
  }

  /** The deadline has passed: whom to tell now. */
  spread(neighbours: readonly NodeId[], now: Instant): readonly NodeId[] {
    const untold = neighbours.filter((peer) => !this.#told.has(peer));
    const picked = this.#rng.shuffled(untold).slice(0, this.#fanout);
    for (const peer of picked) this.#told.add(peer);
    this.#rounds--;
    this.#sinceMs = now.monoMs;
    if (++this.#fruitless % COLD_ROUNDS === 0) this.#delayMs = Math.min(this.#delayMs * 2, SLOWEST_MS);
    if (this.#rounds > 0 && picked.length < untold.length) this.#schedule(now.monoMs + this.#jittered());
    else this.#deadline = undefined;
    return picked;
  }

  #jittered(): number {
    return this.#delayMs * (0.75 + this.#rng.float() / 2);
  }

  #schedule(atMs: number): void {
    this.#deadline = { atMs, reason: 'replication.rumour' };
  }
}
