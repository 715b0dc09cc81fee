import type { Answer, DiskFailed, DiskRecovered, Mark, Persist, Stream } from '../kernel/effects.ts';
import { errorBody, fail } from '../kernel/errors.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Clock, Disk, DiskError } from '../kernel/ports.ts';
import { type Deadline, isDue } from '../kernel/time.ts';
import { Overlap } from './overlap.ts';

/** An effect of this kind is the executor's own: once all that its stream persisted so far is on disk, it delivers `DiskReached` with the same number. */
interface AwaitDisk {
  readonly kind: 'awaitDisk';
  readonly stream: Stream;
  readonly sequence: number;
}

interface DiskReached {
  readonly kind: 'diskReached';
  readonly stream: Stream;
  readonly sequence: number;
}

/** The host itself was held up: its timer fired this late. */
export interface Lagged {
  readonly kind: 'lagged';
  readonly ms: number;
}

/** What the executor itself tells the machine. */
type Told = DiskFailed | DiskRecovered | Lagged | DiskReached;

interface Streamed {
  readonly kind: string;
  readonly stream?: Stream;
}

interface Waiting<Effect> {
  /** The persist, by its count, whose durability the effects wait for. */
  readonly ticket: number;
  readonly effects: Effect[];
}

interface ExecutorOptions<Event, Effect> {
  readonly machine: Machine<Event, Effect> & {
    checkpoint(): Iterable<Uint8Array>;
    /** What of its state is large and known at once; a checkpoint has at least that many bytes. */
    readonly liveBytes?: number;
  };
  readonly clock: Clock;
  readonly disk: Disk;
  /** Runs the callback soon, after what is running now: calls made until then share one flush and one sync. */
  readonly defer: (callback: () => void) => void;
  /** Carries out every effect but `persist` and `awaitDisk`, which the executor does itself. */
  readonly perform: (effect: Effect) => void;
  /** The disk fails, with the reason, or works again; by then the machine knows. */
  readonly onDisk?: (failure: string | undefined) => void;
  /** The machine threw: an invariant is broken and nothing it would do next can be trusted. */
  readonly onBroken: (error: unknown) => void;
  /** Log below which no checkpoint is worth its work and its syncs, in bytes; default 8 MiB. */
  readonly checkpointFloorBytes?: number;
  /** Sees every event and its effects, in order: the simulator's trace. */
  readonly observe?: (event: Event | 'expire', effects: readonly Effect[]) => void;
}

/** A timer this late says that the process was paused or starved. */
const LAG_MS = 200;
const DISK_PROBE_MS = 1_000;
/** How long records that nobody waits for may stay in memory. */
const LAZY_SYNC_MS = 100;
/**
 * A checkpoint is due when the log outgrows this share of the last one, with a floor for small states, and both
 * together outgrow the state by as much.
 */
const CHECKPOINT_SHARE = 0.75;
const CHECKPOINT_FLOOR_BYTES = 8 * 1024 * 1024;
/**
 * A checkpoint grows by at least so many bytes for each by which the log grows meanwhile, as far as a turn of that size
 * allows: the log then grows by half a checkpoint at most until it can be cut, however fast others write.
 */
const CHECKPOINT_PACE = 2;
const CHECKPOINT_TURN_BYTES = 512 * 1024;
/** The same for a node that wrote nothing for `QUIET_MS`: work that nobody waits for keeps small states small on disk. */
const QUIET_FLOOR_BYTES = 128 * 1024;
const QUIET_MS = 1_000;

/**
 * Runs a machine on the ports: one queue of events, one timer, effects in the order of their streams.
 *
 * `persist` effects are appended at once and made durable by one shared sync after the current tick; what follows
 * a durable persist in the same stream waits for that sync; other records reach the disk within `LAZY_SYNC_MS`. Callbacks rather than promises throughout, so that
 * the simulator drives this very code in virtual time.
 */
