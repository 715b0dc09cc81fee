/** Every board of this node, and whose lanes are whose. */
import type { BoardName, NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { LanesBody } from '../replication/record.ts';
import { Board, type BoardConfig } from './board.ts';
import type { Lane } from './lane.ts';

/** Whose incarnation is whose, from signed records. */
export interface LanesView {
  ownerOf(incarnation: number): NodeId | undefined;
  of(node: NodeId): LanesBody | undefined;
}

/** Boards without room that are remembered, to be told of. */
const UNKEPT = 16;

export class BoardStore {
  readonly self: NodeId;
  readonly incarnation: number;
  readonly boards = new Map<BoardName, Board>();
  /** Incarnations whose lanes were folded away, with their owner. */
  readonly retired = new Map<number, NodeId>();
  /** This node's incarnations: those of earlier runs, and the running one. */
  readonly own: Set<number>;
  /** Of these, those that came back from others although this disk knew nothing of them. */
  readonly adopted = new Set<number>();
  readonly #declared: ReadonlyMap<string, BoardConfig>;
  readonly #lanes: LanesView;
  #documents: { readonly version: number } = { version: 0 };
  /** Copies of lanes that were discarded to be fetched anew, in this run. */
  resets = 0;
  /** On whose account a board that is not declared here is kept. */
  readonly #accounts = new Map<BoardName, NodeId>();
  readonly #unkept = new Map<BoardName, NodeId>();

  constructor(self: NodeId, incarnation: number, declared: readonly BoardConfig[], lanes: LanesView) {
    this.self = self;
    this.incarnation = incarnation;
    this.own = new Set([incarnation]);
    this.#declared = new Map(declared.map((config) => [config.name, config]));
    this.#lanes = lanes;

    for (const { name } of declared) this.board(name as BoardName);
  }

  /** Free documents count in `version` too. */
  follow(documents: { readonly version: number }): void {
    this.#documents = documents;
  }

  /** Grows with every change of anything that neighbours compare. */
  get version(): number {
    let version = this.#documents.version;
    for (const board of this.boards.values()) version += board.version;
    return version;
  }

  /** Something of one's own waits to be pushed. */
  get hasPending(): boolean {
    for (const board of this.boards.values()) if (board.hasPending) return true;
    return false;
  }

  isDeclared(name: BoardName): boolean {
    return this.#declared.has(name);
  }

  config(name: BoardName): BoardConfig | undefined {
    return this.#declared.get(name);
  }

  find(name: BoardName): Board | undefined {
    return this.boards.get(name);
  }

  /** The board, made on demand; `undefined` where there are too many. */
  board(name: BoardName): Board | undefined {
    let board = this.boards.get(name);
    if (board === undefined && this.boards.size < limits.boards) {
      board = this.#make(name);
      this.boards.set(name, board);
    }
    return board;
  }

  /** The board, or one that is not kept yet: see `keep`. */
  draft(name: BoardName): Board {
    return this.boards.get(name) ?? this.#make(name);
  }

  /**
   * Keeps a draft on somebody's account: `known` where it was kept before, `full` where there are too many, in all or
   * of this owner.
   */
  keep(board: Board, owner: NodeId): 'known' | 'kept' | 'full' {
    if (this.boards.has(board.name)) return 'known';
    const isFull = this.boards.size >= limits.boards || this.#countOf(owner) >= limits.boardsPerOwner;
    if (isFull) {
      if (this.#unkept.size < UNKEPT) this.#unkept.set(board.name, owner);
      return 'full';
    }
    this.boards.set(board.name, board);
    this.#accounts.set(board.name, owner);
    this.#unkept.delete(board.name);
    return 'kept';
  }

  /** Boards that found no room, the first few of them, and on whose account they would have been. */
  get unkept(): ReadonlyMap<BoardName, NodeId> {
    return this.#unkept;
  }

  #countOf(owner: NodeId): number {
    let count = 0;
    for (const board of this.boards.values()) {
      if (!this.isDeclared(board.name) && this.#accountOf(board) === owner) count++;
    }
    return count;
  }

  /** Of a board from the disk, the owner of its first lane. */
  #accountOf(board: Board): NodeId | undefined {
    const account = this.#accounts.get(board.name);
    if (account !== undefined) return account;
    const [first] = board.lanes.keys();
    return first === undefined ? undefined : this.ownerOf(first);
  }

  #make(name: BoardName): Board {
    return new Board(name, this.#declared.get(name), (on, incarnation) => this.isGone(on, incarnation));
  }

  /** A lane of a board, made on demand. */
  lane(board: Board, incarnation: number): Lane {
    const known = board.lanes.get(incarnation);
    if (known !== undefined) return known;
    const lane = board.lane(incarnation);
    lane.running = incarnation === this.incarnation;
    this.#claim(lane);
    return lane;
  }

  #claim(lane: Lane): void {
    lane.owner = this.ownerOf(lane.incarnation);
    if (lane.owner === this.self && !this.own.has(lane.incarnation) && !this.retired.has(lane.incarnation)) {
      // Written before this node lost its disk: its own all the same.
      this.own.add(lane.incarnation);
      this.adopted.add(lane.incarnation);
    }
    lane.own = this.own.has(lane.incarnation);
  }

  ownerOf(incarnation: number): NodeId | undefined {
    if (this.own.has(incarnation)) return this.self;
    return this.#lanes.ownerOf(incarnation) ?? this.retired.get(incarnation);
  }

  /** What the node says of its lanes. */
  bodyOf(node: NodeId): LanesBody | undefined {
    return this.#lanes.of(node);
  }

  /** True for a lane that its owner folded away, once this board has reached what it was folded into. */
  isGone(board: Board, incarnation: number): boolean {
    const owner = this.retired.get(incarnation);
    return owner !== undefined && this.hasFolded(board, owner);
  }

  /**
   * True where its owner folded the lane away, and had as much of it as `clock` says then. An owner that ran on an old
   * disk had less: then what others hold counts.
   */
  isFolded(board: Board, incarnation: number, clock: number): boolean {
    const owner = this.retired.get(incarnation);
    if (owner === undefined) return false;
    const body = this.#lanes.of(owner);
    const folded = body === undefined ? undefined : foldedAt(body, board.name, incarnation);
    return folded === undefined || clock <= folded;
  }

  /** The lane is in use after all: its owner says so, or, of one's own, more of it came back than was folded. */
  revive(incarnation: number, owner: NodeId): void {
    if (this.retired.get(incarnation) === owner) this.retired.delete(incarnation);
  }

  /** True where this board has reached every lane that the node folded others into. */
  hasFolded(board: Board, owner: NodeId): boolean {
    const body = this.#lanes.of(owner);
    if (body === undefined) return false;
    return foldedInto(body, board.name).every(([incarnation, clock]) => board.clockOf(incarnation) >= clock);
  }

  /** Learns owners that were not known when a lane was loaded. */
  adopt(owner: NodeId): void {
    for (const board of this.boards.values()) {
      let isMore = false;
      for (const lane of board.lanes.values()) {
        if (lane.owner !== undefined || this.ownerOf(lane.incarnation) !== owner) continue;
        this.#claim(lane);
        isMore ||= lane.own;
      }
      if (isMore) board.view.reclaim();
    }
  }
}

/**
 * Keys of `LanesBody.folded`: `@incarnation` (with 0) for a lane that was folded away; `board@incarnation` for a
 * listed lane with the clock that a copy must have reached, for one folded away with the clock that it had then.
 */
function foldedInto(body: LanesBody, board: BoardName): readonly (readonly [number, number])[] {
  const prefix = `${board}@`;
  const listed = new Set(body.incarnations);
  return Object.entries(body.folded).flatMap(([key, clock]) => {
    if (!key.startsWith(prefix)) return [];
    const incarnation = Number(key.slice(prefix.length));
    return listed.has(incarnation) ? [[incarnation, clock] as const] : [];
  });
}

/** The clock that a lane had when its owner folded it away; `undefined` where it did not. */
export function foldedAt(body: LanesBody, board: BoardName, incarnation: number): number | undefined {
  if (body.folded[`@${incarnation}`] === undefined) return undefined;
  return body.folded[`${board}@${incarnation}`] ?? 0;
}

export function retiredIn(body: LanesBody): readonly number[] {
  return Object.keys(body.folded).flatMap((key) => (key.startsWith('@') ? [Number(key.slice(1))] : []));
}
