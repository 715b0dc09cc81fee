/**
 * What a node knows about its own records: the sequence to sign next, and what to do when a record of its own
 * comes back from others although this replica does not have it.
 *
 * Sequences follow the wall clock, so they tell *when* in the life of this disk a record was signed:
 * - before the disk's first start: from a life whose disk was lost. It is adopted; the modules decide.
 * - after all that this disk remembers, and not signed in this run: the disk is an old image, or another process uses
 *   this identity. A slot that was published in this run is published again, above it; any other is adopted.
 * - in between, in a slot that is empty here: it was deleted, its tombstone has been dropped, and somebody who
 *   was away for long has brought it back. It is buried again.
 *
 * Whose a lane is stays true whatever a disk remembers, and what others hold in that lane hangs on it; what an account sent is
 * what others can spend, and a copy of the data may have begun one under this identity. Such records are never buried here;
 * their modules withdraw what is over.
 */
import type { Instant } from '../kernel/time.ts';
import type { RecordKind, SignedRecord } from './record.ts';

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 60_000;
/** A slot left alone for this long is no longer contested. */
const CALM_MS = 10 * 60_000;
const NEVER_BURIED: ReadonlySet<RecordKind> = new Set(['lanes', 'budget']);

/** `contested`: overruled again and again; published in its turn with growing pauses. */
type Fate = 'adopted' | 'overruled' | 'contested' | 'buried';

interface Desired {
  readonly kind: RecordKind;
  readonly key: string;
  readonly body: Uint8Array;
}

interface Contest {
  rounds: number;
  lastMs: number;
}

export class OwnRecords {
  readonly #desired = new Map<string, Desired>();
  readonly #due = new Map<string, number>();
  readonly #contests = new Map<string, Contest>();
  /** First start of this disk, on the wall clock. */
  #bornMs: number;
  #last = 0;
  /** The last sequence that the disk knew of when this run signed for the first time. */
  #recalled: number | undefined;
  /** The first sequence of this run, and its last. */
  #signed: { readonly first: number; last: number } | undefined;

  constructor(now: Instant) {
    this.#bornMs = Math.floor(now.wallMs);
  }

  /** What must outlive the process: the first start of this disk, and the last sequence, whose record may be gone. */
  get life(): readonly [bornMs: number, last: number] {
    return [this.#bornMs, this.#last];
  }

  /** What the journal knows of this disk's life. */
  remember([bornMs, last]: readonly [bornMs: number, last: number]): void {
    this.#bornMs = Math.min(this.#bornMs, bornMs);
    this.saw(last);
  }

  /** `undefined` where the sequences are used up. */
  nextSequence(now: Instant): number | undefined {
    const next = Math.max(this.#last + 1, Math.floor(now.wallMs));
    if (!Number.isSafeInteger(next)) return undefined;
    this.#recalled ??= this.#last;
    this.#signed ??= { first: next, last: next };
    this.#signed.last = next;
    this.#last = next;
    return next;
  }

  saw(sequence: number): void {
    this.#last = Math.max(this.#last, sequence);
  }

  /** What this run wants under the slot from now on. */
  desire(desired: Desired): void {
    this.#desired.set(slotName(desired), desired);
    this.#due.delete(slotName(desired));
  }

  get deadlineMs(): number | undefined {
    return this.#due.size === 0 ? undefined : Math.min(...this.#due.values());
  }

  /** What is to be published again now. */
  takeDue(now: Instant): readonly Desired[] {
    const due: Desired[] = [];
    for (const [slot, atMs] of this.#due) {
      if (atMs > now.monoMs) continue;
      this.#due.delete(slot);
      const desired = this.#desired.get(slot);
      if (desired !== undefined) due.push(desired);
    }
    return due;
  }

  /** A record of this node's own came in that stands above what is held (`isEmpty`: nothing is held). */
  returned(record: SignedRecord, isEmpty: boolean, now: Instant): Fate {
    const slot = slotName(record);
    const desired = this.#desired.get(slot);
    const isRemembered = this.#remembers(record.sequence);
    this.#recalled ??= this.#last;
    this.saw(record.sequence);
    if (
      !NEVER_BURIED.has(record.kind) &&
      record.body.length > 0 &&
      isEmpty &&
      (desired === undefined ? isRemembered : desired.body.length === 0)
    ) {
      this.#desired.set(slot, { kind: record.kind, key: record.key, body: new Uint8Array(0) });
      this.#due.set(slot, now.monoMs);
      return 'buried';
    }
    if (desired === undefined) return 'adopted';
    if (equal(desired.body, record.body)) return 'adopted';
    const contest = this.#contests.get(slot);
    const rounds = contest === undefined || now.monoMs - contest.lastMs > CALM_MS ? 0 : contest.rounds + 1;
    this.#contests.set(slot, { rounds, lastMs: now.monoMs });
    const delayMs =
      rounds === 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** Math.min(rounds - 1, 16), LONGEST_DELAY_MS);
    if (!this.#due.has(slot)) this.#due.set(slot, now.monoMs + delayMs);
    return rounds === 0 ? 'overruled' : 'contested';
  }

  #remembers(sequence: number): boolean {
    if (sequence < this.#bornMs) return false;
    if (sequence <= (this.#recalled ?? this.#last)) return true;
    const signed = this.#signed;
    return signed !== undefined && sequence >= signed.first && sequence <= signed.last;
  }
}

function slotName({ kind, key }: { readonly kind: string; readonly key: string }): string {
  return `${kind} ${key}`;
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}