export class Executor<Event extends object, Effect extends Streamed | Persist | Answer | Mark> {
  readonly #options: ExecutorOptions<Event | Told, Effect>;
  readonly #queue: (Event | Told)[] = [];
  readonly #streams = new Map<Stream, { lastTicket: number; waiting: Waiting<Effect>[] }>();
  #running = false;
  #stopped = false;
  #settleAsked = false;
  #cancelTimer: (() => void) | undefined;
  #timerAtMs: number | undefined;
  #ticket = 0;
  #durableTicket = 0;
  /** A durable record waits for its sync. */
  #unsynced = false;
  #syncAsked = false;
  readonly #overlap = new Overlap();
  #diskBroken = false;
  #probeAsked = false;
  #checkpointing = false;
  #quietAsked = false;

  constructor(options: ExecutorOptions<Event | Told, Effect>) {
    this.#options = options;
  }

  /** Hands the machine a fact. Runs at once, or after what is running now. */
  deliver(event: Event | Told): void {
    if (this.#stopped) return;
    this.#queue.push(event);
    if (this.#running) return;
    this.#drain();
    if (this.#overlap.isDue) this.#split();
    if (!this.#isSettled) this.#askToSettle();
  }

  /** Executes effects that a method of the machine other than `handle` gave. */
  execute(effects: readonly Effect[]): void {
    if (this.#stopped) return;
    this.#carryOut(effects);
    this.#drainRest();
    this.#askToSettle();
  }

  /** No event, timer or effect passes from here on. What was appended is still synced by closing the disk. */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #drain(): void {
    this.#running = true;
    try {
      for (let event = this.#queue.shift(); event !== undefined; event = this.#queue.shift()) {
        const now = this.#options.clock.now();
        this.#overlap.at(now.monoMs);
        const effects = this.#options.machine.handle(event, now);
        this.#options.observe?.(event, effects);
        this.#carryOut(effects);
        if (this.#stopped) return;
      }
    } catch (error) {
      this.#break(error);
    } finally {
      this.#running = false;
    }
  }

  /** What was queued by other ways than `deliver`. */
  #drainRest(): void {
    if (this.#queue.length > 0 && !this.#running && !this.#stopped) this.#drain();
  }

  /** The timer is set as it should be and nothing waits for a sync: a node at rest is spared a turn of the event loop for most frames. */
  get #isSettled(): boolean {
    if (this.#settleAsked || this.#unsynced || this.#stopped) return false;
    return this.#timerAtMs !== undefined && this.#options.machine.deadline()?.atMs === this.#timerAtMs;
  }

  #askToSettle(): void {
    if (this.#settleAsked || this.#stopped) return;
    this.#settleAsked = true;
    this.#options.defer(() => {
      this.#settleAsked = false;
      this.#overlap.turnEnded(this.#options.clock.now().monoMs);
      this.#settle();
    });
  }

  /** What there is so far goes to the disk, while the rest of the turn is worked for. */
  #split(): void {
    this.#overlap.split();
    this.#settle();
  }

  /** The queue is empty: honour due deadlines, ask for the shared sync, set the timer. */
  #settle(): void {
    if (this.#stopped) return;
    const { machine, clock } = this.#options;
    let deadline = machine.deadline();
    if (isDue(deadline, clock.now())) {
      this.#expire();
      if (this.#stopped) return;
      deadline = machine.deadline();
    }
    if (this.#unsynced && !this.#diskBroken) {
      if (this.#overlap.isHeld) this.#overlap.joined();
      else this.#sync();
    }
    this.#arm(deadline);
    this.#considerCheckpoint();
  }

  #expire(): void {
    this.#running = true;
    try {
      const effects = this.#options.machine.expire(this.#options.clock.now());
      this.#options.observe?.('expire', effects);
      this.#carryOut(effects);
    } catch (error) {
      this.#break(error);
    } finally {
      this.#running = false;
    }
    this.#drainRest();
  }

  #arm(deadline: Deadline | undefined): void {
    if (this.#timerAtMs !== undefined && deadline?.atMs === this.#timerAtMs) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAtMs = undefined;
    if (deadline === undefined) return;
    const now = this.#options.clock.now();
    if (isDue(deadline, now)) {
      this.#askToSettle();
      return;
    }
    this.#timerAtMs = deadline.atMs;
    this.#cancelTimer = this.#options.clock.callAt(deadline.atMs, () => this.#onTimer(deadline.atMs));
  }

  #onTimer(dueMs: number): void {
    this.#cancelTimer = undefined;
    this.#timerAtMs = undefined;
    if (this.#stopped) return;
    const lateMs = this.#options.clock.now().monoMs - dueMs;
    if (lateMs > LAG_MS) this.deliver({ kind: 'lagged', ms: lateMs });
    this.#settle();
  }

  #carryOut(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (this.#stopped) return;
      if (isPersist(effect)) this.#persist(effect);
      else this.#inOrder(effect);
    }
  }

  #persist(effect: Persist): void {
    if (effect.records.length === 0) return;
    this.#options.disk.append(effect.records);
    this.#awaitQuiet();
    if (!effect.durable) {
      this.#syncLater();
      return;
    }
    this.#unsynced = true;
    this.#streamOf(effect.stream).lastTicket = ++this.#ticket;
  }

