/**
 * The y-websocket protocol, so that an unmodified `WebsocketProvider` (browser editors, other Yjs programs) takes
 * part in a board.
 *
 * The entries document and the free documents are both served; what a client writes goes through the node's
 * gate like everything else. In the entries it writes in a lane of its own only (`yjs-entries.ts`). A refused update is answered with the protocol's "permission denied" message and
 * its reason; a client that keeps on is closed with a 44xx code, after which y-websocket does not reconnect.
 *
 * Limits: awareness (cursors, presence) is passed on among the clients of this node only.
 */
import * as decoding from 'lib0/decoding';
import * as encoding from 'lib0/encoding';
import type { WebSocket } from 'ws';
import type { Blackboard, Writer, YjsAccess } from '../../blackboard/api.ts';
import type { ErrorBody } from '../../kernel/errors.ts';
import type { BoardName } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Logger } from '../../kernel/ports.ts';
import type { Principal } from '../../mcp/principal.ts';
import { AwarenessRoom, onlyClientOf } from './awareness.ts';
import { EntriesLane } from './yjs-entries.ts';

const SYNC = 0;
const AWARENESS = 1;
const AUTH = 2;
const QUERY_AWARENESS = 3;
const STEP_1 = 0;
const STEP_2 = 1;
const UPDATE = 2;
const PERMISSION_DENIED = 0;

/** Codes 44xx tell y-websocket that coming back is of no use, 45xx that it may try again. */
const CLOSE = {
  denied: 4403,
  deleted: 4410,
  malformed: 4400,
  tooSlow: 4508,
  goingAway: 1001,
} as const;

const DELETED = 'The document was deleted: begin again with an empty Yjs document.';
const REFUSALS_BEFORE_CLOSE = 32;
/** Full states that a client may ask for within ten seconds; an honest one asks once. */
const STATES_PER_WINDOW = 20;
const WINDOW_MS = 10_000;
const PING_MS = 30_000;
const GOODBYE_MS = 500;

export interface YjsTarget {
  readonly board: BoardName;
  /** `undefined` is the entries document. */
  readonly document: string | undefined;
}

/** What the face needs of a node. */
interface YjsNode {
  readonly yjs: YjsAccess;
  readonly blackboard: Blackboard;
}

export class YjsFace {
  readonly #node: YjsNode;
  readonly #logger: Logger;
  readonly #rooms = new Map<string, AwarenessRoom>();
  readonly #clients = new Set<YjsClient>();

  constructor(node: YjsNode, logger: Logger) {
    this.#node = node;
    this.#logger = logger;
  }

