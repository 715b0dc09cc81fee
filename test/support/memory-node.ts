/**
 * A node in memory: the facades that the faces need, honestly implemented for one process, without mesh, disk or
 * gate. Tests of the faces run against it; `NodePorts` is all they know, so a real node can stand in.
 */
import { randomBytes } from 'node:crypto';
import * as Y from 'yjs';
import type { NodePorts } from '../../src/adapters/http/application.ts';
import { createMeter, type NodeMeter } from '../../src/adapters/node/meter.ts';
import type { AgentDirectory, AgentInfo, AgentRegistration } from '../../src/agents/api.ts';
import type {
  Blackboard,
  BoardAnswers,
  BoardCall,
  BoardInfo,
  Change,
  DocumentEdit,
  Entry,
  WaitCall,
  Writer,
  YjsAccess,
} from '../../src/blackboard/api.ts';
import { readClientUpdate } from '../../src/blackboard/client-lane.ts';
import { errorBody, fail, failWith, ok, type Result } from '../../src/kernel/errors.ts';
import type { AgentId, BoardName, NodeId } from '../../src/kernel/ids.ts';
import type { Json } from '../../src/kernel/json.ts';
import type { Clock } from '../../src/kernel/ports.ts';
import type { MeshStatus, MeshView, PeerInfo } from '../../src/mesh/view.ts';
import { NamedLeases } from '../../src/quorum/leases.ts';
import { MemoryBudgets } from './memory-budgets.ts';
import { SingleStore } from './single-store.ts';

export const MEMORY_NODE_ID = '12D3KooWMemoryMemoryMemoryMemoryMemoryMemoryMemoryMe' as NodeId;

export class RealClock implements Clock {
  now() {
    return { monoMs: performance.now(), wallMs: Date.now() };
  }
  callAt(atMs: number, callback: () => void): () => void {
    const timer = setTimeout(callback, Math.max(0, atMs - performance.now()));
    return () => clearTimeout(timer);
  }
}

interface MemoryBoard {
  readonly entries: Map<string, Entry>;
  readonly log: Change[];
  readonly listeners: Set<(changes: readonly Change[]) => void>;
}

export class MemoryBlackboard implements Blackboard {
  readonly #boards = new Map<BoardName, MemoryBoard>();
  readonly #yjs: MemoryYjs;
  #revision = 0;
  /** Waits that are open; tests look at it to see a cancellation arrive. */
  waiting = 0;

  constructor(yjs: MemoryYjs) {
    this.#yjs = yjs;
  }

