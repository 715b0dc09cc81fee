/**
 * Writing entries through Yjs: one connection's lane.
 *
 * A client appends items to a lane of its own in its copy of the entries document (`BoardView` does). Each becomes a
 * call to the blackboard in the name of the connection's principal. Once the entry is on the node's disk, the item is
 * deleted from the client's lane: that is the acknowledgement. What is refused is deleted too, together with an item
 * in `skein:answers` that says why and is gone again in the same update. Both are sent to this client
 * alone; the node keeps nothing of either, and to bring an item twice is harmless, since it carries its identity.
 *
 * The connection's lane is that of the Yjs client which it announced (awareness), or else wrote with first. What is
 * written elsewhere is refused.
 */
import * as encoding from 'lib0/encoding';
import * as random from 'lib0/random';
import type { Blackboard, ClientWrite, Writer, YjsAccess } from '../../blackboard/api.ts';
import { ANSWERS } from '../../blackboard/lane-update.ts';
import { readOnlyEntries } from '../../blackboard/messages.ts';
import { utf8 } from '../../kernel/codec.ts';
import { type ErrorBody, errorBody, fail, type Result } from '../../kernel/errors.ts';
import type { BoardName } from '../../kernel/ids.ts';

const CONTENT_BINARY = 3;
const PARENT_IS_ROOT = 1;

interface Answered {
  readonly clock: number;
  readonly error?: ErrorBody;
}

interface EntriesLaneOptions {
  readonly node: { readonly yjs: YjsAccess; readonly blackboard: Blackboard };
  readonly board: BoardName;
  /** Without one the connection may only read. */
  readonly writer: Writer | undefined;
  /** Sends a Yjs update to this client. */
  readonly answer: (update: Uint8Array) => void;
}

export class EntriesLane {
  readonly #options: EntriesLaneOptions;
  #lane: number | undefined;
  /** Items below have been taken up on this connection. */
  #nextClock = 0;
  #waitingBytes = 0;
  #answered: Answered[] = [];
  /** The client in whose name refusals are put into the document, new for every connection, and its clock. */
  readonly #answerer = random.uint32();
  #answers = 0;

  constructor(options: EntriesLaneOptions) {
    this.#options = options;
  }

  /** Bytes of updates whose writes are not all answered. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** The connection's own Yjs client, as far as it says so. */
  announced(client: number): void {
    this.#lane ??= client;
  }

  /** Takes an update up; why a part of it, or all, was refused. What belongs to the lane is answered in the document. */
  receive(update: Uint8Array): ErrorBody | undefined {
    const { node, board } = this.#options;
    const read = node.yjs.readEntries(board, update, this.#lane);
    if (read === undefined) {
      return errorBody('INVALID_ARGUMENT', 'The update is malformed.', 'Send updates as Yjs makes them.');
    }
    this.#lane = read.lane;
    const { lane } = read;
    const writes = read.writes.filter(({ clock }) => clock >= this.#nextClock);
    const last = writes.at(-1);
    if (lane !== undefined && last !== undefined) {
      this.#nextClock = last.clock + 1;
      this.#waitingBytes += update.length;
      void Promise.all(writes.map((write) => this.#write(lane, write))).then(() => {
        this.#waitingBytes -= update.length;
      });
    }
    return read.foreign ? readOnlyEntries().error : undefined;
  }

  async #write(lane: number, { clock, entry }: ClientWrite): Promise<void> {
    const outcome = await this.#call(lane, entry);
    if (this.#answered.push(outcome.ok ? { clock } : { clock, error: outcome.error }) > 1) return;
    // What is answered by the same sync of the disk goes in one update.
    setImmediate(() => this.#flush(lane));
  }

  async #call(lane: number, entry: ClientWrite['entry']): Promise<Result<unknown>> {
    const { node, board, writer } = this.#options;
    if (writer === undefined) {
      return fail(
        errorBody('DENIED', 'Keys of the zone "external" may only read.', 'Use a key of another zone.'),
      );
    }
    if (entry === undefined) {
      return fail(errorBody('INVALID_ARGUMENT', 'The entry is malformed.', 'Write with BoardView.'));
    }
    const { kind, key, revision } = entry;
    const stamp = { revision, lane };
    try {
      if (kind === 'delete') return await node.blackboard.call({ op: 'delete', board, key, stamp }, writer);
      const { value, ttlSeconds } = entry;
      const ttl = ttlSeconds === undefined ? {} : { ttlSeconds };
      return await node.blackboard.call({ op: 'write', board, key, value, stamp, ...ttl }, writer);
    } catch {
      const details = { outcome: 'unknown' };
      return fail(errorBody('INTERNAL', 'The node failed to write.', 'Its log says more.', { details }));
    }
  }

  #flush(lane: number): void {
    const answered = this.#answered.splice(0);
    const errors = answered.filter(({ error }) => error !== undefined);
    const encoder = encoding.createEncoder();
    const numbers = (...values: number[]) => {
      for (const value of values) encoding.writeVarUint(encoder, value);
    };
    numbers(errors.length === 0 ? 0 : 1);
    if (errors.length > 0) numbers(errors.length, this.#answerer, this.#answers);
    for (const { clock, error } of errors) {
      encoding.writeUint8(encoder, CONTENT_BINARY);
      numbers(PARENT_IS_ROOT);
      encoding.writeVarString(encoder, ANSWERS);
      encoding.writeVarUint8Array(encoder, utf8(JSON.stringify({ lane, clock, error })));
    }
    numbers(errors.length === 0 ? 1 : 2);
    numbers(lane, answered.length);
    for (const { clock } of answered) numbers(clock, 1);
    if (errors.length > 0) numbers(this.#answerer, 1, this.#answers, errors.length);
    this.#answers += errors.length;
    this.#options.answer(encoding.toUint8Array(encoder));
  }
}
