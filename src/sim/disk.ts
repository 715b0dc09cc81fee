/**
 * A disk in memory with the behaviour of the journal: appends queue, syncs share, checkpoints replace. What makes it a
 * simulation is what can happen to it: the process dies and takes what was not synced, or leaves it torn; the disk is
 * slow, full, failing, lost, or put back to an older image.
 */
import { limits } from '../kernel/limits.ts';
import { type Disk, DiskError, type Done, type JournalContents } from '../kernel/ports.ts';
import type { Rng } from '../kernel/rng.ts';
import type { SimulatedProcess } from './process.ts';
import type { Scheduler } from './scheduler.ts';

/** Records in one file, with the size that the journal's format would give them. */
interface Pile {
  readonly number: number;
  readonly records: Uint8Array[];
  bytes: number;
}

interface ImageState {
  checkpoint: Pile | undefined;
  segments: Pile[];
  tornBytes: number;
  quarantined: string[];
}

const HEADER_BYTES = 8;
const FOOTER_BYTES = 12;

function pile(number: number, records: readonly Uint8Array[] = []): Pile {
  return { number, records: [...records], bytes: framedBytes(records) };
}

function emptyState(): ImageState {
  return { checkpoint: undefined, segments: [], tornBytes: 0, quarantined: [] };
}

function copyOf(state: ImageState): ImageState {
  const { checkpoint, segments, tornBytes, quarantined } = state;
  const copied = checkpoint === undefined ? undefined : pile(checkpoint.number, checkpoint.records);
  return {
    checkpoint: copied,
    segments: segments.map(({ number, records }) => pile(number, records)),
    tornBytes,
    quarantined: [...quarantined],
  };
}

/** What is on the platter: outlives processes. */
export class DiskImage {
  state: ImageState = emptyState();

  /** Everything is gone, as with a new disk. */
  lose(): void {
    this.state = emptyState();
  }

  /** The image as it is now, to be put back later with `restore`. */
  snapshot(): unknown {
    return copyOf(this.state);
  }

  restore(snapshot: unknown): void {
    this.state = copyOf(snapshot as ImageState);
  }

  /** Appends to the last segment. */
  write(records: readonly Uint8Array[]): void {
    if (this.state.segments.length === 0) this.state.segments.push(pile(1));
    const last = this.state.segments.at(-1) as Pile;
    for (const record of records) last.records.push(record);
    last.bytes += framedBytes(records);
  }

  /** Cuts so many bytes off the end of the log. */
  tear(bytes: number): void {
    const last = this.state.segments.at(-1);
    let left = bytes;
    while (last !== undefined && left > 0 && last.records.length > 0) {
      const size = HEADER_BYTES + (last.records.pop() as Uint8Array).length;
      last.bytes -= size;
      this.state.tornBytes = Math.max(0, size - left);
      left -= size;
    }
  }

  /** Spoils one record of the log, not the last: the next load sets its file aside and returns the others. */
  spoil(rng: Rng): void {
    const candidates = this.state.segments.filter(({ records }) => records.length > 1);
    if (candidates.length === 0) return;
    const spoilt = rng.pick(candidates);
    const [record] = spoilt.records.splice(rng.below(spoilt.records.length - 1), 1);
    spoilt.bytes -= HEADER_BYTES + (record?.length ?? 0);
    this.state.quarantined.push(`journal-${spoilt.number}.log.corrupt`);
  }
}

/** How the disk behaves from now on; shared by all processes of a machine. */
export interface DiskConditions {
  minSyncMs: number;
  maxSyncMs: number;
  /** Every write fails so. */
  failing: 'full' | 'broken' | undefined;
}

interface Group {
  readonly records: Uint8Array[];
  opens: Done | undefined;
}

interface Waiter {
  readonly done: Done;
  readonly error: DiskError | undefined;
}

interface Checkpoint {
  readonly number: number;
  readonly records: Uint8Array[];
}