  /** Records that nobody waits for share a sync among many: a disk's sync costs more than most of what calls for it. */
  #syncLater(): void {
    if (this.#syncAsked) return;
    this.#syncAsked = true;
    this.#options.clock.callAt(this.#options.clock.now().monoMs + LAZY_SYNC_MS, () => {
      this.#syncAsked = false;
      if (!this.#stopped && !this.#diskBroken) this.#sync();
    });
  }

  #inOrder(effect: Effect): void {
    const name = (effect as Streamed).stream;
    const stream = name === undefined ? undefined : this.#streams.get(name);
    if (stream === undefined || stream.lastTicket <= this.#durableTicket) {
      this.#perform(effect);
      return;
    }
    const last = stream.waiting.at(-1);
    if (last?.ticket === stream.lastTicket) last.effects.push(effect);
    else stream.waiting.push({ ticket: stream.lastTicket, effects: [effect] });
  }

  #streamOf(name: Stream): { lastTicket: number; waiting: Waiting<Effect>[] } {
    let stream = this.#streams.get(name);
    if (stream === undefined) {
      stream = { lastTicket: 0, waiting: [] };
      this.#streams.set(name, stream);
    }
    return stream;
  }

  #sync(): void {
    this.#unsynced = false;
    const upTo = this.#ticket;
    this.#overlap.syncAsked(this.#options.clock.now().monoMs);
    this.#options.disk.sync((error) => {
      if (this.#stopped) return;
      this.#overlap.syncAnswered(this.#options.clock.now().monoMs);
      if (error === undefined) this.#onSynced(upTo);
      else this.#onDiskError(error, upTo);
      this.#askToSettle();
    });
  }

  #onSynced(upTo: number): void {
    this.#durableTicket = Math.max(this.#durableTicket, upTo);
    if (this.#diskBroken) {
      this.#diskBroken = false;
      this.deliver({ kind: 'diskRecovered' });
      this.#options.onDisk?.(undefined);
    }
    for (const stream of this.#streams.values()) this.#release(stream.waiting);
    this.#drainRest();
  }

  /** Queued rather than delivered, so that what else is released with it goes first. */
  #perform(effect: Effect): void {
    if (isAwaitDisk(effect))
      this.#queue.push({ kind: 'diskReached', stream: effect.stream, sequence: effect.sequence });
    else this.#options.perform(effect);
  }

  #release(waiting: Waiting<Effect>[]): void {
    let released = 0;
    for (const { ticket, effects } of waiting) {
      if (ticket > this.#durableTicket) break;
      for (const effect of effects) this.#perform(effect);
      released++;
    }
    if (released > 0) waiting.splice(0, released);
  }

  /** Of the records up to ticket `upTo` none is certain. What waited for records that may be lost must not look done: answers become errors, the rest is dropped. */
  #onDiskError(error: DiskError, upTo: number): void {
    for (const stream of this.#streams.values()) {
      const lost = stream.waiting.filter((entry) => entry.ticket <= upTo);
      stream.waiting.splice(0, lost.length);
      for (const { effects } of lost)
        for (const effect of effects)
          if (isAnswer(effect)) this.#options.perform(unknownOutcome(effect, error) as Effect);
    }
    this.#durableTicket = Math.max(this.#durableTicket, upTo);
    if (!this.#diskBroken) {
      this.#diskBroken = true;
      this.deliver({ kind: 'diskFailed', reason: error.message });
      this.#options.onDisk?.(error.message);
    }
    this.#probeLater();
  }

  #probeLater(): void {
    if (this.#probeAsked) return;
    this.#probeAsked = true;
    this.#options.clock.callAt(this.#options.clock.now().monoMs + DISK_PROBE_MS, () => {
      this.#probeAsked = false;
      if (!this.#stopped && this.#diskBroken) this.#sync();
    });
  }

  /** One timer at a time; it looks whether the log has grown since it was set. */
  #awaitQuiet(): void {
    if (this.#quietAsked) return;
    this.#quietAsked = true;
    const { clock, disk } = this.#options;
    const { logBytes } = disk.size();
    clock.callAt(clock.now().monoMs + QUIET_MS, () => {
      this.#quietAsked = false;
      if (this.#stopped) return;
      if (disk.size().logBytes === logBytes) this.#considerCheckpoint(QUIET_FLOOR_BYTES);
      else this.#awaitQuiet();
    });
  }

  #considerCheckpoint(floorBytes = this.#options.checkpointFloorBytes ?? CHECKPOINT_FLOOR_BYTES): void {
    if (this.#checkpointing || this.#diskBroken) return;
    const { logBytes, checkpointBytes } = this.#options.disk.size();
    if (logBytes < Math.max(floorBytes, checkpointBytes * CHECKPOINT_SHARE)) return;
    // A log that grew by new contents alone would not be shorter as a checkpoint.
    const liveBytes = this.#options.machine.liveBytes ?? 0;
    if (logBytes + checkpointBytes < liveBytes * (1 + CHECKPOINT_SHARE)) return;
    this.#checkpointing = true;
    this.#options.disk.beginCheckpoint((error) => {
      if (error !== undefined) this.#endCheckpoint(error);
      else {
        const fromBytes = this.#options.disk.size().logBytes;
        this.#writeCheckpoint(this.#options.machine.checkpoint()[Symbol.iterator](), fromBytes, 0);
      }
    });
  }

  /** A few pieces at a time, giving way to events in between: the state may be large. */
  #writeCheckpoint(pieces: Iterator<Uint8Array>, fromBytes: number, writtenBytes: number): void {
    if (this.#stopped) return;
    const { disk, defer } = this.#options;
    const wantedBytes = (disk.size().logBytes - fromBytes) * CHECKPOINT_PACE - writtenBytes;
    const records: Uint8Array[] = [];
    let bytes = 0;
    try {
      do {
        const piece = pieces.next();
        if (piece.done === true) break;
        records.push(piece.value);
        bytes += piece.value.length;
      } while (bytes < Math.min(wantedBytes, CHECKPOINT_TURN_BYTES));
    } catch (error) {
      this.#break(error);
      return;
    }
    if (records.length === 0) {
      disk.commitCheckpoint((error) => this.#endCheckpoint(error));
      return;
    }
    disk.writeCheckpoint(records, (error) => {
      if (error !== undefined) this.#endCheckpoint(error);
      else defer(() => this.#writeCheckpoint(pieces, fromBytes, writtenBytes + bytes));
    });
  }

  #endCheckpoint(error: DiskError | undefined): void {
    if (this.#stopped) return;
    this.#checkpointing = false;
    if (error !== undefined) this.#onDiskError(error, 0);
    this.#askToSettle();
  }

  #break(error: unknown): void {
    if (this.#stopped) return;
    this.stop();
    this.#options.onBroken(error);
  }
}

function isPersist(effect: { readonly kind: string }): effect is Persist {
  return effect.kind === 'persist';
}

function isAwaitDisk(effect: { readonly kind: string }): effect is AwaitDisk {
  return effect.kind === 'awaitDisk';
}

function isAnswer(effect: { readonly kind: string }): effect is Answer {
  return effect.kind === 'answer';
}

function unknownOutcome(answer: Answer, error: DiskError): Answer {
  const what = error.full ? 'The disk is full' : 'The disk failed';
  const hint = error.full
    ? 'Free space in the data directory, read the entry to see whether the write took hold, then write again.'
    : 'Check the disk of the data directory (skein doctor), read the entry, then write again.';
  const body = errorBody(
    'INTERNAL',
    `${what}: the write is not safe on this node (${error.message}).`,
    hint,
    {
      retryable: true,
      details: { outcome: 'unknown' },
    },
  );
  return { ...answer, result: fail(body) };
}
