/**
 * One watch on etcd, over as many streams as it takes: each begins behind what the last one told, and what comes
 * twice is left out.
 *
 * A stream begins one revision early. etcd drops the deletions of the very revision that it compacts to (its issue
 * 18089), so a watch from there would miss them without a word; begun earlier it is told `compacted` instead.
 *
 * `progress` is asked for. Servers before 3.4.25 and 3.5.8 may answer before they sent changes that came earlier (its
 * issue 15220), so a revision counts as told only once a second answer has come a while later with no change between
 * them; where the next stream begins never depends on it.
 */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { KeyChange, KeyRange, WatchEvent } from '../../quorum/port.ts';
import { deletedEntry } from '../../quorum/register/register.ts';
import { type Connection, pause } from './connection.ts';
import { type WatchRequest, type WatchResponse, watchMethod } from './schema.ts';
import type { KeySpace } from './transaction.ts';

const CONNECT_MS = 2_000;
const RETRY_MS = 100;
/** Until nobody lets us watch: a user without rights, say. */
const REFUSED_RETRY_MS = 2_000;
/** Between the two answers that make a revision certain: several of the rounds in which etcd serves late watches. */
const CONFIRM_MS = 300;
const PROGRESS_MS = 10_000;

type Stream = ClientDuplexStream<WatchRequest, WatchResponse>;

/** What several watches of one store know together. */
export interface Sighting {
  /** Of the cluster that was watched first; another one took its place where it differs. */
  clusterId: number | undefined;
}

export class EtcdWatch {
  readonly #connection: Connection;
  readonly #keys: KeySpace;
  readonly #range: KeyRange;
  readonly #listener: (event: WatchEvent) => void;
  readonly #sighting: Sighting;
  readonly #ended = new AbortController();
  /** The next revision to tell; 0 until etcd said what is now. */
  #next: number;
  #progress = 0;
  #candidate: number | undefined;
  #sawChange = false;
  #timer: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS;

  constructor(
    connection: Connection,
    keys: KeySpace,
    range: KeyRange,
    fromRevision: number,
    listener: (event: WatchEvent) => void,
    sighting: Sighting,
  ) {
    this.#connection = connection;
    this.#keys = keys;
    this.#range = range;
    this.#next = fromRevision;
    this.#listener = listener;
    this.#sighting = sighting;
  }

  /** Never rejects; ends with `end`, with the connection, or after `compacted`. */
  async run(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted && !this.#connection.isClosed) {
      this.#retryMs = RETRY_MS;
      const stream = await this.#connection.stream(watchMethod, CONNECT_MS, signal);
      if (stream !== undefined) await this.#follow(stream);
      clearTimeout(this.#timer);
      await pause(this.#retryMs, signal);
    }
  }

  end(): void {
    this.#ended.abort();
    clearTimeout(this.#timer);
  }

  #follow(stream: Stream): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        stream.cancel();
        resolve();
      };
      stream.on('error', done);
      stream.on('end', done);
      stream.on('data', (response: WatchResponse) => {
        if (this.#ended.signal.aborted || !this.#take(stream, response)) done();
      });
      stream.write({
        createRequest: {
          key: this.#keys.from(this.#range),
          rangeEnd: this.#keys.to(this.#range),
          startRevision: this.#next === 0 ? 0 : Math.max(1, this.#next - 1),
          progressNotify: true,
        },
      });
    });
  }

  /** False where this stream is done for. */
  #take(stream: Stream, response: WatchResponse): boolean {
    if (response.compactRevision > 0) {
      // Begun one revision early: the next that can be watched whole is one later than etcd says.
      this.#compacted(Math.max(response.compactRevision + 1, this.#next));
      return false;
    }
    if (response.canceled) {
      this.#retryMs = REFUSED_RETRY_MS;
      return false;
    }
    if (response.created) return this.#created(stream, response);
    if (response.events.length === 0) this.#mayHaveTold(stream, response.header.revision);
    else this.#tell(response);
    return true;
  }

  #created(stream: Stream, { header }: WatchResponse): boolean {
    this.#sighting.clusterId ??= header.clusterId;
    if (this.#sighting.clusterId !== header.clusterId) {
      this.#sighting.clusterId = header.clusterId;
      this.#compacted(header.revision + 1);
      return false;
    }
    if (this.#next === 0) this.#next = header.revision + 1;
    this.#candidate = undefined;
    if (this.#next > header.revision) {
      this.#toldUpTo(header.revision);
      this.#askLater(stream, PROGRESS_MS);
    } else {
      this.#askLater(stream, 0);
    }
    return true;
  }

  #tell(response: WatchResponse): void {
    this.#sawChange = true;
    let changes: KeyChange[] = [];
    for (const [at, { type, kv }] of response.events.entries()) {
      if (kv.modRevision < this.#next) continue;
      const entry = this.#keys.entry(kv);
      changes.push(
        type === 1
          ? { kind: 'deleted', entry: deletedEntry(entry.key, kv.modRevision) }
          : { kind: 'put', entry },
      );
      if (response.events[at + 1]?.kv.modRevision === kv.modRevision) continue;
      this.#next = kv.modRevision + 1;
      this.#listener({ kind: 'changed', revision: kv.modRevision, changes });
      if (this.#ended.signal.aborted) return;
      changes = [];
    }
  }

  #mayHaveTold(stream: Stream, revision: number): void {
    const told = this.#next - 1;
    const candidate = this.#candidate;
    if (candidate !== undefined && (told >= candidate || !this.#sawChange)) {
      this.#candidate = undefined;
      this.#toldUpTo(Math.max(told, candidate));
      this.#askLater(stream, PROGRESS_MS);
      return;
    }
    this.#candidate = revision;
    this.#sawChange = false;
    this.#askLater(stream, CONFIRM_MS);
  }

  /** Asks again and again until it is answered: servers stay silent while a watch catches up. */
  #askLater(stream: Stream, ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#ended.signal.aborted || stream.destroyed) return;
      stream.write({ progressRequest: {} });
      this.#askLater(stream, 2 * CONFIRM_MS);
    }, ms);
  }

  #toldUpTo(revision: number): void {
    if (revision < this.#progress || this.#ended.signal.aborted) return;
    this.#progress = revision;
    this.#listener({ kind: 'progress', revision });
  }

  #compacted(compactRevision: number): void {
    this.end();
    this.#listener({ kind: 'compacted', compactRevision });
  }
}
