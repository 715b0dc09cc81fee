/**
 * Opening a journal: what a crash left is finished or cut, what is corrupt is kept aside, and all that can be read
 * is returned.
 *
 * Names in the directory: `checkpoint-<n>` holds everything from before segment n; `journal-<n>.log` are the segments,
 * numbered without gaps; `checkpoint-<n>.tmp` is half-made and worthless; `….salvage` is the readable part of a corrupt file on
 * its way to replace it; `….corrupt-<time>` is kept for a person and never read.
 */
import { join } from 'node:path';
import type { JournalContents } from '../../kernel/ports.ts';
import { crashPoint } from './crash-points.ts';
import type { Files } from './files.ts';
import { type FileContents, footer, frame, readCheckpoint, readSegment } from './segment.ts';

const SEGMENT = /^journal-(\d{1,15})\.log$/;
const CHECKPOINT = /^checkpoint-(\d{1,15})$/;
const SALVAGE = /^((?:journal-\d{1,15}\.log)|(?:checkpoint-\d{1,15}))\.salvage$/;
const HALF_MADE = /^(?:checkpoint-\d{1,15}|probe)\.tmp$/;

export function segmentName(number: number): string {
  return `journal-${number}.log`;
}

export function checkpointName(number: number): string {
  return `checkpoint-${number}`;
}

export interface Loaded {
  readonly contents: JournalContents;
  /** Bytes of each segment and checkpoint that remain, by number. */
  readonly segments: Map<number, number>;
  readonly checkpoints: Map<number, number>;
  /** The last segment, open and safe to append to; absent where there is none. */
  readonly current: { readonly number: number; readonly file: number } | undefined;
}

/** Rejects with a `DiskError` where the directory or a file in it cannot be opened at all. */
export async function loadJournal(files: Files, directory: string, wallMs: () => number): Promise<Loaded> {
  const load = new Load(files, directory, wallMs);
  await load.tidy();
  await load.readCheckpoints();
  await load.readSegments();
  return load.finish();
}

class Load {
  readonly #files: Files;
  readonly #directory: string;
  readonly #wallMs: () => number;
  readonly #segments = new Map<number, number>();
  readonly #checkpoints = new Map<number, number>();
  readonly #parts: Uint8Array[][] = [];
  readonly #quarantined: string[] = [];
  #names: readonly string[] = [];
  #tornBytes = 0;
  #current: { number: number; file: number } | undefined;

  constructor(files: Files, directory: string, wallMs: () => number) {
    this.#files = files;
    this.#directory = directory;
    this.#wallMs = wallMs;
  }

  /** Removes half-made files and finishes replacements that a crash interrupted. */
  async tidy(): Promise<void> {
    const names = await this.#files.list(this.#directory);
    for (const name of names) {
      const replaced = SALVAGE.exec(name)?.[1];
      if (replaced !== undefined && !names.includes(replaced)) {
        await this.#files.rename(this.#path(name), this.#path(replaced));
        const aside = names.filter((other) => other.startsWith(`${replaced}.corrupt-`)).sort();
        this.#quarantined.push(...aside.slice(-1));
      } else if (replaced !== undefined || HALF_MADE.test(name)) await this.#files.remove(this.#path(name));
    }
    await this.#files.syncDirectory(this.#directory);
    this.#names = await this.#files.list(this.#directory);
  }

  /** A whole newest checkpoint makes everything before it superfluous; a corrupt one is read along with what is older. */
  async readCheckpoints(): Promise<void> {
    const numbers = this.#numbered(CHECKPOINT).reverse();
    for (const number of numbers) {
      const name = checkpointName(number);
      const contents = await this.#read(name, readCheckpoint);
      this.#parts.unshift(contents.records);
      this.#checkpoints.set(number, contents.bytes);
      if (contents.damage === 'none') return this.#removeBefore(number, numbers);
      this.#checkpoints.set(number, (await this.#setAside(name, contents, true)) ?? contents.bytes);
    }
  }