  /** Serves a connection that was let in. */
  serve(socket: WebSocket, target: YjsTarget, principal: Principal): void {
    const name = JSON.stringify([target.board, target.document ?? null]);
    const room = this.#rooms.get(name) ?? new AwarenessRoom();
    this.#rooms.set(name, room);
    const client = new YjsClient(socket, this.#node, target, principal, room, this.#logger);
    this.#clients.add(client);
    try {
      client.begin();
    } finally {
      // After `begin`, whose own handler leaves the room: handlers run in the order in which they were added.
      socket.once('close', () => {
        this.#clients.delete(client);
        if (room.isEmpty) this.#rooms.delete(name);
      });
    }
  }

  /** Documents that somebody has open here. */
  get roomCount(): number {
    return this.#rooms.size;
  }

  /** Says goodbye, and breaks the connections of those that do not answer it. */
  async close(): Promise<void> {
    const leaving = [...this.#clients];
    for (const client of leaving) client.end(CLOSE.goingAway, 'The node is stopping.');
    const deadline = performance.now() + GOODBYE_MS;
    while (this.#clients.size > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    for (const client of this.#clients) client.break();
  }
}

class YjsClient {
  readonly #socket: WebSocket;
  readonly #yjs: YjsAccess;
  readonly #target: YjsTarget;
  readonly #writer: Writer;
  readonly #readOnly: boolean;
  readonly #room: AwarenessRoom;
  readonly #logger: Logger;
  /** Sent states may be larger than any queue should be; they are allowed for until they have left. */
  #allowance = 0;
  #refusals = 0;
  #states: number[] = [];
  #alive = true;
  #isDeleted = false;
  #applying: Promise<void> = Promise.resolve();
  #pendingBytes = 0;
  /** Only on the entries document. */
  readonly #entries: EntriesLane | undefined;

  constructor(
    socket: WebSocket,
    { yjs, blackboard }: YjsNode,
    target: YjsTarget,
    principal: Principal,
    room: AwarenessRoom,
    logger: Logger,
  ) {
    this.#socket = socket;
    this.#yjs = yjs;
    this.#target = target;
    this.#writer = { agent: principal.agent };
    this.#readOnly = principal.zone === 'external';
    this.#room = room;
    this.#logger = logger;
    if (target.document === undefined) {
      this.#entries = new EntriesLane({
        node: { yjs, blackboard },
        board: target.board,
        writer: this.#readOnly ? undefined : this.#writer,
        answer: (update) => this.#sendUpdate(update),
      });
    }
  }

  begin(): void {
    const socket = this.#socket;
    this.#isDeleted = this.#findDeleted();
    const { board, document } = this.#target;
    const stopObserving = this.#yjs.observe(board, document, (update) => this.#sendUpdate(update));
    const leaveRoom = this.#room.join(this, (message) => this.#sendAwareness(message));
    const pings = setInterval(() => this.#ping(), PING_MS);
    pings.unref();
    socket.on('pong', () => {
      this.#alive = true;
    });
    socket.on('error', (error) => this.#logger.log('debug', 'yjs.socket', { error: error.message }));
    socket.once('close', () => {
      clearInterval(pings);
      stopObserving();
      leaveRoom();
    });
    socket.on('message', (data, isBinary) => {
      if (isBinary) this.#receive(data as Buffer);
      else this.end(CLOSE.malformed, 'Only binary messages of the y-websocket protocol are understood.');
    });
    this.#send(
      message(SYNC, (encoder) => {
        encoding.writeVarUint(encoder, STEP_1);
        encoding.writeVarUint8Array(encoder, this.#yjs.stateVector(board, document));
      }),
    );
    const present = this.#room.everyone();
    if (present !== undefined) this.#sendAwareness(present);
  }

  end(code: number, reason: string): void {
    this.#socket.close(code, reason.slice(0, 120));
  }

  break(): void {
    this.#socket.terminate();
  }

  #receive(data: Buffer): void {
    try {
      const decoder = decoding.createDecoder(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      const kind = decoding.readVarUint(decoder);
      if (kind === SYNC) this.#receiveSync(decoder);
      else if (kind === AWARENESS) this.#receiveAwareness(decoding.readVarUint8Array(decoder));
      else if (kind === QUERY_AWARENESS) {
        const present = this.#room.everyone();
        if (present !== undefined) this.#sendAwareness(present);
      }
    } catch (error) {
      // Decoders throw on anything cut short or out of bounds; nothing of the message was used.
      this.#logger.log('debug', 'yjs.malformed', { error: error instanceof Error ? error.message : '' });
      this.end(CLOSE.malformed, 'This message cannot be decoded.');
    }
  }

  #receiveAwareness(update: Uint8Array): void {
    this.#room.receive(this, update);
    const client = onlyClientOf(update);
    if (client !== undefined) this.#entries?.announced(client);
  }

  #receiveSync(decoder: decoding.Decoder): void {
    const kind = decoding.readVarUint(decoder);
    const payload = decoding.readVarUint8Array(decoder);
    if (kind === STEP_1) this.#sendState(payload);
    else if (kind === STEP_2 || kind === UPDATE) this.#apply(payload);
  }

  #sendState(stateVector: Uint8Array): void {
    const nowMs = performance.now();
    this.#states = this.#states.filter((atMs) => nowMs - atMs < WINDOW_MS);
    this.#states.push(nowMs);
    if (this.#states.length > STATES_PER_WINDOW) {
      this.end(CLOSE.denied, 'The whole state was asked for too often.');
      return;
    }
    const { board, document } = this.#target;
    const state = this.#yjs.encodeState(board, document, stateVector);
    if (this.#socket.bufferedAmount === 0) this.#allowance = 0;
    this.#allowance += state.length;
    this.#send(
      message(SYNC, (encoder) => {
        encoding.writeVarUint(encoder, STEP_2);
        encoding.writeVarUint8Array(encoder, state);
      }),
    );
  }

