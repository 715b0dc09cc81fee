/**
 * The commands of this node on their way into the log, each answered by what this node's own copy says when it
 * applies them. A command is sent again under the same number until then, so that it takes effect once.
 *
 * Limits: the store forgets the client that was silent longest. One that is forgotten while copies of its commands,
 * and of what opened it, are on their way (thousands of others spoke meanwhile) may have an answered one carried out again.
 */
import type { ErrorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import type { Deadline, Instant } from '../../kernel/time.ts';
import { unavailable } from '../messages.ts';
import type { Operation } from '../port.ts';
import { type ClientId, encodeCommand, otherwiseOf, type RequestHead } from '../register/command.ts';

/** Makes the command's bytes; called again with another head where the client had to be opened anew. */
type Build = (head: RequestHead) => Uint8Array;

interface Pending {
  /** The call to answer. */
  readonly id: number;
  readonly build: Build;
  command: Uint8Array;
  readonly deadlineMs: number;
  sentMs: number;
  /** Copies that were handed to a leader, this one or another, and may be in its log. */
  copies: number;
}

export interface Request {
  /** 0 for a command that belongs to no client: its refusal is not reported. */
  readonly sequence: number;
  readonly command: Uint8Array;
}

interface Outdated {
  readonly id: number;
  readonly otherwise: readonly Operation[];
  readonly deadlineMs: number;
}

interface Unanswered {
  readonly id: number;
  readonly error: ErrorBody;
}

/** Twice the round to a slow disk: an answer that takes longer was probably lost. */
const RESEND_MS = 400;
/** With the first upkeep after that: who has too much to do is not helped by more. */
const BUSY_MS = 30;
/** Whose time is up is looked for every 200 ms; the caller is answered within the limit all the same. */
export const GIVE_UP_MS = limits.quorumWaitMs - 300;
/** Commands in one frame to a leader. */
const PORTION_BYTES = 512 * 1024;

export class Proposals {
  readonly #freshId: () => number;
  #client: ClientId;
  #openSentMs = Number.NEGATIVE_INFINITY;
  #isOpen = false;
  /** Commands that open the client: those that were sent and that the store was not seen to carry out. */
  #opensOnTheirWay = 0;
  #nextSequence = 1;
  /** In the order of their sequences. */
  readonly #pending = new Map<number, Pending>();
  /** Something was not sent yet, or must be sent again now. */
  #isDue = false;

  /** `freshId` gives random safe integers above 0, none twice. */
  constructor(freshId: () => number) {
    this.#freshId = freshId;
    this.#client = freshId();
  }

  get size(): number {
    return this.#pending.size;
  }

  submit(id: number, build: Build, now: Instant): void {
    const sequence = this.#nextSequence++;
    const deadlineMs = now.monoMs + GIVE_UP_MS;
    this.#pending.set(sequence, this.#makePending(id, build, sequence, deadlineMs));
    this.#isDue = true;
  }

  /** Everything that waits is sent to the new leader. */
  resendAll(): void {
    this.#openSentMs = Number.NEGATIVE_INFINITY;
    for (const pending of this.#pending.values()) pending.sentMs = Number.NEGATIVE_INFINITY;
    this.#isDue = this.size > 0;
  }

  /** What a leader should be handed now. */
  takeDue(now: Instant): readonly Request[] {
    this.#isDue = false;
    const requests: Request[] = [];
    const beforeMs = now.monoMs - RESEND_MS;
    if (!this.#isOpen && this.#pending.size > 0 && this.#openSentMs <= beforeMs) {
      this.#openSentMs = now.monoMs;
      this.#opensOnTheirWay++;
      requests.push({ sequence: 0, command: encodeCommand({ kind: 'openClient', client: this.#client }) });
    }
    for (const [sequence, pending] of this.#pending) {
      if (pending.sentMs > beforeMs) continue;
      pending.sentMs = now.monoMs;
      pending.copies++;
      requests.push({ sequence, command: pending.command });
    }
    return requests;
  }

  /** This node leads, or did just now, and did not take it: that copy is no more. */
  refused(sequence: number, isBusy: boolean, now: Instant): void {
    const pending = this.#pending.get(sequence);
    if (pending === undefined) return;
    pending.copies--;
    this.#askAgain(pending, isBusy, now);
  }

  /** Another member says that it did not take it. It may say so twice, or of an earlier copy, so none is taken back. */
  refusedElsewhere(sequence: number, isBusy: boolean, now: Instant): void {
    const pending = this.#pending.get(sequence);
    if (pending !== undefined) this.#askAgain(pending, isBusy, now);
  }

  /** The store took it for too much at once: the command in the log has had no effect. */
  busy(client: ClientId, sequence: number, now: Instant): void {
    if (client === this.#client) this.refusedElsewhere(sequence, true, now);
  }

  /** Nobody can be asked: what waits is sent when there is a leader, or by and by. */
  postpone(): void {
    this.#isDue = false;
  }

  /** Some of what waits was sent so long ago that it is probably lost, or never. */
  wake(): void {
    this.#isDue = this.size > 0;
  }

  clientOpened(client: ClientId): void {
    if (client !== this.#client) return;
    this.#isOpen = true;
    this.#opensOnTheirWay--;
  }

  /** The call that a command of this node answers, once; `undefined` for others' commands and repetitions. */
  applied(client: ClientId, sequence: number): number | undefined {
    if (client !== this.#client) return undefined;
    const pending = this.#pending.get(sequence);
    if (pending === undefined) return undefined;
    this.#pending.delete(sequence);
    return pending.id;
  }

  /**
   * A leader proved that no copy of it takes effect, now or later. The call, and what it reads otherwise; `undefined`
   * where it was answered, or an earlier run of this node asked it.
   */
  outdated(client: ClientId, sequence: number): Outdated | undefined {
    if (client !== this.#client) return undefined;
    const pending = this.#pending.get(sequence);
    this.#pending.delete(sequence);
    if (pending === undefined) return undefined;
    const { id, command, deadlineMs } = pending;
    return { id, otherwise: otherwiseOf(command), deadlineMs };
  }

  /**
   * The store does not know this client. Before it was opened, the request has overtaken what opens it, and others may
   * follow that: it is sent again under the same number. Later the client was forgotten, and nothing that was sent as it
   * takes effect from here on, unless something on its way opens it once more. What was sent once only is sent again as
   * another; of the rest nobody can tell whether a copy took or will take effect.
   */
  clientUnknown(client: ClientId, sequence: number, now: Instant): readonly Unanswered[] {
    if (client !== this.#client) return [];
    if (this.#isOpen)
      return this.#startOver(({ copies }) => copies === 0 || (copies === 1 && this.#opensOnTheirWay === 0));
    this.refusedElsewhere(sequence, true, now);
    return [];
  }

  /** Another store takes the place of the one that was written to; `tookNoEffect`: nothing that waits was applied there. */
  restart(tookNoEffect: boolean): readonly Unanswered[] {
    return this.#startOver((pending) => tookNoEffect || pending.copies === 0);
  }

  #startOver(mayRepeat: (pending: Pending) => boolean): readonly Unanswered[] {
    const waiting = [...this.#pending.values()];
    const repeated = new Set(waiting.filter(mayRepeat));
    this.#client = this.#freshId();
    this.#isOpen = false;
    this.#opensOnTheirWay = 0;
    this.#openSentMs = Number.NEGATIVE_INFINITY;
    this.#pending.clear();
    const unanswered: Unanswered[] = [];
    for (const pending of waiting) {
      if (repeated.has(pending)) {
        const sequence = this.#nextSequence++;
        const { id, build, deadlineMs } = pending;
        this.#pending.set(sequence, this.#makePending(id, build, sequence, deadlineMs));
      } else {
        const error = unavailable('The store forgot this node before it had answered.', 'unknown');
        unanswered.push({ id: pending.id, error });
      }
    }
    this.resendAll();
    return unanswered;
  }

  cancel(id: number): void {
    for (const [sequence, pending] of this.#pending) if (pending.id === id) this.#pending.delete(sequence);
  }

  /** Calls whose time is up; `why` says what is missing. */
  takeLate(
    now: Instant,
    why: () => { readonly what: string; readonly details: Readonly<Record<string, unknown>> },
  ): readonly Unanswered[] {
    const late: Unanswered[] = [];
    for (const [sequence, pending] of this.#pending) {
      // In the order of their deadlines, but for those that were given another number.
      if (pending.deadlineMs > now.monoMs) continue;
      this.#pending.delete(sequence);
      late.push({ id: pending.id, error: lateError(why(), pending.copies > 0) });
    }
    return late;
  }

  get deadline(): Deadline | undefined {
    if (this.#isDue) return { atMs: Number.NEGATIVE_INFINITY, reason: 'proposals' };
    return undefined;
  }

  #askAgain(pending: Pending, isBusy: boolean, now: Instant): void {
    pending.sentMs = isBusy ? now.monoMs - RESEND_MS + BUSY_MS : now.monoMs - RESEND_MS / 2;
  }

  #makePending(id: number, build: Build, sequence: number, deadlineMs: number): Pending {
    const first = this.#pending.keys().next();
    const lowestOutstanding = first.done === true ? sequence : first.value;
    const command = build({ client: this.#client, sequence, lowestOutstanding });
    return { id, build, command, deadlineMs, sentMs: Number.NEGATIVE_INFINITY, copies: 0 };
  }
}

function lateError(
  { what, details }: { readonly what: string; readonly details: Readonly<Record<string, unknown>> },
  wasSent: boolean,
): ErrorBody {
  return unavailable(what, wasSent ? 'unknown' : 'not-done', details);
}

/** Parts that fit into frames. */
export function* portions(requests: readonly Request[]): Generator<readonly Request[]> {
  let part: Request[] = [];
  let bytes = 0;
  for (const request of requests) {
    if (part.length > 0 && bytes + request.command.length > PORTION_BYTES) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(request);
    bytes += request.command.length + 8;
  }
  if (part.length > 0) yield part;
}
