/**
 * Who must be told that a resource changed.
 *
 * Intuition: a subscriber wants the first change at once and does not want a thousand notices for a thousand
 * writes. So an update goes out immediately, and what follows within `limits.resourceUpdateMs` is told once, at
 * the end of that time. The last change is always told.
 *
 * Boards say what changed. Of the nodes and the agents it is only said that something may have: while someone is
 * subscribed to them, what a reader would see is compared with what it was, and heartbeats tell nobody.
 */
import type { Change } from '../blackboard/api.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { NodeFaces } from './faces.ts';
import { parseResourceUri, RESOURCE_URIS, type ResourceTarget } from './resources.ts';

type Listener = (uri: string) => void;

interface Watched {
  readonly uri: string;
  readonly target: ResourceTarget;
  readonly listeners: Set<Listener>;
  toldAtMs: number;
  cancelTimer: (() => void) | undefined;
}

/** A list of the mesh that someone is subscribed to. */
interface ListWatch {
  stop: () => void;
  /** What a reader saw when it was last compared. */
  seen: string;
  comparedAtMs: number;
  cancelTimer: (() => void) | undefined;
}

/** All budgets that someone is subscribed to, by name. */
interface BudgetWatch {
  readonly stop: () => void;
  readonly byName: Map<string, Watched>;
}

interface BoardWatch {
  readonly stop: () => void;
  /** Resources to tell of by key, and under `undefined` those of the whole board. */
  readonly byKey: Map<string | undefined, Set<Watched>>;
}

export class ResourceUpdates {
  readonly #faces: NodeFaces;
  readonly #watched = new Map<string, Watched>();
  readonly #boards = new Map<BoardName, BoardWatch>();
  readonly #lists = new Map<'nodes' | 'agents', ListWatch>();
  #budgets: BudgetWatch | undefined;

  constructor(faces: NodeFaces) {
    this.#faces = faces;
  }

  /** Calls back at every (coalesced) change of the resource from now on; the returned function ends it. */
  watch(uri: string, listener: Listener): Result<() => void> {
    const target = parseResourceUri(uri);
    if (target === undefined) {
      return failWith(
        'NOT_FOUND',
        `There is no resource ${JSON.stringify(uri.slice(0, 256))}.`,
        RESOURCE_URIS,
      );
    }
    let watched = this.#watched.get(uri);
    if (watched === undefined) {
      if (this.#watched.size >= limits.subscriptions) {
        return failWith(
          'RATE_LIMITED',
          'Too many resources are subscribed to on this node.',
          'Subscribe to whole boards instead of their entries.',
        );
      }
      watched = {
        uri,
        target,
        listeners: new Set(),
        toldAtMs: Number.NEGATIVE_INFINITY,
        cancelTimer: undefined,
      };
      this.#watched.set(uri, watched);
      this.#begin(watched);
    }
    const entry = watched;
    const own: Listener = (changed) => listener(changed);
    entry.listeners.add(own);
    return ok(() => {
      if (entry.listeners.delete(own) && entry.listeners.size === 0) this.#end(entry);
    });
  }

  /** Resources that someone is subscribed to. */
  get size(): number {
    return this.#watched.size;
  }

  close(): void {
    for (const watched of [...this.#watched.values()]) this.#end(watched);
  }

  #begin(watched: Watched): void {
    const { target } = watched;
    if (target.kind === 'nodes' || target.kind === 'agents') {
      this.#beginList(target.kind, watched);
      return;
    }
    if (target.kind === 'budget') {
      this.#budgets ??= this.#beginBudgets();
      this.#budgets.byName.set(target.budget, watched);
      return;
    }
    let board = this.#boards.get(target.board);
    if (board === undefined) {
      const byKey: BoardWatch['byKey'] = new Map();
      const stop = this.#faces.blackboard.watch(target.board, (changes) =>
        this.#boardChanged(byKey, changes),
      );
      board = { stop, byKey };
      this.#boards.set(target.board, board);
    }
    const key = target.kind === 'entry' ? target.key : undefined;
    const set = board.byKey.get(key) ?? new Set();
    set.add(watched);
    board.byKey.set(key, set);
  }

