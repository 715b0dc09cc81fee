/**
 * A leader's snapshot on its way onto this disk: each piece as it comes, confirmed behind the disk, so that never more of
 * a store waits for the disk than a few pieces. The last record makes all of them count; what was taken replaces
 * the copy once that is on disk.
 */
import type { StoreFrame } from '../frames.ts';
import type { LogIndex, ServerId } from '../raft/types.ts';
import { type Arrived, SnapshotReceiver } from './snapshot-transfer.ts';
import type { Incoming, StorageWriter } from './storage.ts';

type SnapshotFrame = Extract<StoreFrame, { kind: 'snapshot' }>;

/** What is to be done with a piece, in this order. */
interface Orders {
  /** For the disk; nothing of a snapshot older than what is applied here, which would take state back: it is confirmed and dropped. */
  readonly records: readonly Uint8Array[];
  /** The snapshot is whole: the moment when this is on disk is to be awaited, and told by `awaited`. */
  readonly whole: Whole | undefined;
  readonly answer: StoreFrame;
  readonly afterDisk: boolean;
}

interface Whole {
  readonly arrived: Arrived;
  readonly incoming: Incoming;
}

export class SnapshotIntake {
  readonly #writer: StorageWriter;
  readonly #receiver: SnapshotReceiver;
  /** Of the snapshot whose pieces come in: those that were given to the disk. */
  #incoming: Incoming | undefined;
  /** Whole snapshots that are on their way to the disk, by the number awaited. */
  readonly #arriving = new Map<number, Whole>();

  constructor(writer: StorageWriter, newestFormat: number) {
    this.#writer = writer;
    this.#receiver = new SnapshotReceiver(undefined, newestFormat);
  }

  take(from: ServerId, frame: SnapshotFrame, applied: LogIndex): Orders {
    const { answer, afterDisk, isNext, arrived } = this.#receiver.take(from, frame);
    const isKept = isNext && frame.point.index > applied;
    return {
      ...(isKept ? this.#keep(frame, arrived) : { records: [], whole: undefined }),
      answer,
      afterDisk,
    };
  }

  awaited(number: number, whole: Whole): void {
    this.#arriving.set(number, whole);
  }

  /** The snapshot that is on disk now that `number` is, where it is one's. */
  reached(number: number): Arrived | undefined {
    const whole = this.#arriving.get(number);
    this.#arriving.delete(number);
    return whole?.arrived;
  }

  /** What a checkpoint holds of it: the newest of those that are whole, and the one whose pieces come in. */
  captured(): readonly Incoming[] {
    const whole = [...this.#arriving.values()]
      .map(({ incoming }) => incoming)
      .reduce<Incoming | undefined>(
        (newest, incoming) => ((newest?.point.index ?? 0) > incoming.point.index ? newest : incoming),
        undefined,
      );
    return [whole, this.#incoming].filter((incoming) => incoming !== undefined);
  }

  /** What waits for the disk may never be there: it is to be sent again. */
  forget(): void {
    this.#incoming = undefined;
    this.#arriving.clear();
    this.#receiver.forget();
  }

  #keep(frame: SnapshotFrame, arrived: Arrived | undefined): Pick<Orders, 'records' | 'whole'> {
    const before = frame.piece === 0 ? undefined : this.#incoming;
    const { incoming, record } = this.#writer.part(before, frame.point, frame.bytes);
    this.#incoming = incoming;
    if (arrived === undefined) return { records: [record], whole: undefined };
    const whole = this.#writer.whole(incoming);
    this.#incoming = undefined;
    return { records: [record, whole.record], whole: { arrived, incoming: whole.incoming } };
  }
}