interface SimulatedDiskOptions {
  readonly scheduler: Scheduler;
  readonly process: SimulatedProcess;
  readonly rng: Rng;
  readonly image: DiskImage;
  readonly conditions: DiskConditions;
}

export class SimulatedDisk implements Disk {
  readonly #options: SimulatedDiskOptions;
  #groups: Group[] = [{ records: [], opens: undefined }];
  #queuedBytes = 0;
  #waiters: Waiter[] = [];
  #overflow: DiskError | undefined;
  #inFlight: Group[] | undefined;
  #failed = false;
  #checkpoint: Checkpoint | 'beginning' | undefined;
  #closed = false;

  constructor(options: SimulatedDiskOptions) {
    this.#options = options;
  }

  load(): Promise<JournalContents> {
    return Promise.resolve(this.loadNow());
  }

  /** As `load`, within the call: virtual time does not pass. */
  loadNow(): JournalContents {
    const { state } = this.#options.image;
    const { checkpoint, segments, tornBytes, quarantined } = state;
    const records = [...(checkpoint?.records ?? []), ...segments.flatMap((segment) => segment.records)];
    if (segments.length === 0) segments.push(pile((checkpoint?.number ?? 0) + 1));
    state.tornBytes = 0;
    state.quarantined = [];
    return { records, tornBytes, quarantined };
  }

  append(records: readonly Uint8Array[]): void {
    for (const record of records) {
      this.#overflow ??= this.#refusal(record);
      if (this.#overflow !== undefined) return;
      (this.#groups.at(-1) as Group).records.push(record);
      this.#queuedBytes += HEADER_BYTES + record.length;
    }
  }

  sync(done: Done): void {
    this.#waiters.push({ done, error: this.#overflow });
    this.#overflow = undefined;
    this.#wake();
  }

  beginCheckpoint(done: Done): void {
    if (this.#checkpoint !== undefined) {
      this.#answer(done, new DiskError('a checkpoint is already being written', false));
      return;
    }
    this.#checkpoint = 'beginning';
    this.#groups.push({ records: [], opens: done });
    this.#wake();
  }

  writeCheckpoint(records: readonly Uint8Array[], done: Done): void {
    this.#duringCheckpoint(done, (checkpoint) => {
      for (const record of records) checkpoint.records.push(record);
    });
  }

