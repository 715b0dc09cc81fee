/**
 * The blackboard of a node as one pure machine: local calls, what neighbours bring, and the upkeep of both.
 *
 * Intuition: every write is an item in this node's own lane. It is visible here at once; all writes of one turn of
 * the host's loop leave together, as one frame to every neighbour and one record on the disk, and are answered when
 * the disk has them. What comes in from neighbours passes the gate and is merged; what is lost on the way is found
 * by anti-entropy.
 *
 * Streams: `board` carries the journal of local writes and their answers, `board/push` what goes to neighbours,
 * `board/merge` the journal of what came from them, `board/read` answers that rely on no write.
 */

import { ByteWriter } from '../kernel/bytes.ts';
import type { Answer } from '../kernel/effects.ts';
import { journalRecord } from '../kernel/effects.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardName, NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Cryptography, Signer } from '../kernel/ports.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import { AntiEntropy, type AntiEntropyEffect } from '../replication/anti-entropy.ts';
import type { BoardCall, BoardInfo, ClientUpdate, WriteAnswer, Writer } from './api.ts';
import type { Board } from './board.ts';
import { checkBoardName, checkCall, checkDocumentName } from './calls.ts';
import { readClientUpdate } from './client-lane.ts';
import { Desk, TOKEN_OF_TURN } from './desk.ts';
import { deletedDocument, noRoom, tooMuchWork } from './document-room.ts';
import { deletionUpTo } from './documents.ts';
import { DocumentsLattice } from './documents-lattice.ts';
import { encodeLanes, encodeStateVector } from './export.ts';
import { hashBoard } from './hash.ts';
import { HybridClock } from './hlc.ts';
import { Intake } from './intake.ts';
import { checkpoint, load } from './journal.ts';
import { BoardsLattice } from './lattice.ts';
import {
  type BoardsConfig,
  type BoardsEffect,
  type BoardsEvent,
  ChangedKeys,
  diskFull,
  isWrite,
  type Requested,
  readOnlyEntries,
  tooManyWait,
  WrittenAnswer,
  type YjsUpdate,
} from './messages.ts';
import { Parking } from './parking.ts';
import { Places } from './places.ts';
import { writeDeleted, writeDocumentSection, writeLaneSection } from './sections.ts';
import type { Session } from './session.ts';
import { SessionCheck, TurnToken } from './session-check.ts';
import { Shorts } from './short.ts';

export type {
  BoardChanged,
  BoardsConfig,
  BoardsEffect,
  BoardsEvent,
  PublishLanes,
  YjsUpdated,
} from './messages.ts';

import { BoardStore, type LanesView } from './store.ts';
import { Upkeep } from './upkeep.ts';
import { Waiting, type Woken } from './waiting.ts';

/** What a caller of this node did to a document. */
interface Edit {
  readonly board: BoardName;
  readonly document: string;
  readonly update: Uint8Array;
  /** State vector below which all was deleted, where it was. */
  readonly deleted?: Uint8Array;
}

interface BoardsOptions {
  readonly self: NodeId;
  /** Of this run; never used before. */
  readonly incarnation: number;
  readonly config: BoardsConfig;
  readonly lanes: LanesView;
  readonly membership: { isUp(node: NodeId): boolean };
  readonly signer: Signer;
  readonly cryptography: Cryptography;
  readonly rng: Rng;
  readonly now: Instant;
}

export class Boards implements Machine<BoardsEvent, BoardsEffect> {
  readonly #store: BoardStore;
  readonly #documents: DocumentsLattice;
  readonly #shorts: Shorts;
  readonly #intake: Intake;
  readonly #lattice: BoardsLattice;
  readonly #entropy: AntiEntropy;
  readonly #desk: Desk;
  readonly #upkeep: Upkeep;
  readonly #cryptography: Cryptography;
  readonly #clock = new HybridClock();
  readonly #waiting: Waiting;
  readonly #sessions: SessionCheck;
  readonly #parked: Parking;
  /** Boards of which something came that a parked call may wait for. */
  readonly #reached = new Set<BoardName>();
  readonly #writer = new ByteWriter(4096);
  /** Answers that wait for the flush of what they wrote. */
  #written: Answer[] = [];
  readonly #tokens = new Map<BoardName, TurnToken>();
  #edits: Edit[] = [];
  #effects: BoardsEffect[] = [];
  #flush: Deadline | undefined;
  #diskFailure: string | undefined;