  #apply(update: Uint8Array): void {
    // An update without structs and deletions, as every client sends when it joins.
    if (update.length === 2 && update[0] === 0 && update[1] === 0) return;
    if (this.#entries !== undefined) {
      this.#applyEntries(this.#entries, update);
      return;
    }
    if (this.#readOnly) {
      this.#refuse('Keys of the zone "external" may only read.');
      return;
    }
    this.#pendingBytes += update.length;
    if (this.#pendingBytes > limits.heldBytes + limits.documentBytes) {
      this.end(CLOSE.denied, 'Updates arrive faster than they can be taken in.');
      return;
    }
    const { board, document } = this.#target;
    this.#applying = this.#applying.then(async () => {
      const outcome = await this.#yjs.applyUpdate(board, document, update, this.#writer);
      this.#pendingBytes -= update.length;
      if (!outcome.ok) this.#refuse(refusalText(outcome.error));
    });
    this.#applying.catch((error: unknown) => {
      this.#logger.log('error', 'yjs.apply', {
        error: error instanceof Error ? error.message : String(error),
      });
      this.#applying = Promise.resolve();
      this.end(1011, 'The node failed to take the update in.');
    });
  }

  #applyEntries(entries: EntriesLane, update: Uint8Array): void {
    if (entries.waitingBytes + update.length > 2 * limits.clientWriteBytes) {
      this.end(CLOSE.tooSlow, 'Entries are written faster than they can be taken in.');
      return;
    }
    const refusal = entries.receive(update);
    if (refusal !== undefined) this.#refuse(refusalText(refusal));
  }

  #refuse(reason: string): void {
    if (++this.#refusals > REFUSALS_BEFORE_CLOSE) {
      this.end(CLOSE.denied, reason);
      return;
    }
    this.#send(
      message(AUTH, (encoder) => {
        encoding.writeVarUint(encoder, PERMISSION_DENIED);
        encoding.writeVarString(encoder, reason);
      }),
    );
  }

  #sendUpdate(update: Uint8Array): void {
    this.#send(
      message(SYNC, (encoder) => {
        encoding.writeVarUint(encoder, UPDATE);
        encoding.writeVarUint8Array(encoder, update);
      }),
    );
    const wasDeleted = this.#isDeleted;
    this.#isDeleted = this.#findDeleted();
    // Its copy is of no use any more: whatever it writes stands beside something deleted.
    if (this.#isDeleted && !wasDeleted) this.end(CLOSE.deleted, DELETED);
  }

  #findDeleted(): boolean {
    const { board, document } = this.#target;
    return document !== undefined && this.#yjs.isDeleted(board, document);
  }

  #sendAwareness(update: Uint8Array): void {
    this.#send(message(AWARENESS, (encoder) => encoding.writeVarUint8Array(encoder, update)));
  }

  #send(bytes: Uint8Array): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    socket.send(bytes);
    if (socket.bufferedAmount <= limits.streamQueueBytes) {
      this.#allowance = 0;
    } else if (socket.bufferedAmount > limits.streamQueueBytes + 2 * this.#allowance) {
      this.#logger.log('warn', 'yjs.slow', { buffered: socket.bufferedAmount });
      this.end(CLOSE.tooSlow, 'Updates are read too slowly.');
      this.break();
    }
  }

  #ping(): void {
    if (!this.#alive) {
      this.#socket.terminate();
      return;
    }
    this.#alive = false;
    this.#socket.ping();
  }
}

function message(kind: number, write: (encoder: encoding.Encoder) => void): Uint8Array {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, kind);
  write(encoder);
  return encoding.toUint8Array(encoder);
}

function refusalText(error: ErrorBody): string {
  return `${error.code}: ${error.message} ${error.hint}`.slice(0, 500);
}
