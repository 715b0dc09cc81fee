/**
 * Whom to pull from, and when: the bookkeeping of the anti-entropy machine, apart from its frames.
 *
 * Intuition: ten neighbours that all hold the 20 MB that this node lacks must not all send them. So at most a few
 * are asked at once, and as soon as one turns out to have much, it alone is asked for a while (a *turn*), frame by
 * frame, while the others wait; what they offered is mostly here when their turn comes. How many frames may be under way
 * (a *window*) grows as long as they come fast: the giver makes the next while the last is taken in. Once half of a
 * window is here, and all of it fitted, more is granted without another digest, and the giver never waits.
 *
 * Limits: a pull that brings nothing new although the neighbour had something to give cannot succeed by being
 * repeated; after the second one the neighbour is left alone for 5 s, doubling to a minute, or until it brings something
 * new that builds on what is missing: then for no longer than 5 s.
 */
import { equalBytes } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { type Deadline, earliest, type Instant } from '../kernel/time.ts';

/** Shortest time between the starts of two pulls from one neighbour. */
const SPACING_MS = 20;
/** A turn ends after so many frames or milliseconds, where others wait. */
const TURN_FRAMES = 128;
const TURN_MS = 5_000;
const LONGEST_TIMEOUT_MS = 3_000;
/** Time-outs in a row after which the next root decides whether to ask again. */
const TIMEOUTS = 6;
/** Each window is so many times the one before, as long as one comes within this time; one that takes longer is halved. */
const WINDOW_GROWTH = 4;
const FAST_WINDOW_MS = 250;
const SLOW_WINDOW_MS = 750;
/** Windows in a row that change nothing, after which a pull ends although more was promised. */
const IDLE_WINDOWS = 2;
const STUCK_PULLS = 2;
const BACKOFF_MS = 5_000;
const LONGEST_BACKOFF_MS = 60_000;

interface Want {
  /** Tell the neighbour afterwards where the roots still differ, so that it pulls in its turn. */
  readonly tell: boolean;
  /** The neighbour's root; the want is void once this replica has the same. Without it, pull in any case. */
  readonly root?: Uint8Array;
}

interface Pull {
  readonly tell: boolean;
  readonly startedAtMs: number;
  request: number;
  timeoutAtMs: number;
  /** When the last digest or grant went out. */
  askedAtMs: number;
  /** Frames that may be under way. */
  window: number;
  /** Frames asked for that have not come. */
  left: number;
  /** Of what came for the last digest or grant: something was new. */
  news: boolean;
  /** Something of this answer did not fit: what follows does not either, and only a digest helps. */
  broken: boolean;
  /** Root of this replica when the digest went out. */
  ours: Uint8Array;
  frames: number;
  idle: number;
  changed: boolean;
  /** The last window promised more: the next digest may go out. */
  ready: boolean;
  /** What was wanted of the same neighbour meanwhile. */
  again: Want | undefined;
}

interface History {
  /** When the last pull began. */
  startedAtMs: number;
  timeouts: number;
  stuck: number;
  notBeforeMs: number;
  /** Over its budget: left alone until then, also in the middle of a pull. */
  pausedUntilMs: number;
}

/** What a frame that is not the last of its answer brought. */
export interface News {
  /** It was taken in, or known before. */
  readonly fits: boolean;
  readonly changed: boolean;
}

/** What a neighbour answered to a digest. */
export interface Answered {
  readonly request: number;
  /** False for an answer of "you lack nothing". */
  readonly gave: boolean;
  readonly more: boolean;
  readonly refused: boolean;
  readonly theirs: Uint8Array;
  /** Neither of the two lacks anything of the other's. */
  readonly agreed: boolean;
  /** Root of this replica once the answer was merged. */
  readonly ours: Uint8Array;
}

export interface Outcome {
  /** The neighbour lacks something that is here. */
  readonly tell: boolean;
  /** Both have tried several times, and still differ. */
  readonly diverged: boolean;
}

/** A digest to be sent. */
export interface Ask {
  readonly peer: NodeId;
  readonly request: number;
  /** How many deltas at most may answer it. */
  readonly frames: number;
}

const NEVER = Number.NEGATIVE_INFINITY;
const NOTHING: Outcome = { tell: false, diverged: false };

export class Pulls {
  readonly #slots: number;
  readonly #timeoutMs: number;
  /** Oldest first. */
  readonly #wanted = new Map<NodeId, Want>();
  readonly #active = new Map<NodeId, Pull>();
  readonly #histories = new Map<NodeId, History>();
  /** The one neighbour that has much and is asked for it now. */
  #bulk: NodeId | undefined;
  #nextRequest = 0;

  constructor(slots: number, timeoutMs: number) {
    this.#slots = slots;
    this.#timeoutMs = timeoutMs;
  }