  commitCheckpoint(done: Done): void {
    this.#duringCheckpoint(done, (checkpoint) => {
      const { state } = this.#options.image;
      state.segments = state.segments.filter(({ number }) => number >= checkpoint.number);
      state.checkpoint = pile(checkpoint.number, checkpoint.records);
      this.#checkpoint = undefined;
    });
  }

  size(): { readonly logBytes: number; readonly checkpointBytes: number } {
    const { checkpoint, segments } = this.#options.image.state;
    const logBytes = segments.reduce((sum, { bytes }) => sum + bytes, 0);
    return { logBytes, checkpointBytes: checkpoint === undefined ? 0 : checkpoint.bytes + FOOTER_BYTES };
  }

  close(): Promise<void> {
    this.#closed = true;
    if (this.#options.conditions.failing === undefined) {
      for (const group of [...(this.#inFlight ?? []), ...this.#groups])
        this.#options.image.write(group.records);
    }
    this.#groups = [];
    this.#inFlight = undefined;
    return Promise.resolve();
  }

  /**
   * The process died at this moment: of what was being written, some first part has reached the disk, perhaps with a
   * record cut in half behind it; what was only queued is gone.
   */
  crash(): void {
    const { rng, image, conditions } = this.#options;
    this.#closed = true;
    const writing = (this.#inFlight ?? []).flatMap((group) => group.records);
    if (writing.length === 0 || conditions.failing !== undefined) return;
    const reached = rng.below(writing.length + 1);
    image.write(writing.slice(0, reached));
    const cut = writing[reached];
    if (cut !== undefined && rng.chance(0.5))
      image.state.tornBytes = 1 + rng.below(HEADER_BYTES + cut.length - 1);
  }

  #refusal(record: Uint8Array): DiskError | undefined {
    if (this.#closed) return new DiskError('the journal is closed', false);
    if (record.length === 0 || record.length > limits.journalRecordBytes)
      return new DiskError('a record of this length cannot be kept', false);
    if (this.#queuedBytes + HEADER_BYTES + record.length > limits.journalBufferBytes)
      return new DiskError('too many bytes wait for the disk', false);
    return undefined;
  }

  #wake(): void {
    if (this.#inFlight !== undefined || this.#closed) return;
    this.#inFlight = [];
    this.#soon(() => this.#begin());
  }

  #begin(): void {
    const groups = this.#groups;
    const waiters = this.#waiters;
    this.#groups = [{ records: [], opens: undefined }];
    this.#waiters = [];
    this.#inFlight = groups;
    const idle = !this.#failed && groups.every((group) => group.records.length === 0 && !group.opens);
    const finish = () => this.#finish(groups, waiters);
    if (idle) finish();
    else this.#later(finish);
  }

  #finish(groups: readonly Group[], waiters: readonly Waiter[]): void {
    const error = this.#failure();
    this.#failed = error !== undefined;
    if (error === undefined) for (const group of groups) this.#complete(group);
    else this.#requeue(groups, error);
    for (const waiter of waiters) this.#answer(waiter.done, waiter.error ?? error);
    this.#inFlight = undefined;
    if (this.#waiters.length > 0 || this.#groups.some((group) => group.opens !== undefined)) this.#wake();
  }

  #complete(group: Group): void {
    if (group.opens !== undefined) {
      const { segments } = this.#options.image.state;
      const number = (segments.at(-1)?.number ?? 0) + 1;
      segments.push(pile(number));
      this.#checkpoint = { number, records: [] };
      this.#answer(group.opens, undefined);
    }
    this.#options.image.write(group.records);
    this.#queuedBytes -= framedBytes(group.records);
  }

  #requeue(groups: readonly Group[], error: DiskError): void {
    for (const { opens } of groups) {
      if (opens === undefined) continue;
      this.#checkpoint = undefined;
      this.#answer(opens, error);
    }
    this.#groups.unshift({ records: groups.flatMap(({ records }) => records), opens: undefined });
  }

  #duringCheckpoint(done: Done, work: (checkpoint: Checkpoint) => void): void {
    const checkpoint = this.#checkpoint;
    if (checkpoint === undefined || checkpoint === 'beginning') {
      this.#answer(done, new DiskError('no checkpoint is being written', false));
      return;
    }
    this.#later(() => {
      const error = this.#failure();
      if (error === undefined) work(checkpoint);
      else this.#checkpoint = undefined;
      this.#answer(done, error);
    });
  }

  #failure(): DiskError | undefined {
    const { failing } = this.#options.conditions;
    if (failing === undefined) return undefined;
    return failing === 'full'
      ? new DiskError('no space left on the device', true)
      : new DiskError('input/output error', false);
  }

  #later(callback: () => void): void {
    const { rng, conditions } = this.#options;
    const spanMs = conditions.maxSyncMs - conditions.minSyncMs;
    this.#after(conditions.minSyncMs + rng.float() * spanMs, callback);
  }

  #soon(callback: () => void): void {
    this.#after(0, callback);
  }

  #after(delayMs: number, callback: () => void): void {
    const { scheduler, process } = this.#options;
    scheduler.after(delayMs, () =>
      process.enter(() => {
        if (!this.#closed) callback();
      }),
    );
  }

  #answer(done: Done, error: DiskError | undefined): void {
    const { scheduler, process } = this.#options;
    scheduler.after(0, () => process.enter(() => done(error)));
  }
}

function framedBytes(records: readonly Uint8Array[]): number {
  return records.reduce((sum, record) => sum + HEADER_BYTES + record.length, 0);
}
