/** What a caller can ask of the blackboard, and what it answers. Shared by MCP, HTTP, the command line and tests. */
import type { Result } from '../kernel/errors.ts';
import type { AgentId, BoardName } from '../kernel/ids.ts';
import type { Json } from '../kernel/json.ts';

export const LEVELS = ['eventual', 'session', 'strong'] as const;
export type Level = (typeof LEVELS)[number];

/** Who asks: becomes `author` of what is written. */
export interface Writer {
  readonly agent: AgentId;
}

/** Where a Yjs client made a write: kept as its identity, so that bringing it twice is writing it once. */
export interface ClientStamp {
  /** The client's hybrid logical clock, packed like every revision. */
  readonly revision: number;
  /** The Yjs client. */
  readonly lane: number;
}

interface Call {
  readonly board: BoardName;
  /** Default on a crdt board `eventual`, `session` where a session token is given; on a quorum board always `strong`. */
  readonly level?: Level;
  /** Opaque token of an earlier answer; the call sees at least what that answer saw. */
  readonly session?: string;
}

export interface ReadCall extends Call {
  readonly op: 'read';
  readonly key: string;
}
export interface WriteCall extends Call {
  readonly op: 'write';
  readonly key: string;
  readonly value: Json;
  readonly ttlSeconds?: number;
  readonly stamp?: ClientStamp;
}
/** Boards of mode quorum only. Writes where the key has this very revision, else `CONFLICT` with what is there. */
export interface CompareAndSetCall extends Call {
  readonly op: 'compareAndSet';
  readonly key: string;
  /** Of an earlier answer; 0: the key must not exist. */
  readonly expectedRevision: number;
  readonly value: Json;
  readonly ttlSeconds?: number;
}
export interface DeleteCall extends Call {
  readonly op: 'delete';
  readonly key: string;
  readonly stamp?: ClientStamp;
}
export interface ListCall extends Call {
  readonly op: 'list';
  readonly prefix?: string;
  /** 1 to `limits.listPage`, default 100. */
  readonly limit?: number;
  readonly cursor?: string;
}
export interface AppendCall extends Call {
  readonly op: 'append';
  readonly key: string;
  /** 1 to `limits.appendItems` items. */
  readonly items: readonly Json[];
}
export interface WaitCall extends Call {
  readonly op: 'wait';
  /** Exactly one of `key` and `prefix`. */
  readonly key?: string;
  readonly prefix?: string;
  /** Changes with a higher revision are awaited, after 0 with the entries that are there; default: anything from now on. */
  readonly afterRevision?: number;
  /** Position in this node's order of arrival, from an earlier answer: then no change is missed or repeated. */
  readonly cursor?: string;
  /** 0 to `limits.waitMs`. */
  readonly timeoutMs: number;
}
export interface DocumentReadCall extends Call {
  readonly op: 'documentRead';
  readonly document: string;
}
export interface DocumentEditCall extends Call {
  readonly op: 'documentEdit';
  readonly document: string;
  readonly edits: readonly DocumentEdit[];
}

export interface DocumentDeleteCall extends Call {
  readonly op: 'documentDelete';
  readonly document: string;
}

/** By exact text, so that edits merge with what others type meanwhile. `find` must occur exactly once. */
export type DocumentEdit =
  | { readonly kind: 'replace'; readonly find: string; readonly text: string }
  | { readonly kind: 'insert_after'; readonly find: string; readonly text: string }
  | { readonly kind: 'append'; readonly text: string };

export type BoardCall =
  | ReadCall
  | WriteCall
  | CompareAndSetCall
  | DeleteCall
  | ListCall
  | AppendCall
  | WaitCall
  | DocumentReadCall
  | DocumentEditCall
  | DocumentDeleteCall;

/** One entry as readers see it. For a log key `value` is the list of its items, oldest first. */
export interface Entry {
  readonly key: string;
  readonly value: Json;
  /** `agent@machine-node-id`'s agent part. */
  readonly author: string;
  /** Node that wrote it. */
  readonly node: string;
  /** ISO 8601 in UTC, from the writer's clock. */
  readonly writtenAt: string;
  /** Grows with every write to the key: on a crdt board the hybrid logical clock packed into a safe integer, on a quorum board the store's revision. */
  readonly revision: number;
  readonly expiresAt?: string;
}