  #end(watched: Watched): void {
    watched.cancelTimer?.();
    this.#watched.delete(watched.uri);
    const { target } = watched;
    if (target.kind === 'nodes' || target.kind === 'agents') {
      const list = this.#lists.get(target.kind);
      list?.cancelTimer?.();
      list?.stop();
      this.#lists.delete(target.kind);
      return;
    }
    if (target.kind === 'budget') {
      this.#budgets?.byName.delete(target.budget);
      if (this.#budgets?.byName.size !== 0) return;
      this.#budgets.stop();
      this.#budgets = undefined;
      return;
    }
    const board = this.#boards.get(target.board);
    const key = target.kind === 'entry' ? target.key : undefined;
    const set = board?.byKey.get(key);
    set?.delete(watched);
    if (set?.size === 0) board?.byKey.delete(key);
    if (board?.byKey.size === 0) {
      board.stop();
      this.#boards.delete(target.board);
    }
  }

  #beginBudgets(): BudgetWatch {
    const byName: BudgetWatch['byName'] = new Map();
    const { budgets } = this.#faces;
    const told = (budget: string) => {
      const watched = byName.get(budget);
      if (watched !== undefined) this.#changed(watched);
    };
    const stops = [budgets?.watch(told), budgets?.onThreshold(({ budget }) => told(budget))];
    const stop = () => {
      for (const end of stops) end?.();
    };
    return { byName, stop };
  }

  #boardChanged(byKey: BoardWatch['byKey'], changes: readonly Change[]): void {
    for (const watched of byKey.get(undefined) ?? []) this.#changed(watched);
    if (byKey.size === (byKey.has(undefined) ? 1 : 0)) return;
    for (const { key } of changes) for (const watched of byKey.get(key) ?? []) this.#changed(watched);
  }

  #changed(watched: Watched): void {
    if (watched.cancelTimer !== undefined) return;
    const { clock } = this.#faces;
    const nowMs = clock.now().monoMs;
    const dueMs = watched.toldAtMs + limits.resourceUpdateMs;
    if (nowMs >= dueMs) {
      this.#tell(watched, nowMs);
      return;
    }
    watched.cancelTimer = clock.callAt(dueMs, () => {
      watched.cancelTimer = undefined;
      this.#tell(watched, clock.now().monoMs);
    });
  }

  #tell(watched: Watched, nowMs: number): void {
    watched.toldAtMs = nowMs;
    for (const listener of [...watched.listeners]) listener(watched.uri);
  }

  #beginList(kind: 'nodes' | 'agents', watched: Watched): void {
    const { clock, mesh, agents } = this.#faces;
    const list: ListWatch = {
      stop: () => undefined,
      seen: this.#snapshot(kind),
      comparedAtMs: Number.NEGATIVE_INFINITY,
      cancelTimer: undefined,
    };
    this.#lists.set(kind, list);
    const compare = () => {
      list.cancelTimer = undefined;
      list.comparedAtMs = clock.now().monoMs;
      const now = this.#snapshot(kind);
      if (now === list.seen) return;
      list.seen = now;
      this.#changed(watched);
    };
    // A snapshot costs as much as the list is long, and changes come in bursts.
    list.stop = (kind === 'nodes' ? mesh : agents).watch(() => {
      if (list.cancelTimer !== undefined) return;
      const dueMs = list.comparedAtMs + limits.resourceUpdateMs;
      if (clock.now().monoMs >= dueMs) compare();
      else list.cancelTimer = clock.callAt(dueMs, compare);
    });
  }

  /** What a reader would call a change: not the round-trip time and not the last sign of life. */
  #snapshot(kind: 'nodes' | 'agents'): string {
    if (kind === 'nodes') {
      return JSON.stringify(this.#faces.mesh.peers().map(({ rttMs: _, ...peer }) => peer));
    }
    return JSON.stringify(this.#faces.agents.discover({}).map(({ lastSeen: _, ...agent }) => agent));
  }
}
