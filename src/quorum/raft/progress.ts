/**
 * What a leader knows of one follower, and how much it may send it.
 *
 * - *probe*: it is not known where the logs part; one message, then wait for its answer or the next heartbeat.
 * - *replicate*: the logs match up to `next - 1`, if what is on its way arrives; send ahead, up to a window.
 * - *snapshot*: the follower needs what the log no longer has; nothing but heartbeats until that has arrived.
 *
 * Bounds: `inFlightBytes` and `IN_FLIGHT` messages; nothing is kept of a message but its end and its size.
 */
import type { LogIndex, ServerId } from './types.ts';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

const IN_FLIGHT = 256;

interface InFlight {
  readonly last: LogIndex;
  readonly bytes: number;
}

export class Progress {
  readonly server: ServerId;
  state: ProgressState = 'probe';
  /** On the follower's disk, and the same as here. */
  match: LogIndex = 0;
  next: LogIndex;
  lastHeardMs: number;
  /** The latest round that the follower answered. */
  round = 0;
  /** The commit index that the follower knows if everything sent has arrived. */
  toldCommit: LogIndex = 0;
  /** Probing, and the message is out. */
  isPaused = false;
  /** Last entry of the probe that is out; 0 for none. */
  probedTo: LogIndex = 0;
  /** When a snapshot was last wanted for it. */
  snapshotAtMs = Number.NEGATIVE_INFINITY;
  #inFlight: InFlight[] = [];
  #inFlightBytes = 0;

  constructor(server: ServerId, next: LogIndex, nowMs: number) {
    this.server = server;
    this.next = next;
    this.lastHeardMs = nowMs;
  }

  maySend(windowBytes: number): boolean {
    if (this.state === 'replicate') {
      return this.#inFlightBytes < windowBytes && this.#inFlight.length < IN_FLIGHT;
    }
    return this.state === 'probe' && !this.isPaused;
  }

  handleSent(last: LogIndex, bytes: number): void {
    if (this.state === 'replicate') {
      this.next = last + 1;
      this.#inFlight.push({ last, bytes });
      this.#inFlightBytes += bytes;
    } else {
      this.isPaused = true;
      this.probedTo = last;
    }
  }

  /** True where that is news. */
  handleMatch(index: LogIndex): boolean {
    let first = this.#inFlight[0];
    while (first !== undefined && first.last <= index) {
      this.#inFlightBytes -= first.bytes;
      this.#inFlight.shift();
      first = this.#inFlight[0];
    }
    if (index <= this.match) return false;
    this.match = index;
    if (this.next <= index) this.next = index + 1;
    return true;
  }

  becomeProbe(next: LogIndex): void {
    this.#become('probe', Math.max(next, this.match + 1));
  }

  /** Everything up to `next - 1` is there. */
  becomeReplicate(next: LogIndex): void {
    this.#become('replicate', Math.max(next, this.match + 1));
  }

  becomeSnapshot(): void {
    this.#become('snapshot', this.next);
  }

  #become(state: ProgressState, next: LogIndex): void {
    this.state = state;
    this.next = next;
    this.isPaused = false;
    this.probedTo = 0;
    this.#inFlight = [];
    this.#inFlightBytes = 0;
    this.toldCommit = 0;
  }
}
