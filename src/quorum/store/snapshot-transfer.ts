/**
 * Snapshots on their way to followers whose log is too short: in pieces, a few at a time, resumed where a piece or an
 * answer was lost. One capture serves all followers that need one at about the same time.
 */
import { limits } from '../../kernel/limits.ts';
import type { Instant } from '../../kernel/time.ts';
import type { StoreFrame } from '../frames.ts';
import type { LogIndex, ServerId, SnapshotPoint } from '../raft/types.ts';
import { NEWEST_FORMAT } from '../register/format.ts';
import type { Register } from '../register/register.ts';
import { Restorer } from '../register/restorer.ts';

type SnapshotFrame = Extract<StoreFrame, { kind: 'snapshot' }>;

/** A state of the store, cut into pieces as they are asked for. */
export class Capture {
  readonly point: SnapshotPoint;
  readonly #source: Iterator<Uint8Array>;
  readonly #pieces: Uint8Array[] = [];
  #ended = false;

  constructor(point: SnapshotPoint, pieces: Iterable<Uint8Array>) {
    this.point = point;
    this.#source = pieces[Symbol.iterator]();
    this.#pull();
  }

  /** The piece and whether it is the last; `undefined` beyond the end. */
  piece(index: number): { readonly bytes: Uint8Array; readonly isLast: boolean } | undefined {
    while (!this.#ended && this.#pieces.length <= index + 1) this.#pull();
    const bytes = this.#pieces[index];
    return bytes === undefined
      ? undefined
      : { bytes, isLast: this.#ended && index === this.#pieces.length - 1 };
  }

  #pull(): void {
    const next = this.#source.next();
    if (next.done === true) this.#ended = true;
    else this.#pieces.push(next.value);
  }
}

interface Outgoing {
  readonly transfer: number;
  readonly term: number;
  readonly capture: Capture;
  /** Everything before was confirmed. */
  confirmed: number;
  sent: number;
  /** The most that `sent` was. */
  reached: number;
  /** Of the last confirmation. */
  movedMs: number;
  /** When pieces are sent again that are not confirmed by then. */
  resendAtMs: number;
  startedMs: number;
}

const WINDOW = 4;
const RESEND_MS = 500;
const GIVE_UP_MS = 30_000;
/** A capture is shared by transfers that begin this soon after it. */
const SHARED_MS = 10_000;

export interface Outcome {
  readonly to: ServerId;
  readonly index: number;
  readonly ok: boolean;
}

export class SnapshotSenders {
  readonly #transfers = new Map<ServerId, Outgoing>();
  #capture: { readonly capture: Capture; readonly atMs: number } | undefined;
  #lastTransfer = 0;

  /** Pieces to send first. The log goes on from `oldest`: of an earlier capture the follower would need another at once. */
  begin(
    to: ServerId,
    term: number,
    oldest: LogIndex,
    makeCapture: () => Capture,
    now: Instant,
  ): readonly SnapshotFrame[] {
    if (
      this.#capture === undefined ||
      now.monoMs - this.#capture.atMs > SHARED_MS ||
      this.#capture.capture.point.index < oldest
    )
      this.#capture = { capture: makeCapture(), atMs: now.monoMs };
    const outgoing = {
      transfer: ++this.#lastTransfer,
      term,
      capture: this.#capture.capture,
      confirmed: 0,
      sent: 0,
      reached: 0,
      movedMs: now.monoMs,
      resendAtMs: now.monoMs + RESEND_MS,
      startedMs: now.monoMs,
    };
    this.#transfers.set(to, outgoing);
    return this.#fill(outgoing);
  }