export type ReadAnswer =
  | ({ readonly found: true; readonly session: string; readonly level?: Level } & Entry)
  | {
      readonly found: false;
      readonly session: string;
      readonly revision: number;
      /** At which a board of mode quorum answered. */
      readonly level?: Level;
    };
export interface WriteAnswer {
  readonly revision: number;
  readonly session: string;
}
export interface DeleteAnswer extends WriteAnswer {
  readonly deleted: boolean;
}
export interface ListAnswer {
  readonly entries: readonly Entry[];
  readonly cursor?: string;
  readonly session: string;
  /** At which a board of mode quorum answered. */
  readonly level?: Level;
}
export interface Change {
  readonly key: string;
  readonly revision: number;
  readonly deleted: boolean;
  readonly entry?: Entry;
}
export interface WaitAnswer {
  readonly changes: readonly Change[];
  readonly cursor: string;
  readonly session: string;
}
export interface DocumentAnswer {
  readonly text: string;
  /** Grows with every change that this node has seen of the document; not comparable between nodes. */
  readonly revision: number;
  readonly session: string;
}

export interface BoardAnswers {
  read: ReadAnswer;
  write: WriteAnswer;
  compareAndSet: WriteAnswer;
  delete: DeleteAnswer;
  list: ListAnswer;
  append: WriteAnswer;
  wait: WaitAnswer;
  documentRead: DocumentAnswer;
  documentEdit: DocumentAnswer;
  /** `revision` as that of a `DocumentAnswer`. */
  documentDelete: DeleteAnswer;
}

/** The blackboard as its users hold it. */
export interface Blackboard {
  call<C extends BoardCall>(
    call: C,
    writer: Writer,
    signal?: AbortSignal,
  ): Promise<Result<BoardAnswers[C['op']]>>;
  /** Boards with their mode and size, sorted by name. */
  boards(): readonly BoardInfo[];
  /** Calls back for every visible change from now on, in this node's order; the returned function ends it. */
  watch(board: BoardName, listener: (changes: readonly Change[]) => void): () => void;
}

export interface BoardInfo {
  readonly name: BoardName;
  readonly mode: 'crdt' | 'quorum';
  readonly keys: number;
  readonly bytes: number;
  /** Names of its free documents, deleted ones left out, the first `limits.listedDocuments` in their order; a board of mode quorum has none. */
  readonly documents?: readonly string[];
  /** All of these names, sorted. */
  readonly allDocuments?: () => readonly string[];
}

/** One item of a client's lane, at a clock of its client; without `entry` where it is malformed. */
export interface ClientWrite {
  readonly clock: number;
  readonly entry?:
    | {
        readonly kind: 'set';
        readonly key: string;
        readonly revision: number;
        readonly value: Json;
        readonly ttlSeconds?: number;
      }
    | { readonly kind: 'delete'; readonly key: string; readonly revision: number };
}

export interface ClientUpdate {
  /** Whose lane the connection has from now on. */
  readonly lane: number | undefined;
  readonly writes: readonly ClientWrite[];
  /** The update held something else that would change the document; it is not done. */
  readonly foreign: boolean;
}

/** Yjs documents of a board, for the y-websocket endpoint. `document: undefined` is the entries document. */
export interface YjsAccess {
  stateVector(board: BoardName, document: string | undefined): Uint8Array;
  /** A Yjs update (v1) with what the holder of `stateVector` lacks. */
  encodeState(
    board: BoardName,
    document: string | undefined,
    stateVector: Uint8Array | undefined,
  ): Uint8Array;
  /**
   * What a client wrote into the entries: `lane` is the one that its connection has, if any yet. `undefined` where it is
   * malformed. Carry the writes out as calls with a stamp.
   */
  readEntries(board: BoardName, update: Uint8Array, lane: number | undefined): ClientUpdate | undefined;
  /** Gated: refused where it is malformed or too large, and for the entries always. */
  applyUpdate(
    board: BoardName,
    document: string | undefined,
    update: Uint8Array,
    writer: Writer,
  ): Promise<Result<void>>;
  /** A document was deleted, and nothing has begun it anew: whoever holds it cannot write into it any more. */
  isDeleted(board: BoardName, document: string): boolean;
  /** Calls back with every Yjs update that this node takes in, whoever made it. */
  observe(board: BoardName, document: string | undefined, listener: (update: Uint8Array) => void): () => void;
}