  /** True while a pull is under way, or waits for nothing but its turn. */
  get expecting(): boolean {
    if (this.#active.size > 0) return true;
    for (const peer of this.#wanted.keys()) if (this.#history(peer).stuck < STUCK_PULLS) return true;
    return false;
  }

  /** Whether `start` may find something to do: cheap, so that the root is computed only where it serves. */
  mayStart(now: Instant): boolean {
    for (const pull of this.#active.values()) if (pull.ready) return true;
    if (!this.#hasSlot) return false;
    for (const peer of this.#wanted.keys()) if (this.#startAtMs(peer) <= now.monoMs) return true;
    return false;
  }

  get deadline(): Deadline | undefined {
    const deadlines: Deadline[] = [];
    for (const pull of this.#active.values()) {
      deadlines.push({ atMs: pull.timeoutAtMs, reason: 'replication.pullTimeout' });
    }
    if (this.#hasSlot) {
      for (const peer of this.#wanted.keys()) {
        deadlines.push({ atMs: this.#startAtMs(peer), reason: 'replication.pull' });
      }
    }
    return earliest(deadlines);
  }

  want(peer: NodeId, want: Want): void {
    const pull = this.#active.get(peer);
    if (pull !== undefined) pull.again = both(pull.again, want);
    else this.#wanted.set(peer, both(this.#wanted.get(peer), want));
  }

  /** The neighbour brought something that builds on what is missing here: what was in vain before may have changed. */
  behind(peer: NodeId): void {
    const history = this.#history(peer);
    history.notBeforeMs = Math.min(history.notBeforeMs, history.startedAtMs + BACKOFF_MS);
    this.want(peer, { tell: false });
  }

  /** Nothing is asked of the neighbour until then, but what it lacks of an answer under way. */
  pause(peer: NodeId, untilMs: number): void {
    this.#history(peer).pausedUntilMs = untilMs;
  }

  /** True where this is an answer to the digest under way. */
  awaits(peer: NodeId, request: number): boolean {
    const pull = this.#active.get(peer);
    return pull !== undefined && pull.request === request && !pull.ready;
  }

  /** The neighbour was found equal. */
  agreed(peer: NodeId): void {
    const history = this.#history(peer);
    history.stuck = 0;
    if (this.#wanted.get(peer)?.root !== undefined) this.#wanted.delete(peer);
  }

  forget(peer: NodeId): void {
    this.#wanted.delete(peer);
    this.#active.delete(peer);
    this.#histories.delete(peer);
    if (this.#bulk === peer) this.#bulk = undefined;
  }

  /** The digests to send now; `ours` is this replica's root, and `agrees` says which roots are as good. */
  start(ours: Uint8Array, agrees: (root: Uint8Array) => boolean, now: Instant): readonly Ask[] {
    const started: Ask[] = [];
    for (const [peer, pull] of this.#active) {
      if (!pull.ready) continue;
      started.push(this.#ask(peer, pull, ours, now));
    }
    for (const [peer, want] of this.#wanted) {
      if (!this.#hasSlot) break;
      if (want.root !== undefined && agrees(want.root)) {
        this.agreed(peer);
        continue;
      }
      if (this.#startAtMs(peer) > now.monoMs) continue;
      this.#wanted.delete(peer);
      const history = this.#history(peer);
      history.startedAtMs = now.monoMs;
      history.notBeforeMs = now.monoMs + SPACING_MS;
      const pull = newPull(want.tell, now);
      this.#active.set(peer, pull);
      started.push(this.#ask(peer, pull, ours, now));
    }
    return started;
  }

  /** Gives up the pulls whose answer is overdue and queues them again, behind the others. */
  timeOut(now: Instant): readonly NodeId[] {
    const overdue: NodeId[] = [];
    for (const [peer, pull] of this.#active) {
      if (pull.timeoutAtMs > now.monoMs) continue;
      overdue.push(peer);
      this.#end(peer);
      const history = this.#history(peer);
      history.timeouts++;
      if (history.timeouts % TIMEOUTS !== 0) this.want(peer, both(pull.again, { tell: pull.tell }));
    }
    return overdue;
  }

  /** A frame came that is not the last of its answer. How many more to grant now. */
  received(peer: NodeId, request: number, { fits, changed }: News, now: Instant): number {
    const pull = this.#active.get(peer);
    if (pull === undefined || pull.request !== request || pull.ready) return 0;
    pull.frames++;
    pull.left--;
    this.#history(peer).timeouts = 0;
    pull.timeoutAtMs = now.monoMs + this.#timeoutMs;
    pull.news ||= changed;
    pull.broken ||= !fits;
    if (pull.left > pull.window / 2 || pull.broken || !pull.news || !this.#mayGoOn(peer, pull, now)) return 0;
    resize(pull, now);
    pull.askedAtMs = now.monoMs;
    pull.news = false;
    const granted = Math.max(0, pull.window - pull.left);
    pull.left += granted;
    return granted;
  }

  /** The last frame of an answer came. */
  answered(peer: NodeId, answer: Answered, now: Instant): Outcome {
    const pull = this.#active.get(peer);
    if (pull === undefined || pull.request !== answer.request || pull.ready) return NOTHING;
    const history = this.#history(peer);
    history.timeouts = 0;
    pull.frames++;
    const progress = !equalBytes(pull.ours, answer.ours);
    pull.idle = progress ? 0 : pull.idle + 1;
    pull.changed ||= progress;
    const { agreed } = answer;
    if (answer.more && !agreed && !answer.refused && pull.idle < IDLE_WINDOWS) {
      this.#continue(peer, pull, answer.theirs, now);
      return NOTHING;
    }
    this.#end(peer);
    if (agreed) {
      history.stuck = 0;
      if (pull.again !== undefined && pull.again.root === undefined) this.want(peer, pull.again);
      return NOTHING;
    }
    if (pull.again !== undefined) this.want(peer, pull.again);
    return { tell: pull.tell && !answer.refused, diverged: this.#judge(history, pull, answer, now) };
  }

  get #hasSlot(): boolean {
    return this.#bulk === undefined && this.#active.size < this.#slots;
  }

  #ask(peer: NodeId, pull: Pull, ours: Uint8Array, now: Instant): Ask {
    const { timeouts } = this.#history(peer);
    this.#nextRequest = (this.#nextRequest + 1) >>> 0;
    pull.request = this.#nextRequest;
    pull.timeoutAtMs =
      now.monoMs + Math.min(this.#timeoutMs * 2 ** Math.min(timeouts, 16), LONGEST_TIMEOUT_MS);
    pull.ours = ours.slice();
    pull.ready = false;
    pull.askedAtMs = now.monoMs;
    pull.left = pull.window;
    pull.news = pull.broken = false;
    return { peer, request: pull.request, frames: pull.window };
  }

  #continue(peer: NodeId, pull: Pull, theirs: Uint8Array, now: Instant): void {
    this.#bulk ??= peer;
    if (this.#mayGoOn(peer, pull, now)) {
      pull.ready = true;
      resize(pull, now);
      return;
    }
    this.#end(peer);
    this.want(peer, both(pull.again, { tell: pull.tell, root: theirs.slice() }));
  }

  /** It is the turn of this neighbour, and goes on being so. */
  #mayGoOn(peer: NodeId, pull: Pull, now: Instant): boolean {
    if (this.#bulk !== peer || this.#history(peer).pausedUntilMs > now.monoMs) return false;
    const overTurn = pull.frames >= TURN_FRAMES || now.monoMs - pull.startedAtMs >= TURN_MS;
    return !overTurn || this.#wanted.size === 0;
  }

  /** Counts pulls in vain; true when it is time to say that the two cannot agree. */
  #judge(history: History, pull: Pull, answer: Answered, now: Instant): boolean {
    if (pull.changed && !answer.refused) {
      history.stuck = 0;
      return false;
    }
    // The side that merely has more than the other gets nothing and is content, as long as it can say so.
    if (!answer.gave && pull.tell) return false;
    history.stuck = answer.refused ? Math.max(history.stuck + 1, STUCK_PULLS) : history.stuck + 1;
    if (history.stuck < STUCK_PULLS) return false;
    const backoffMs = Math.min(
      BACKOFF_MS * 2 ** Math.min(history.stuck - STUCK_PULLS, 16),
      LONGEST_BACKOFF_MS,
    );
    history.notBeforeMs = now.monoMs + backoffMs;
    return history.stuck === STUCK_PULLS + 1;
  }

  #startAtMs(peer: NodeId): number {
    const { notBeforeMs, pausedUntilMs } = this.#history(peer);
    return Math.max(notBeforeMs, pausedUntilMs);
  }

  #end(peer: NodeId): void {
    this.#active.delete(peer);
    if (this.#bulk === peer) this.#bulk = undefined;
  }

  #history(peer: NodeId): History {
    let history = this.#histories.get(peer);
    if (history === undefined) {
      history = { startedAtMs: NEVER, timeouts: 0, stuck: 0, notBeforeMs: NEVER, pausedUntilMs: NEVER };
      this.#histories.set(peer, history);
    }
    return history;
  }
}

function newPull(tell: boolean, now: Instant): Pull {
  return {
    tell,
    startedAtMs: now.monoMs,
    request: 0,
    timeoutAtMs: 0,
    askedAtMs: 0,
    window: 1,
    left: 0,
    news: false,
    broken: false,
    ours: new Uint8Array(0),
    frames: 0,
    idle: 0,
    changed: false,
    ready: false,
    again: undefined,
  };
}

/** By how long the last window took. */
function resize(pull: Pull, now: Instant): void {
  const tookMs = now.monoMs - pull.askedAtMs;
  if (tookMs <= FAST_WINDOW_MS) pull.window = Math.min(pull.window * WINDOW_GROWTH, limits.repairFrames);
  else if (tookMs > SLOW_WINDOW_MS) pull.window = Math.ceil(pull.window / 2);
}

/** One want that covers two: void only where both are. */
function both(older: Want | undefined, newer: Want): Want {
  if (older === undefined) return newer;
  const tell = older.tell || newer.tell;
  return older.root === undefined || newer.root === undefined ? { tell } : { tell, root: newer.root };
}
