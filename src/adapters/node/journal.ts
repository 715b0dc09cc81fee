/**
 * The node's disk: an append-only journal with group commit, and checkpoints that let it be shortened.
 *
 * Intuition: forcing data to disk costs the same for one record as for thousands. So appends only queue, and one
 * worker writes all that has queued with one write and one sync, answers everybody who was waiting for it, and takes
 * what queued meanwhile. Nothing runs on the event loop but copying and checksumming. Where the system can, what fits
 * one write goes through a second descriptor of the segment that forces each write to disk: one trip to another thread
 * and back instead of two. What counts as durable, and what a failure means, is the same on both ways.
 *
 * Failure: a write or sync that fails is an error for everyone who waited for it. What such a file holds is not known
 * any more (after a failed fsync the system may drop the data and report success next time), so the segment is cut
 * back to what is durable and never written again. The unwritten records stay queued in their order; the
 * next sync first proves the disk with a probe write, then starts a fresh segment with them. The journal on disk is
 * therefore always a prefix of what was appended, unless the bounded queue overflowed: then the sync after the
 * overflow fails, and the caller restores the missing records by writing a checkpoint once the disk has recovered.
 *
 * Space: at most the log, the newest checkpoint, and the one being written exist at once. A caller that begins a
 * checkpoint when `logBytes` passes `checkpointBytes` (and some minimum) keeps the sum below three times the live
 * state plus what is appended while a checkpoint is written.
 */
import { join } from 'node:path';
import { limits } from '../../kernel/limits.ts';
import { type Disk, DiskError, type Done, type JournalContents } from '../../kernel/ports.ts';
import { CheckpointFile } from './checkpoint.ts';
import { crashesNext, crashPoint } from './crash-points.ts';
import { diskError, type Files, nodeFiles } from './files.ts';
import { checkpointName, loadJournal, segmentName } from './journal-load.ts';
import { frame, framedBytes, Pieces, WRITE_BYTES } from './segment.ts';

interface JournalOptions {
  /** An existing directory that this process alone uses (see `data-directory.ts`). */
  readonly directory: string;
  readonly files?: Files;
  /** Names what is kept aside. */
  readonly wallMs?: () => number;
}

/** Records that are written together; `opens` is set on the first group of a new segment. */
interface Group {
  readonly records: Uint8Array[];
  bytes: number;
  opens: Done | undefined;
}

interface Waiter {
  readonly done: Done;
  readonly error: DiskError | undefined;
}

interface Segment {
  readonly number: number;
  readonly file: number;
  /** The same file: what is written there is on the disk once the write is done. */
  readonly through: number | undefined;
  durableBytes: number;
}

/** Queued bytes above which records are written although nobody waits for them yet. */
const EAGER_BYTES = 1024 * 1024;
const PROBE_BYTES = 4096;

export class Journal implements Disk {
  readonly #directory: string;
  readonly #files: Files;
  readonly #wallMs: () => number;
  #state: 'new' | 'open' | 'closed' = 'new';
  #segments = new Map<number, number>();
  #checkpoints = new Map<number, number>();
  #segment: Segment | undefined;
  #lastNumber = 0;
  readonly #pieces = new Pieces();
  /** Whether the last attempt to write failed; decides that a sync probes even where nothing is queued. */
  #failed = false;
  #groups: Group[] = [emptyGroup()];
  #queuedBytes = 0;
  #overflow: DiskError | undefined;
  #waiters: Waiter[] = [];
  #running: Promise<void> | undefined;
  #checkpoint: { readonly number: number; readonly file: CheckpointFile } | 'beginning' | undefined;

  constructor(options: JournalOptions) {
    this.#directory = options.directory;
    this.#files = options.files ?? nodeFiles;
    this.#wallMs = options.wallMs ?? Date.now;
  }