  async readSegments(): Promise<void> {
    const oldest = Math.max(0, ...this.#checkpoints.keys());
    const numbers = this.#numbered(SEGMENT).filter((number) => this.#isWanted(number));
    const last = numbers.at(-1);
    let expected = this.#quarantined.length > 0 ? (numbers[0] ?? 1) : Math.max(1, oldest);
    for (const number of numbers) {
      for (; expected < number; expected++) this.#quarantined.push(`${segmentName(expected)} (missing)`);
      expected = number + 1;
      await this.#readSegment(number, number === last);
    }
  }

  finish(): Loaded {
    const contents = {
      records: this.#parts.length === 1 ? (this.#parts[0] ?? []) : this.#parts.flat(),
      tornBytes: this.#tornBytes,
      quarantined: this.#quarantined,
    };
    return {
      contents,
      segments: this.#segments,
      checkpoints: this.#checkpoints,
      current: this.#current,
    };
  }

  async #readSegment(number: number, isLast: boolean): Promise<void> {
    const name = segmentName(number);
    const contents = await this.#read(name, readSegment);
    this.#parts.push(contents.records);
    this.#segments.set(number, contents.bytes);
    if (contents.damage === 'corrupt' || (contents.damage === 'torn' && !isLast)) {
      const salvagedBytes = await this.#setAside(name, contents, false);
      if (salvagedBytes === undefined) return;
      this.#segments.set(number, salvagedBytes);
    }
    if (isLast) await this.#openForAppend(number, contents);
  }

  /** What is in the file may be in the system's cache only; it is forced to disk before anyone relies on it. */
  async #openForAppend(number: number, contents: FileContents): Promise<void> {
    const file = await this.#files.openExisting(this.#path(segmentName(number)));
    try {
      if (contents.damage === 'torn') {
        crashPoint('load.before-cut');
        await this.#files.truncate(file, contents.goodBytes);
        this.#tornBytes += contents.bytes - contents.goodBytes;
        this.#segments.set(number, contents.goodBytes);
      }
      await this.#files.sync(file);
      crashPoint('load.after-cut');
      this.#current = { number, file };
    } catch {
      await this.#files.close(file).catch(() => undefined);
    }
  }

  async #read(
    name: string,
    reader: (files: Files, file: number) => Promise<FileContents>,
  ): Promise<FileContents> {
    const file = await this.#files.openExisting(this.#path(name));
    try {
      return await reader(this.#files, file);
    } finally {
      await this.#files.close(file).catch(() => undefined);
    }
  }

  /**
   * Keeps a corrupt file under a new name and puts its readable records in its place, so that a second start finds
   * them as the first did. Where the disk has no room for that, the corrupt file stays where it is and is
   * read again by the next start. Returns the size of the replacement; `undefined` where there is none.
   */
  async #setAside(name: string, contents: FileContents, withFooter: boolean): Promise<number | undefined> {
    const salvage = `${name}.salvage`;
    let moved = false;
    try {
      const bytes = await this.#writeSalvage(salvage, contents.records, withFooter);
      crashPoint('load.after-salvage');
      const aside = this.#asideName(name);
      await this.#files.rename(this.#path(name), this.#path(aside));
      moved = true;
      crashPoint('load.after-aside');
      await this.#files.rename(this.#path(salvage), this.#path(name));
      await this.#files.syncDirectory(this.#directory);
      crashPoint('load.after-replace');
      this.#quarantined.push(aside);
      return bytes;
    } catch {
      if (!moved) await this.#files.remove(this.#path(salvage)).catch(() => undefined);
      this.#quarantined.push(name);
      return undefined;
    }
  }

  async #writeSalvage(name: string, records: readonly Uint8Array[], withFooter: boolean): Promise<number> {
    const file = await this.#files.create(this.#path(name));
    try {
      let bytes = 0;
      const pieces = withFooter ? [...frame(records), footer(records.length)] : frame(records);
      for (const piece of pieces) {
        await this.#files.write(file, piece, bytes);
        bytes += piece.length;
      }
      await this.#files.sync(file);
      return bytes;
    } finally {
      await this.#files.close(file).catch(() => undefined);
    }
  }

  #asideName(name: string): string {
    const time = new Date(this.#wallMs()).toISOString().replace(/[-:]|\.\d+/g, '');
    let aside = `${name}.corrupt-${time}`;
    for (let copy = 2; this.#names.includes(aside); copy++) aside = `${name}.corrupt-${time}-${copy}`;
    return aside;
  }

  async #removeBefore(number: number, checkpoints: readonly number[]): Promise<void> {
    for (const older of checkpoints.filter((other) => other < number))
      await this.#files.remove(this.#path(checkpointName(older)));
    for (const older of this.#numbered(SEGMENT).filter((other) => other < number))
      await this.#files.remove(this.#path(segmentName(older)));
    this.#names = await this.#files.list(this.#directory);
  }

  #isWanted(segment: number): boolean {
    return this.#quarantined.length > 0 || segment >= Math.max(0, ...this.#checkpoints.keys());
  }

  #numbered(pattern: RegExp): number[] {
    return this.#names
      .map((name) => Number(pattern.exec(name)?.[1] ?? Number.NaN))
      .filter((number) => !Number.isNaN(number))
      .sort((left, right) => left - right);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}