  constructor(options: BoardsOptions) {
    const { self, incarnation, config, lanes, membership, cryptography, now } = options;
    this.#cryptography = cryptography;
    this.#store = new BoardStore(self, incarnation, config.boards, lanes);
    this.#documents = new DocumentsLattice(incarnation, cryptography.hash);
    this.#store.follow(this.#documents);
    this.#shorts = new Shorts(this.#store);
    this.#intake = new Intake({
      store: this.#store,
      cryptography,
      documents: this.#documents,
      shorts: this.#shorts,
      isUp: (node) => membership.isUp(node),
    });
    this.#lattice = new BoardsLattice({
      store: this.#store,
      cryptography,
      intake: this.#intake,
      documents: this.#documents,
      links: () => this.#entropy.neighbours,
    });
    this.#entropy = new AntiEntropy({
      self,
      channel: 'board',
      stream: 'board/push',
      lattice: this.#lattice,
      rng: options.rng,
      now,
    });
    this.#upkeep = new Upkeep({
      store: this.#store,
      intake: this.#intake,
      clock: this.#clock,
      cryptography,
      signer: options.signer,
      isLinked: () => this.#entropy.neighbours.length > 0,
      isUp: (node) => membership.isUp(node),
      now,
    });
    this.#sessions = new SessionCheck(this.#store, this.#documents, cryptography.hash);
    this.#desk = new Desk({
      store: this.#store,
      documents: this.#documents,
      sessions: this.#sessions,
      clock: this.#clock,
      edited: (board, document, update) => this.#edited(board, document, update),
      deleted: (board, { name, stateVector, clocks }) =>
        this.#edits.push({ board, document: name, update: deletionUpTo(clocks), deleted: stateVector }),
    });
    const places = new Places();
    this.#waiting = new Waiting(this.#store, this.#desk, places);
    this.#parked = new Parking(places);
  }

  /** What the journal held, before anything else. Tag bytes of `board` and `document` stripped. */
  load(records: readonly Uint8Array[], now: Instant): void {
    load(records, this.#store, this.#documents, this.#clock);
    for (const board of this.#store.boards.values()) board.takeChanged();
    this.#upkeep.loaded(now);
  }

  /** Journal records of all that is held, each of about 256 KiB; take one at a time, with other work in between. */
  checkpoint(): Generator<Uint8Array> {
    return checkpoint(this.#store, this.#documents);
  }

  handle(event: BoardsEvent, now: Instant): readonly BoardsEffect[] {
    switch (event.kind) {
      case 'requested':
        this.#answerIf(event.id, this.#tryNow(event, now));
        // Who watches hears of one's own writes once they are on their way, all of a turn at once.
        if (isWrite(event.call)) return this.#takeEffects();
        break;
      case 'cancelled':
        this.#waiting.cancel(event.id);
        this.#parked.delete(event.id);
        break;
      case 'yjsUpdate':
        this.#answerIf(event.id, this.#yjsUpdate(event, now));
        break;
      case 'lanesChanged':
        this.#lanesChanged(event.owner, now);
        break;
      case 'diskFailed':
        this.#diskFailure = event.reason;
        break;
      case 'diskRecovered':
        this.#diskFailure = undefined;
        break;
      default:
        if (event.kind === 'peerDown') this.#shorts.forget(event.peer);
        this.#take(this.#entropy.handle(event, now));
    }
    return this.#settle(now);
  }

  expire(now: Instant): readonly BoardsEffect[] {
    this.#take(this.#upkeep.expire(now));
    if (isDue(this.#flush, now) || this.#store.hasPending || this.#edits.length > 0) this.#flushOwn(now);
    this.#take(this.#entropy.expire(now));
    this.#wake(this.#waiting.takeDue(now));
    for (const parked of this.#parked.takeDue(now.monoMs)) {
      this.#answer(parked.id, this.#sessions.refusal(parked.call, parked.session));
    }
    return this.#settle(now);
  }

  deadline(): Deadline | undefined {
    const waitMs = this.#waiting.deadlineMs;
    const parkedMs = this.#parked.deadlineMs;
    return earliest([
      this.#flush,
      this.#entropy.deadline(),
      this.#upkeep.deadline(),
      waitMs === Number.POSITIVE_INFINITY ? undefined : { atMs: waitMs, reason: 'board.wait' },
      parkedMs === Number.POSITIVE_INFINITY ? undefined : { atMs: parkedMs, reason: 'board.session' },
    ]);
  }

  /** Answers at once what needs neither a wait nor a write; at level `eventual`, or where the session is satisfied. */
  read(call: BoardCall & { readonly op: 'read' | 'list' | 'documentRead' }, now: Instant): Result<unknown> {
    const checked = this.#checked(call);
    if (!checked.ok) return checked;
    const session = this.#sessions.of(call);
    if (!session.ok) return session;
    if (!this.#sessions.isSatisfied(call, session.value)) {
      return this.#sessions.refusal(call, session.value);
    }
    return this.#desk.run(call, NOBODY, session.value, now);
  }

  /** Boards with their size, sorted by name. */
  boards(): readonly BoardInfo[] {
    const documents = this.#documents;
    return [...this.#store.boards.values()]
      .map((board) => ({
        name: board.name,
        mode: board.declared?.mode ?? 'crdt',
        keys: board.view.keys,
        bytes: board.bytes + documents.bytes(board.name),
        // Worked out where it is asked for: most callers want the sizes alone, and often.
        get documents() {
          return documents.names(board.name, limits.listedDocuments);
        },
        allDocuments: () => documents.names(board.name, limits.documents),
      }))
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /** Live bytes of the entries of all boards. */
  get entryBytes(): number {
    let bytes = 0;
    for (const board of this.#store.boards.values()) bytes += board.bytes;
    return bytes;
  }

  /** Boards of others that found no room here, the first few of them, and whose they are. */
  get withoutRoom(): ReadonlyMap<BoardName, NodeId> {
    return this.#store.unkept;
  }

  /** How far this node's last write is stamped ahead of its clock, which then was ahead itself; 0 where it is not. */
  stampedAheadMs(now: Instant): number {
    return this.#clock.aheadMs(now);
  }

  /** True while this node is known to lack something that a neighbour is about to give. */
  get repairing(): boolean {
    return this.#entropy.repairing;
  }

  stateVector(board: BoardName, document: string | undefined): Uint8Array {
    if (document !== undefined) {
      return this.#documents.find(board, document)?.stateVector ?? Uint8Array.of(0);
    }
    return encodeStateVector(this.#store.find(board));
  }

  /** A Yjs update with what the holder of `stateVector` lacks. */
  encodeState(board: BoardName, document: string | undefined, stateVector?: Uint8Array): Uint8Array {
    if (document !== undefined) {
      return this.#documents.find(board, document)?.encode(stateVector) ?? Uint8Array.of(0, 0);
    }
    return encodeLanes(this.#store.find(board), stateVector);
  }

  /** What a Yjs client wrote into the entries; `undefined` where it is malformed. */
  readEntries(board: BoardName, update: Uint8Array, lane: number | undefined): ClientUpdate | undefined {
    const store = this.#store;
    return readClientUpdate(update, lane, store.find(board), (incarnation) => {
      if (store.retired.has(incarnation)) return 'folded';
      return store.ownerOf(incarnation) === undefined ? undefined : 'kept';
    });
  }

  isDeleted(board: BoardName, document: string): boolean {
    return this.#documents.find(board, document)?.isDeleted ?? false;
  }

  /** Hash of all that readers can see of a board: equal on nodes that show the same. Hexadecimal. */
  hash(board: BoardName, now: Instant): string {
    return hashBoard(this.#store.find(board), this.#documents.of(board), this.#cryptography.hash, now);
  }

  /** The answer, or `undefined` where it comes later: after the disk, the session or a change. */
  #tryNow(event: Requested, now: Instant): Result<unknown> | undefined {
    const { id, call, writer } = event;
    const checked = this.#checked(call);
    if (!checked.ok) return checked;
    const session = this.#sessions.of(call);
    if (!session.ok) return session;
    if (isWrite(call) && this.#diskFailure !== undefined) return diskFull(this.#diskFailure);
    if (this.#sessions.isSatisfied(call, session.value))
      return this.#run(id, call, writer, session.value, now);
    const deadlineMs = now.monoMs + limits.sessionWaitMs;
    if (!this.#parked.add({ id, call, writer, session: session.value, deadlineMs })) return tooManyWait();
    this.#take(this.#entropy.handle({ kind: 'lacking' }, now));
    return undefined;
  }

  #run(
    id: number,
    call: BoardCall,
    writer: Writer,
    session: Session | undefined,
    now: Instant,
  ): Result<unknown> | undefined {
    if (call.op === 'wait') {
      // What was written before must not wake who asks for what comes from now on.
      this.#tellChanges(now);
      return this.#waiting.ask(id, call, writer, session, now);
    }
    const result = this.#desk.run(call, writer, session, now);
    if (!isWrite(call) || !result.ok) return result;
    const answer = result.value as WriteAnswer;
    this.#written.push(
      answer.session === TOKEN_OF_TURN
        ? new WrittenAnswer(id, answer, this.#tokenOf(call.board))
        : { kind: 'answer', stream: 'board', id, result },
    );
    this.#flush ??= { atMs: now.monoMs, reason: 'board.flush' };
    return undefined;
  }

  #tokenOf(name: BoardName): TurnToken {
    let token = this.#tokens.get(name);
    if (token === undefined) {
      const board = this.#store.find(name) as Board;
      token = new TurnToken(name, this.#store.lane(board, this.#store.incarnation));
      this.#tokens.set(name, token);
    }
    return token;
  }

  #checked(call: BoardCall): Result<Board> {
    const checked = checkCall(call);
    if (!checked.ok) return checked;
    const board = this.#desk.board(call.board);
    if (!board.ok) return board;
    if (board.value.declared?.mode === 'quorum') return notMerged(call.board);
    if (call.level === 'strong') {
      return failWith(
        'LEVEL_NOT_OFFERED',
        `The board "${call.board}" is of mode crdt and offers eventual and session.`,
        'Use one of these levels, or a board of mode quorum.',
      );
    }
    return board;
  }

  #yjsUpdate(event: YjsUpdate, now: Instant): Result<unknown> | undefined {
    const { id, board: name, document, update } = event;
    const isNamed = checkBoardName(name);
    if (!isNamed.ok) return isNamed;
    const board = this.#desk.board(name);
    if (!board.ok) return board;
    if (board.value.declared?.mode === 'quorum') return notMerged(name);
    if (document === undefined) return readOnlyEntries();
    const named = checkDocumentName(document);
    if (!named.ok) return named;
    if (this.#diskFailure !== undefined) return diskFull(this.#diskFailure);
    if (!(update instanceof Uint8Array)) {
      return failWith('INVALID_ARGUMENT', 'The update is not a Uint8Array.', 'Pass a Yjs update (v1).');
    }
    if (update.length > limits.frameBytes / 2) {
      return failWith('TOO_LARGE', 'The update is too large.', 'Send smaller updates.');
    }
    const outcome = this.#documents.accept(board.value, document, update);
    if (outcome.kind === 'full') return noRoom(board.value, this.#documents, outcome.of);
    if (outcome.kind === 'gone') return deletedDocument();
    if (outcome.kind !== 'merged') {
      const reason = outcome.kind === 'behind' ? 'what it builds on is missing' : outcome.reason;
      return failWith(
        'INVALID_ARGUMENT',
        `The update was refused: ${reason}.`,
        'Synchronise the document first.',
      );
    }
    for (const each of outcome.updates) this.#edited(name, document, each);
    const result = outcome.isWhole ? ok(undefined) : tooMuchWork();
    this.#written.push({ kind: 'answer', stream: 'board', id, result });
    this.#flush ??= { atMs: now.monoMs, reason: 'board.flush' };
    return undefined;
  }

  #lanesChanged(owner: NodeId, now: Instant): void {
    this.#upkeep.lanesChanged(owner);
    this.#intake.retry(now);
    if (this.#parked.size > 0) for (const name of this.#store.boards.keys()) this.#reached.add(name);
    if (owner !== this.#store.self && this.#entropy.neighbours.includes(owner)) {
      this.#take(this.#entropy.handle({ kind: 'lacking', peer: owner }, now));
    }
  }

  #edited(board: BoardName, document: string, update: Uint8Array): void {
    this.#edits.push({ board, document, update });
  }

  /** Everything that this node wrote since the last flush: to the neighbours, to the disk, and answered. */
  #flushOwn(now: Instant): void {
    this.#flush = undefined;
    const records: Uint8Array[] = [];
    const take = (tag: 'board' | 'document', short?: Uint8Array) => {
      const section = this.#writer.take(1);
      this.#lattice.push(short ?? section);
      records.push(journalRecord(tag, section, 1));
    };
    for (const board of this.#store.boards.values()) {
      for (const change of board.takeOwnChanges(limits.repairBytes)) {
        writeLaneSection(this.#writer, { kind: 'lane', ...change, board: board.name });
        take('board', this.#shorts.shorten(board, change));
        this.#upkeep.changed(board, change.lane, now);
        this.#effects.push({
          kind: 'yjsUpdated',
          board: board.name,
          document: undefined,
          update: change.update,
        });
      }
    }
    for (const { board, document, update, deleted } of this.#edits.splice(0)) {
      if (deleted === undefined) writeDocumentSection(this.#writer, board, document, update);
      else writeDeleted(this.#writer, board, document, deleted);
      take('document');
      this.#effects.push({ kind: 'yjsUpdated', board, document, update });
    }
    for (const frame of this.#upkeep.takeFrames()) this.#lattice.push(frame);
    this.#take(this.#entropy.handle({ kind: 'changed' }, now));
    this.#take(this.#entropy.expire(now));
    if (records.length > 0) this.#effects.push({ kind: 'persist', stream: 'board', records, durable: true });
    for (const token of this.#tokens.values()) token.close();
    this.#tokens.clear();
    for (const answer of this.#written) this.#effects.push(answer);
    this.#written = [];
  }

  /** What follows from whatever just happened: journal, watchers, waiting sessions. */
  #settle(now: Instant): readonly BoardsEffect[] {
    this.#upkeep.seen(now);
    const records = this.#intake.takeRecords();
    if (records.length > 0) {
      this.#effects.push({ kind: 'persist', stream: 'board/merge', records, durable: false });
      this.#upkeep.merged();
    }
    for (const { board, document, update } of this.#intake.takeUpdates()) {
      this.#effects.push({ kind: 'yjsUpdated', board, document, update });
      if (this.#parked.size > 0) this.#reached.add(board);
    }
    this.#effects.push(...this.#intake.takeMarks());
    this.#tellChanges(now);
    if (this.#reached.size > 0) this.#retryParked(now);
    if (this.#flush === undefined && (this.#store.hasPending || this.#upkeep.hasFrames)) {
      this.#flush = { atMs: now.monoMs, reason: 'board.flush' };
    }
    return this.#takeEffects();
  }

  #takeEffects(): readonly BoardsEffect[] {
    const effects = this.#effects;
    if (effects.length > 0) this.#effects = [];
    return effects;
  }

  #tellChanges(now: Instant): void {
    for (const board of this.#store.boards.values()) {
      const keys = board.takeChanged();
      if (keys.length > 0) this.#changed(board, keys, now);
    }
  }

  #changed(board: Board, keys: readonly string[], now: Instant): void {
    this.#wake(this.#waiting.changed(board, keys, now));
    this.#upkeep.noticed(board, keys, now);
    this.#effects.push(new ChangedKeys(board, keys, now));
  }

  #wake(woken: readonly Woken[]): void {
    for (const { id, answer } of woken) this.#answer(id, ok(answer));
  }

  #retryParked(now: Instant): void {
    const boards = [...this.#reached];
    this.#reached.clear();
    for (const parked of boards.flatMap((board) => this.#parked.of(board))) {
      if (!this.#sessions.isSatisfied(parked.call, parked.session)) continue;
      this.#parked.delete(parked.id);
      const { id, call, writer, session } = parked;
      this.#answerIf(id, this.#run(id, call, writer, session, now));
    }
  }

  #answerIf(id: number, result: Result<unknown> | undefined): void {
    if (result !== undefined) this.#answer(id, result);
  }

  #answer(id: number, result: Result<unknown>): void {
    this.#effects.push({ kind: 'answer', stream: 'board/read', id, result });
  }

  #take(effects: readonly (AntiEntropyEffect | BoardsEffect)[]): void {
    for (const effect of effects) this.#effects.push(effect);
  }
}

const NOBODY = { agent: '' } as unknown as Writer;

/** Of a board of mode quorum, whose entries are elsewhere. */
function notMerged(board: BoardName): ReturnType<typeof failWith> {
  return failWith(
    'LEVEL_NOT_OFFERED',
    `The board "${board}" is of mode quorum: it has no documents, and nothing in it merges.`,
    'Use a board of mode crdt, such as "main".',
  );
}