  async load(): Promise<JournalContents> {
    if (this.#state !== 'new') throw new Error('journal: load is called once, first');
    const loaded = await loadJournal(this.#files, this.#directory, this.#wallMs);
    this.#segments = loaded.segments;
    this.#checkpoints = loaded.checkpoints;
    this.#lastNumber = Math.max(0, ...loaded.segments.keys(), ...[...loaded.checkpoints.keys()].map(before));
    const { current } = loaded;
    if (current !== undefined) {
      const through = await this.#openThrough(current.number);
      this.#segment = { ...current, through, durableBytes: loaded.segments.get(current.number) ?? 0 };
    } else await this.#startSegment().catch(() => this.#fail());
    this.#state = 'open';
    return loaded.contents;
  }

  append(records: readonly Uint8Array[]): void {
    if (this.#state === 'new') throw new Error('journal: load comes before append');
    for (const record of records) {
      if (this.#overflow === undefined) this.#overflow = this.#refusal(record);
      if (this.#overflow !== undefined) return;
      const group = this.#groups.at(-1) as Group;
      group.records.push(record);
      group.bytes += framedBytes(record);
      this.#queuedBytes += framedBytes(record);
    }
    // What else is appended within this turn goes along.
    if (this.#queuedBytes > EAGER_BYTES && this.#running === undefined) queueMicrotask(() => this.#wake());
  }

  sync(done: Done): void {
    this.#waiters.push({ done, error: this.#overflow });
    this.#overflow = undefined;
    this.#wake();
  }

  beginCheckpoint(done: Done): void {
    if (this.#checkpoint !== undefined) {
      answer(done, misuse('a checkpoint is already being written'));
      return;
    }
    this.#checkpoint = 'beginning';
    this.#groups.push({ records: [], bytes: 0, opens: done });
    this.#wake();
  }

  writeCheckpoint(records: readonly Uint8Array[], done: Done): void {
    const file = this.#checkpointFile();
    if (file === undefined) answer(done, misuse('no checkpoint is being written'));
    else this.#follow(file.write(records), done);
  }

  commitCheckpoint(done: Done): void {
    const checkpoint = this.#checkpoint;
    if (checkpoint === undefined || checkpoint === 'beginning')
      answer(done, misuse('no checkpoint is being written'));
    else this.#follow(this.#commit(checkpoint.number, checkpoint.file), done);
  }

  size(): { readonly logBytes: number; readonly checkpointBytes: number } {
    let logBytes = 0;
    for (const bytes of this.#segments.values()) logBytes += bytes;
    let newest = 0;
    for (const number of this.#checkpoints.keys()) if (number > newest) newest = number;
    return { logBytes, checkpointBytes: this.#checkpoints.get(newest) ?? 0 };
  }

  /** Writes what is queued, as far as the disk lets it, and releases the files. */
  async close(): Promise<void> {
    if (this.#state === 'open') await new Promise<void>((resolve) => this.sync(() => resolve()));
    this.#state = 'closed';
    await this.#running;
    await this.#checkpointFile()?.abandon();
    this.#checkpoint = undefined;
    if (this.#segment !== undefined) await this.#closeSegment(this.#segment);
    this.#segment = undefined;
  }

  #refusal(record: Uint8Array): DiskError | undefined {
    if (this.#state === 'closed') return new DiskError('the journal is closed', false);
    if (record.length === 0 || record.length > limits.journalRecordBytes)
      return new DiskError(
        `a record of ${record.length} bytes cannot be kept: 1 to ${limits.journalRecordBytes}`,
        false,
      );
    if (this.#queuedBytes + framedBytes(record) > limits.journalBufferBytes)
      return new DiskError(`more than ${limits.journalBufferBytes} bytes wait for the disk`, false);
    return undefined;
  }

  /** Whoever asks for a sync has gathered what is to share it, so the disk begins at once. */
  #wake(): void {
    if (this.#running === undefined && this.#hasWork()) this.#running = this.#work();
  }

  async #work(): Promise<void> {
    while (this.#hasWork()) {
      const waiters = this.#waiters;
      const groups = this.#groups;
      this.#waiters = [];
      this.#groups = [emptyGroup()];
      const error = await this.#writeGroups(groups);
      for (const waiter of waiters) answer(waiter.done, waiter.error ?? error);
    }
    this.#running = undefined;
  }

  #hasWork(): boolean {
    if (this.#waiters.length > 0 || this.#groups.some((group) => group.opens !== undefined)) return true;
    return this.#queuedBytes > EAGER_BYTES && !this.#failed && this.#state === 'open';
  }

  async #writeGroups(groups: readonly Group[]): Promise<DiskError | undefined> {
    for (const [index, group] of groups.entries()) {
      try {
        if (this.#state === 'closed') throw new DiskError('the journal is closed', false);
        await this.#writeGroup(group);
      } catch (cause) {
        const error = diskError('the journal failed', cause);
        await this.#abandonSegment();
        this.#requeue(groups.slice(index), error);
        return error;
      }
    }
    return undefined;
  }

  async #writeGroup(group: Group): Promise<void> {
    if (this.#segment === undefined) await this.#recover();
    if (group.opens !== undefined) {
      await this.#beginSegment();
      answer(group.opens, undefined);
      group.opens = undefined;
    }
    if (group.bytes === 0) return;
    const segment = this.#segment as Segment;
    crashPoint('journal.before-write');
    const { through } = segment;
    // A crash between the write and the sync can only be staged where they are two.
    const isStaged = crashesNext('journal.mid-write') || crashesNext('journal.after-write');
    if (through !== undefined && group.bytes <= WRITE_BYTES && !isStaged)
      await this.#writeThrough(through, segment.durableBytes, group.records);
    else await this.#writeThenSync(segment, group.records);
    crashPoint('journal.after-sync');
    segment.durableBytes += group.bytes;
    this.#segments.set(segment.number, segment.durableBytes);
    this.#queuedBytes -= group.bytes;
  }

  async #writeThrough(through: number, start: number, records: readonly Uint8Array[]): Promise<void> {
    let end = start;
    for (const piece of frame(records, this.#pieces.take)) {
      await this.#files.writeThrough(through, piece, end);
      end += piece.length;
    }
    // Passed, so that the n-th passage is the n-th write on either way.
    crashPoint('journal.mid-write');
    crashPoint('journal.after-write');
  }

  async #writeThenSync({ file, durableBytes }: Segment, records: readonly Uint8Array[]): Promise<void> {
    let end = durableBytes;
    for (const piece of frame(records, this.#pieces.take)) {
      if (crashesNext('journal.mid-write'))
        await this.#files.write(file, piece.subarray(0, piece.length >> 1), end);
      crashPoint('journal.mid-write');
      await this.#files.write(file, piece, end);
      end += piece.length;
    }
    crashPoint('journal.after-write');
    await this.#files.sync(file);
  }

  /** Puts unwritten records back in front of what queued meanwhile; a checkpoint that could not begin is off. */
  #requeue(groups: readonly Group[], error: DiskError): void {
    const back = emptyGroup();
    for (const group of groups) {
      if (group.opens !== undefined) {
        this.#checkpoint = undefined;
        answer(group.opens, error);
      }
      for (const record of group.records) back.records.push(record);
      back.bytes += group.bytes;
    }
    this.#groups.unshift(back);
  }

  async #abandonSegment(): Promise<void> {
    const segment = this.#segment;
    this.#fail();
    if (segment === undefined) return;
    await this.#files.truncate(segment.file, segment.durableBytes).catch(() => undefined);
    await this.#files.sync(segment.file).catch(() => undefined);
    await this.#closeSegment(segment);
    crashPoint('failure.after-abandon');
  }

  async #closeSegment({ file, through }: Segment): Promise<void> {
    for (const descriptor of [file, through])
      if (descriptor !== undefined) await this.#files.close(descriptor).catch(() => undefined);
  }

  /** Where it cannot be had, the segment is written and synced: nothing but time is lost. */
  #openThrough(number: number): Promise<number | undefined> {
    return this.#files.openThrough(join(this.#directory, segmentName(number))).catch(() => undefined);
  }

  #fail(): void {
    this.#segment = undefined;
    this.#failed = true;
  }

  /** A new file alone proves little (a full disk lets an empty one be made), so data is forced to disk first. */
  async #recover(): Promise<void> {
    const path = join(this.#directory, 'probe.tmp');
    const file = await this.#files.create(path);
    try {
      await this.#files.write(file, new Uint8Array(PROBE_BYTES).fill(0x5a), 0);
      await this.#files.sync(file);
    } finally {
      await this.#files.close(file).catch(() => undefined);
      await this.#files.remove(path).catch(() => undefined);
    }
    crashPoint('failure.after-probe');
    await this.#startSegment();
    this.#failed = false;
  }

  async #startSegment(): Promise<void> {
    const number = this.#lastNumber + 1;
    const path = join(this.#directory, segmentName(number));
    crashPoint('segment.before-create');
    const file = await this.#files.create(path);
    crashPoint('segment.after-create');
    try {
      await this.#files.syncDirectory(this.#directory);
    } catch (cause) {
      await this.#files.close(file).catch(() => undefined);
      await this.#files.remove(path).catch(() => undefined);
      throw cause;
    }
    crashPoint('segment.after-directory-sync');
    const previous = this.#segment;
    const through = await this.#openThrough(number);
    this.#lastNumber = number;
    this.#segments.set(number, 0);
    this.#segment = { number, file, through, durableBytes: 0 };
    if (previous !== undefined) await this.#closeSegment(previous);
  }

  async #beginSegment(): Promise<void> {
    await this.#startSegment();
    crashPoint('checkpoint.before-create');
    const number = this.#lastNumber;
    const path = join(this.#directory, checkpointName(number));
    this.#checkpoint = { number, file: await CheckpointFile.create(this.#files, path) };
  }

  #checkpointFile(): CheckpointFile | undefined {
    return this.#checkpoint === 'beginning' ? undefined : this.#checkpoint?.file;
  }

  /** Answers when the work is done; a checkpoint that failed is off, and another may begin. */
  #follow(work: Promise<void>, done: Done): void {
    work.then(
      () => answer(done, undefined),
      (cause: unknown) => {
        this.#checkpoint = undefined;
        answer(done, diskError('the checkpoint failed', cause));
      },
    );
  }

  async #commit(number: number, file: CheckpointFile): Promise<void> {
    const bytes = await file.commit(this.#directory);
    this.#checkpoint = undefined;
    const older = [...this.#checkpoints.keys()];
    this.#checkpoints.set(number, bytes);
    for (const other of older) await this.#forget(this.#checkpoints, other, checkpointName(other));
    const segments = [...this.#segments.keys()].filter((other) => other < number);
    for (const other of segments) {
      await this.#forget(this.#segments, other, segmentName(other));
      crashPoint('checkpoint.after-first-removal');
    }
    crashPoint('checkpoint.after-removal');
  }

  /** A file that cannot be removed is harmless: the next start removes it. */
  async #forget(kept: Map<number, number>, number: number, name: string): Promise<void> {
    try {
      await this.#files.remove(join(this.#directory, name));
      kept.delete(number);
    } catch {
      // Still counted by size(), since it still takes room.
    }
  }
}

function emptyGroup(): Group {
  return { records: [], bytes: 0, opens: undefined };
}

/** A checkpoint stands before its segment: where only it is left, the numbering goes on from there. */
function before(checkpoint: number): number {
  return checkpoint - 1;
}

function misuse(what: string): DiskError {
  return new DiskError(what, false);
}

/** Never within the call that asked: a caller may rely on its own state being settled first. */
function answer(done: Done, error: DiskError | undefined): void {
  queueMicrotask(() => done(error));
}
