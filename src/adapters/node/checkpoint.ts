/** A checkpoint on its way: written under a temporary name in order, then put in place at once. */
import { limits } from '../../kernel/limits.ts';
import { DiskError } from '../../kernel/ports.ts';
import { crashesNext, crashPoint } from './crash-points.ts';
import type { Files } from './files.ts';
import { footer, frame, Pieces } from './segment.ts';

/** Forced to disk this often, so that the last sync is short and the journal's own syncs do not queue behind it. */
const SYNC_EVERY_BYTES = 8 * 1024 * 1024;

export class CheckpointFile {
  readonly #files: Files;
  readonly #path: string;
  readonly #file: number;
  #bytes = 0;
  #syncedBytes = 0;
  #records = 0;
  readonly #pieces = new Pieces();
  /** Every operation waits for the one before; after a failure all that follow fail too. */
  #last: Promise<void> = Promise.resolve();

  private constructor(files: Files, path: string, file: number) {
    this.#files = files;
    this.#path = path;
    this.#file = file;
  }

  static async create(files: Files, path: string): Promise<CheckpointFile> {
    return new CheckpointFile(files, path, await files.create(`${path}.tmp`));
  }

  write(records: readonly Uint8Array[]): Promise<void> {
    return this.#next(() => this.#write(records));
  }

  /** Completes the file and puts it in place; returns its size. */
  async commit(directory: string): Promise<number> {
    await this.#next(() => this.#putInPlace(directory));
    return this.#bytes;
  }

  async abandon(): Promise<void> {
    await this.#next(() => Promise.reject(new DiskError('the checkpoint was given up', false))).catch(
      () => undefined,
    );
  }

  async #write(records: readonly Uint8Array[]): Promise<void> {
    const misfit = records.find((record) => record.length === 0 || record.length > limits.journalRecordBytes);
    if (misfit !== undefined)
      throw new DiskError(`a checkpoint record of ${misfit.length} bytes cannot be kept`, false);
    if (this.#records + records.length > limits.checkpointRecords)
      throw new DiskError('the checkpoint has too many records', false);
    for (const piece of frame(records, this.#pieces.take)) {
      if (crashesNext('checkpoint.mid-write'))
        await this.#files.write(this.#file, piece.subarray(0, piece.length >> 1), this.#bytes);
      crashPoint('checkpoint.mid-write');
      await this.#files.write(this.#file, piece, this.#bytes);
      this.#bytes += piece.length;
      if (this.#bytes - this.#syncedBytes >= SYNC_EVERY_BYTES) await this.#sync();
    }
    this.#records += records.length;
    crashPoint('checkpoint.after-write');
  }

  async #putInPlace(directory: string): Promise<void> {
    const end = footer(this.#records);
    await this.#files.write(this.#file, end, this.#bytes);
    this.#bytes += end.length;
    crashPoint('checkpoint.before-sync');
    await this.#sync();
    crashPoint('checkpoint.after-sync');
    await this.#files.rename(`${this.#path}.tmp`, this.#path);
    crashPoint('checkpoint.after-rename');
    await this.#files.syncDirectory(directory);
    crashPoint('checkpoint.after-directory-sync');
    await this.#files.close(this.#file).catch(() => undefined);
  }

  async #sync(): Promise<void> {
    await this.#files.sync(this.#file);
    this.#syncedBytes = this.#bytes;
  }

  #next(work: () => Promise<void>): Promise<void> {
    const settled = this.#last.then(work);
    this.#last = settled;
    settled.catch(() => this.#discard());
    return settled;
  }

  #discarded = false;

  async #discard(): Promise<void> {
    if (this.#discarded) return;
    this.#discarded = true;
    await this.#files.close(this.#file).catch(() => undefined);
    await this.#files.remove(`${this.#path}.tmp`).catch(() => undefined);
  }
}