  async call<C extends BoardCall>(
    call: C,
    writer: Writer,
    signal?: AbortSignal,
  ): Promise<Result<BoardAnswers[C['op']]>> {
    if (call.level === 'strong') {
      return failWith('LEVEL_NOT_OFFERED', 'This board is not a quorum board.', 'Use eventual or session.');
    }
    if (call.session !== undefined && !/^m\.\d+$/.test(call.session)) {
      return failWith('INVALID_ARGUMENT', 'The session token is not one of this swarm.', 'Leave it out.');
    }
    if (call.session !== undefined && Number(call.session.slice(2)) > this.#revision) {
      return failWith('SESSION_NOT_SATISFIED', 'This node is behind.', 'Try again.', { retryAfterMs: 50 });
    }
    const outcome = (await this.#run(call, writer, signal)) as Result<BoardAnswers[C['op']]>;
    return outcome;
  }

  boards(): readonly BoardInfo[] {
    return [...this.#boards]
      .map(([name, board]) => ({
        name,
        mode: 'crdt' as const,
        keys: board.entries.size,
        bytes: JSON.stringify([...board.entries.values()]).length,
      }))
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  watch(board: BoardName, listener: (changes: readonly Change[]) => void): () => void {
    const { listeners } = this.#board(board);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  listenersOf(board: string): number {
    return this.#boards.get(board as BoardName)?.listeners.size ?? 0;
  }

  async #run(call: BoardCall, writer: Writer, signal?: AbortSignal): Promise<Result<unknown>> {
    const board = this.#board(call.board);
    switch (call.op) {
      case 'read': {
        const entry = board.entries.get(call.key);
        if (entry === undefined) return ok({ found: false, session: this.#session(), revision: 0 });
        return ok({ found: true, session: this.#session(), ...entry });
      }
      case 'write':
        return ok(this.#put(call.board, call.key, call.value, writer));
      case 'compareAndSet': {
        const entry = board.entries.get(call.key);
        if ((entry?.revision ?? 0) === call.expectedRevision)
          return ok(this.#put(call.board, call.key, call.value, writer));
        return failWith('CONFLICT', 'The entry has changed.', 'Read it again.', {
          details: { entry: entry ?? null, revision: entry?.revision ?? 0 },
        });
      }
      case 'append': {
        const old = board.entries.get(call.key)?.value;
        const items = [...(Array.isArray(old) ? (old as Json[]) : []), ...call.items];
        return ok(this.#put(call.board, call.key, items, writer));
      }
      case 'delete': {
        const deleted = board.entries.delete(call.key);
        const revision = ++this.#revision;
        if (deleted) this.#changed(board, { key: call.key, revision, deleted: true });
        return ok({ deleted, revision, session: this.#session() });
      }
      case 'list': {
        const after = call.cursor === undefined ? '' : Buffer.from(call.cursor, 'base64url').toString();
        const all = [...board.entries.values()]
          .filter(({ key }) => key.startsWith(call.prefix ?? '') && key > after)
          .sort((left, right) => (left.key < right.key ? -1 : 1));
        const entries = all.slice(0, call.limit ?? 100);
        const last = entries.at(-1);
        const more = last !== undefined && entries.length < all.length;
        const cursor = more ? { cursor: Buffer.from(last.key).toString('base64url') } : {};
        return ok({ entries, ...cursor, session: this.#session() });
      }
      case 'wait':
        return this.#wait(board, call, signal);
      case 'documentRead':
        return ok(this.#document(call.board, call.document));
      case 'documentEdit':
        return this.#edit(call.board, call.document, call.edits);
      case 'documentDelete': {
        const deleted = this.#yjs.delete(call.board, call.document);
        const { revision, session } = this.#document(call.board, call.document);
        return ok({ deleted, revision, session });
      }
    }
  }

  #put(name: BoardName, key: string, value: Json, writer: Writer) {
    const board = this.#board(name);
    const revision = ++this.#revision;
    const entry: Entry = {
      key,
      value,
      author: writer.agent,
      node: MEMORY_NODE_ID,
      writtenAt: new Date().toISOString(),
      revision,
    };
    board.entries.set(key, entry);
    this.#yjs.mirror(name, key, value);
    this.#changed(board, { key, revision, deleted: false, entry });
    return { revision, session: this.#session() };
  }

  #changed(board: MemoryBoard, change: Change): void {
    board.log.push(change);
    for (const listener of board.listeners) listener([change]);
  }

  #wait(board: MemoryBoard, call: WaitCall, signal?: AbortSignal): Promise<Result<unknown>> {
    let from = call.cursor === undefined ? board.log.length : Number(call.cursor);
    if (call.afterRevision !== undefined && call.cursor === undefined) from = 0;
    const matching = () =>
      board.log
        .slice(from)
        .filter(
          ({ key, revision }) =>
            (call.key === undefined ? key.startsWith(call.prefix ?? '') : key === call.key) &&
            revision > (call.afterRevision ?? -1),
        );
    const answer = () =>
      ok({ changes: matching(), cursor: String(board.log.length), session: this.#session() });
    if (matching().length > 0 || call.timeoutMs === 0) return Promise.resolve(answer());
    this.waiting++;
    return new Promise((resolve) => {
      const finish = (outcome: Result<unknown>) => {
        this.waiting--;
        clearTimeout(timer);
        board.listeners.delete(onChange);
        signal?.removeEventListener('abort', onAbort);
        resolve(outcome);
      };
      const onChange = () => {
        if (matching().length > 0) finish(answer());
      };
      const onAbort = () => finish(fail(errorBody('TIMEOUT', 'The wait was cancelled.', 'Wait again.')));
      const timer = setTimeout(() => finish(answer()), call.timeoutMs);
      board.listeners.add(onChange);
      signal?.addEventListener('abort', onAbort);
    });
  }

  #document(board: BoardName, document: string) {
    const { text, revision } = this.#yjs.text(board, document);
    return { text, revision, session: this.#session() };
  }

  #edit(board: BoardName, document: string, edits: readonly DocumentEdit[]): Result<unknown> {
    const problem = this.#yjs.edit(board, document, edits);
    if (problem !== undefined) {
      return failWith('INVALID_ARGUMENT', `"${problem}" does not occur exactly once.`, 'Read it again.');
    }
    return ok(this.#document(board, document));
  }

  #board(name: BoardName): MemoryBoard {
    let board = this.#boards.get(name);
    if (board === undefined) {
      board = { entries: new Map(), log: [], listeners: new Set() };
      this.#boards.set(name, board);
    }
    return board;
  }

  #session(): string {
    return `m.${this.#revision}`;
  }
}

export class MemoryYjs implements YjsAccess {
  readonly #docs = new Map<string, Y.Doc>();
  readonly #revisions = new Map<string, number>();
  readonly #deleted = new Set<string>();

  stateVector(board: BoardName, document: string | undefined): Uint8Array {
    return Y.encodeStateVector(this.doc(board, document));
  }

  encodeState(board: BoardName, document: string | undefined, stateVector: Uint8Array | undefined) {
    return Y.encodeStateAsUpdate(this.doc(board, document), stateVector);
  }

  readEntries(_board: BoardName, update: Uint8Array, lane: number | undefined) {
    return readClientUpdate(update, lane, undefined, () => undefined);
  }

  async applyUpdate(
    board: BoardName,
    document: string | undefined,
    update: Uint8Array,
    _writer: Writer,
  ): Promise<Result<void>> {
    if (document === undefined) {
      return failWith('DENIED', 'Entries are written in a lane of one’s own.', 'Use board_write.');
    }
    Y.applyUpdate(this.doc(board, document), update);
    return ok(undefined);
  }

  observe(board: BoardName, document: string | undefined, listener: (update: Uint8Array) => void) {
    const doc = this.doc(board, document);
    doc.on('update', listener);
    return () => doc.off('update', listener);
  }

  mirror(board: BoardName, key: string, value: Json): void {
    this.doc(board, undefined).getMap('entries').set(key, value);
  }

  text(board: BoardName, document: string) {
    const name = JSON.stringify([board, document]);
    return {
      text: this.doc(board, document).getText('text').toString(),
      revision: this.#revisions.get(name) ?? 0,
    };
  }

  /** The passage that is not there exactly once, or nothing. */
  edit(board: BoardName, document: string, edits: readonly DocumentEdit[]): string | undefined {
    const doc = this.doc(board, document);
    const text = doc.getText('text');
    let planned = text.toString();
    const steps: { at: number; remove: number; insert: string }[] = [];
    for (const edit of edits) {
      const at = edit.kind === 'append' ? planned.length : planned.indexOf(edit.find);
      if (edit.kind !== 'append' && (at < 0 || planned.indexOf(edit.find, at + 1) >= 0)) return edit.find;
      const remove = edit.kind === 'replace' ? edit.find.length : 0;
      const start = edit.kind === 'insert_after' ? at + edit.find.length : at;
      steps.push({ at: start, remove, insert: edit.text });
      planned = planned.slice(0, start) + edit.text + planned.slice(start + remove);
    }
    doc.transact(() => {
      for (const { at, remove, insert } of steps) {
        text.delete(at, remove);
        text.insert(at, insert);
      }
    });
    return undefined;
  }

  delete(board: BoardName, document: string): boolean {
    const text = this.doc(board, document).getText('text');
    const { length } = text;
    this.#deleted.add(JSON.stringify([board, document]));
    text.delete(0, length);
    return length > 0;
  }

  isDeleted(board: BoardName, document: string): boolean {
    return this.#deleted.has(JSON.stringify([board, document]));
  }

  doc(board: BoardName, document: string | undefined): Y.Doc {
    const name = JSON.stringify([board, document]);
    let doc = this.#docs.get(name);
    if (doc === undefined) {
      doc = new Y.Doc();
      doc.on('update', () => this.#revisions.set(name, (this.#revisions.get(name) ?? 0) + 1));
      this.#docs.set(name, doc);
    }
    return doc;
  }
}

/** Told that a list may have changed. */
class Listeners {
  readonly #listeners = new Set<() => void>();

  add(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

export class MemoryAgents implements AgentDirectory {
  readonly #agents = new Map<string, AgentInfo>();
  readonly #listeners = new Listeners();

  async register(registration: AgentRegistration): Promise<Result<AgentInfo>> {
    const { agentId, capabilities, trustLevel = 0.9, endpoint, description } = registration;
    const info: AgentInfo = {
      agentId,
      machineId: MEMORY_NODE_ID,
      machineName: 'memory',
      capabilities,
      trustLevel,
      lastSeen: new Date().toISOString(),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(description === undefined ? {} : { description }),
    };
    this.#agents.set(agentId, info);
    this.#listeners.tell();
    return ok(info);
  }

  async heartbeat(agentId: AgentId): Promise<Result<AgentInfo>> {
    const known = this.#agents.get(agentId);
    if (known === undefined) {
      return failWith('NOT_FOUND', `Agent "${agentId}" is not registered here.`, 'Call agent_register.');
    }
    const info = { ...known, lastSeen: new Date().toISOString() };
    this.#agents.set(agentId, info);
    this.#listeners.tell();
    return ok(info);
  }

  watch(listener: () => void): () => void {
    return this.#listeners.add(listener);
  }

  discover({ capability, minTrust = 0 }: { capability?: string; minTrust?: number }) {
    return [...this.#agents.values()]
      .filter((agent) => capability === undefined || agent.capabilities.includes(capability))
      .filter((agent) => agent.trustLevel >= minTrust)
      .sort((left, right) => (left.agentId < right.agentId ? -1 : 1));
  }
}

export class MemoryMesh implements MeshView {
  readonly #listeners = new Listeners();
  #members: PeerInfo[] = [
    {
      nodeId: MEMORY_NODE_ID,
      name: 'memory',
      roles: ['worker'],
      zone: 'local',
      state: 'alive',
      addresses: [],
      self: true,
    },
  ];

  get members(): PeerInfo[] {
    return this.#members;
  }

  set members(members: PeerInfo[]) {
    this.#members = members;
    this.#listeners.tell();
  }

  peers(): readonly PeerInfo[] {
    return this.#members;
  }

  watch(listener: () => void): () => void {
    return this.#listeners.add(listener);
  }

  status(): MeshStatus {
    return {
      nodeId: MEMORY_NODE_ID,
      name: 'memory',
      swarm: '0123456789abcdef',
      roles: ['worker'],
      version: '0.1.0',
      startedAt: '2026-01-01T00:00:00.000Z',
      meshAddresses: [],
      links: 0,
      problems: [{ code: 'NO_PEERS', message: 'No other node is in reach.', hint: 'Start a second node.' }],
    };
  }
}

export interface MemoryNode extends NodePorts {
  readonly blackboard: MemoryBlackboard;
  readonly yjs: MemoryYjs;
  readonly agents: MemoryAgents;
  readonly mesh: MemoryMesh;
  readonly leases: NamedLeases;
  readonly budgets: MemoryBudgets;
  readonly meter: NodePorts['meter'] & { readonly counters: NodeMeter };
}

export function memoryNode(): MemoryNode {
  const yjs = new MemoryYjs();
  const counters = createMeter();
  const clock = new RealClock();
  return {
    yjs,
    blackboard: new MemoryBlackboard(yjs),
    agents: new MemoryAgents(),
    mesh: new MemoryMesh(),
    meter: { counters, text: () => counters.render() },
    leases: new NamedLeases(new SingleStore(clock).connect(), clock),
    budgets: new MemoryBudgets(MEMORY_NODE_ID),
    clock,
  };
}

export const QUIET = { log: () => {} };

export const IDENTITY = { name: 'skein', version: '0.1.0' };

/** Waits for a condition; fails with `what` when it does not come true in time. */
export async function until(condition: () => boolean, what: string, withinMs = 5_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function randomName(prefix: string): string {
  return `${prefix}-${randomBytes(4).toString('hex')}`;
}