  answered(
    from: ServerId,
    answer: Extract<StoreFrame, { kind: 'snapshotAnswer' }>,
    now: Instant,
  ): { readonly frames: readonly SnapshotFrame[]; readonly outcome?: Outcome } {
    const outgoing = this.#transfers.get(from);
    if (outgoing === undefined || outgoing.transfer !== answer.transfer) return { frames: [] };
    if (!answer.ok) return { frames: [], outcome: this.#end(from, outgoing, false) };
    if (answer.next > outgoing.reached) return { frames: [] };
    if (answer.next < outgoing.confirmed) {
      // It has started anew, or takes another's snapshot: the pieces are sent again from the first when it is time to.
      if (answer.next === 0) outgoing.confirmed = 0;
      return { frames: [] };
    }
    if (answer.next > outgoing.confirmed) {
      outgoing.confirmed = answer.next;
      outgoing.sent = Math.max(outgoing.sent, answer.next);
      outgoing.movedMs = now.monoMs;
      outgoing.resendAtMs = now.monoMs + RESEND_MS;
    }
    if (outgoing.capture.piece(answer.next - 1)?.isLast === true)
      return { frames: [], outcome: this.#end(from, outgoing, true) };
    return { frames: this.#fill(outgoing) };
  }

  /** Sends again what was not confirmed; gives up on who is silent for long or cannot be reached. */
  expire(
    now: Instant,
    isReachable: (server: ServerId) => boolean,
  ): {
    readonly frames: readonly { readonly to: ServerId; readonly frame: SnapshotFrame }[];
    readonly outcomes: readonly Outcome[];
  } {
    const frames: { to: ServerId; frame: SnapshotFrame }[] = [];
    const outcomes: Outcome[] = [];
    for (const [to, outgoing] of this.#transfers) {
      const silentMs = now.monoMs - outgoing.movedMs;
      if (now.monoMs - outgoing.startedMs > GIVE_UP_MS && silentMs > GIVE_UP_MS / 2) {
        outcomes.push(this.#end(to, outgoing, false));
      } else if (outgoing.resendAtMs <= now.monoMs) {
        outgoing.resendAtMs = now.monoMs + RESEND_MS;
        if (!isReachable(to)) continue;
        outgoing.sent = outgoing.confirmed;
        for (const frame of this.#fill(outgoing)) frames.push({ to, frame });
      }
    }
    if (
      this.#transfers.size === 0 &&
      this.#capture !== undefined &&
      now.monoMs - this.#capture.atMs > SHARED_MS
    )
      this.#capture = undefined;
    return { frames, outcomes };
  }

  get deadlineMs(): number | undefined {
    if (this.#transfers.size > 0)
      return Math.min(...[...this.#transfers.values()].map(({ resendAtMs }) => resendAtMs));
    return this.#capture === undefined ? undefined : this.#capture.atMs + SHARED_MS + 1;
  }

  clear(): void {
    this.#transfers.clear();
    this.#capture = undefined;
  }

  #fill(outgoing: Outgoing): readonly SnapshotFrame[] {
    const frames: SnapshotFrame[] = [];
    while (outgoing.sent < outgoing.confirmed + WINDOW) {
      const piece = outgoing.capture.piece(outgoing.sent);
      if (piece === undefined) break;
      const { transfer, term, capture } = outgoing;
      frames.push({ kind: 'snapshot', transfer, term, point: capture.point, piece: outgoing.sent, ...piece });
      outgoing.sent++;
    }
    outgoing.reached = Math.max(outgoing.reached, outgoing.sent);
    return frames;
  }

  #end(to: ServerId, outgoing: Outgoing, ok: boolean): Outcome {
    this.#transfers.delete(to);
    return { to, index: outgoing.capture.point.index, ok };
  }
}

/** A whole snapshot, checked. */
export interface Arrived {
  readonly from: ServerId;
  readonly term: number;
  readonly point: SnapshotPoint;
  readonly register: Register;
}

/** The largest store with all that goes along with it, and room to spare. */
const MOST_BYTES = 2 * (limits.quorumBytes + limits.quorumAnswersBytes + limits.quorumHistoryBytes);

export interface Taken {
  readonly answer: StoreFrame;
  /** The answer is true only once what was taken is on disk: the sender goes no faster than it. */
  readonly afterDisk: boolean;
  /** This piece is new and the next: it goes to the disk. */
  readonly isNext: boolean;
  readonly arrived?: Arrived;
}

/** Takes the pieces of one transfer at a time; a newer one takes the place of an older. */
export class SnapshotReceiver {
  readonly #mostBytes: number;
  readonly #newestFormat: number;
  /** The transfer that is under way, and the last that has ended. */
  #transfer: string | undefined;
  #ended: string | undefined;
  #pieces = 0;
  #bytes = 0;
  #restorer: Restorer;

  constructor(mostBytes = MOST_BYTES, newestFormat = NEWEST_FORMAT) {
    this.#mostBytes = mostBytes;
    this.#newestFormat = newestFormat;
    this.#restorer = new Restorer(undefined, newestFormat);
  }

  /** The answer to send, and the snapshot where this was its last piece. */
  take(from: ServerId, frame: SnapshotFrame): Taken {
    // A leader that started anew counts its transfers from the beginning, but never leads the same term again.
    const transfer = `${from} ${frame.term} ${frame.transfer} ${frame.point.index}`;
    if (transfer === this.#ended) return answer(frame, frame.piece + 1);
    if (transfer !== this.#transfer) {
      if (frame.piece !== 0) return answer(frame, 0);
      this.#begin(transfer);
    }
    if (frame.piece !== this.#pieces) return answer(frame, this.#pieces);
    this.#bytes += frame.bytes.length;
    if (this.#bytes > this.#mostBytes) return this.#giveUp(frame);
    this.#pieces++;
    this.#restorer.take(frame.bytes);
    if (this.#restorer.failed) return this.#giveUp(frame);
    const taken = { ...answer(frame, this.#pieces), isNext: true };
    if (!frame.isLast) return taken;
    const register = this.#restorer.finish();
    if (register === undefined) return this.#giveUp(frame);
    this.#begin(undefined);
    this.#ended = transfer;
    const { term, point } = frame;
    return { ...taken, arrived: { from, term, point, register } };
  }

  /** What was taken is not on disk, and may never be: whoever sends it begins anew. */
  forget(): void {
    this.#begin(undefined);
    this.#ended = undefined;
  }

  #begin(transfer: string | undefined): void {
    this.#transfer = transfer;
    this.#pieces = 0;
    this.#bytes = 0;
    this.#restorer = new Restorer(undefined, this.#newestFormat);
  }

  #giveUp(frame: SnapshotFrame): Taken {
    this.#begin(undefined);
    const { transfer } = frame;
    const refused = { kind: 'snapshotAnswer', transfer, next: 0, ok: false } as const;
    return { answer: refused, afterDisk: false, isNext: false };
  }
}

function answer({ transfer }: SnapshotFrame, next: number): Taken {
  const confirmed = { kind: 'snapshotAnswer', transfer, next, ok: true } as const;
  return { answer: confirmed, afterDisk: next > 0, isNext: false };
}
