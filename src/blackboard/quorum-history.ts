/** The latest changes of all quorum boards, revision by revision, for those who wait or come back. */
import { limits } from '../kernel/limits.ts';
import type { EntryChange } from './quorum-content.ts';

interface Step {
  readonly revision: number;
  readonly changes: readonly EntryChange[];
  readonly bytes: number;
}

export interface Told {
  readonly changes: readonly EntryChange[];
  /** All that matters up to this revision is told. */
  readonly upTo: number;
}

export class QuorumHistory {
  #steps: Step[] = [];
  /** Steps before this are dropped; cut off in bulk. */
  #first = 0;
  #start = 0;
  #changes = 0;
  #bytes = 0;

  /** Every change with a revision above this is here. */
  get start(): number {
    return this.#start;
  }

  /** Begins anew: nothing is known of what came before `revision`. */
  reset(revision: number): void {
    this.#steps = [];
    this.#first = 0;
    this.#start = revision;
    this.#changes = 0;
    this.#bytes = 0;
  }

  add(revision: number, changes: readonly EntryChange[]): void {
    const bytes = changes.reduce((sum, { stored }) => sum + stored.value.length + stored.key.length, 0);
    this.#steps.push({ revision, changes, bytes });
    this.#changes += changes.length;
    this.#bytes += bytes;
    while (this.#changes > limits.quorumMirrorChanges || this.#bytes > limits.quorumMirrorBytes) {
      const oldest = this.#steps[this.#first] as Step;
      this.#first++;
      this.#start = oldest.revision;
      this.#changes -= oldest.changes.length;
      this.#bytes -= oldest.bytes;
    }
    if (this.#first > 1_024 && this.#first * 2 > this.#steps.length) {
      this.#steps = this.#steps.slice(this.#first);
      this.#first = 0;
    }
  }

  /** Changes after `revision` that matter, whole revisions, `limit` or a few more; `undefined` where some are gone. */
  since(
    revision: number,
    now: number,
    matters: (change: EntryChange) => boolean,
    limit: number,
  ): Told | undefined {
    if (revision < this.#start) return undefined;
    const changes: EntryChange[] = [];
    for (let at = this.#firstAfter(revision); at < this.#steps.length; at++) {
      const step = this.#steps[at] as Step;
      for (const change of step.changes) if (matters(change)) changes.push(change);
      if (changes.length >= limit) return { changes, upTo: step.revision };
    }
    return { changes, upTo: Math.max(revision, now) };
  }

  #firstAfter(revision: number): number {
    let low = this.#first;
    let high = this.#steps.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#steps[middle] as Step).revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
