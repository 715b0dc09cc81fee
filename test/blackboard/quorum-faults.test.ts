/**
 * Boards of mode quorum under random faults, against an oracle that has the whole history: nodes are held back, cut off
 * and thrown forward by snapshots while they write, read and wait.
 */
import { describe, expect, it } from 'vitest';
import type { BoardCall, Change } from '../../src/blackboard/api.ts';
import { QuorumBoards } from '../../src/blackboard/quorum-boards.ts';
import type { AgentId, BoardName, NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import type { KeyChange } from '../../src/quorum/port.ts';
import { Register } from '../../src/quorum/register/register.ts';
import { ManualClock, SingleStore, type StoreConnection, settled } from '../support/single-store.ts';

const BOARD = 'tasks' as BoardName;
const RANGE = { from: 'b/tasks/', to: 'b/tasks0' };
const KEYS = ['a', 'b', 'b/1', 'c', '\uffee', '😀'];

class Follower {
  readonly store: StoreConnection;
  readonly boards: QuorumBoards;
  /** What it was told since it last began anew, and from which revision on. */
  told: Change[] = [];
  since = 0;
  cursor: string | undefined;
  restarts = 0;
  readonly lastRead = new Map<string, number>();
  #isOver = false;

  constructor(name: string, store: SingleStore, clock: ManualClock) {
    this.store = store.connect();
    this.boards = new QuorumBoards({
      store: this.store,
      clock,
      entropy: { bytes: (length) => new Uint8Array(length).fill(name.charCodeAt(0)) },
      self: name as NodeId,
      boards: [{ name: BOARD, quotaKeys: limits.boardKeys, quotaBytes: limits.boardBytes }],
      onFault: (error) => {
        throw error;
      },
    });
    this.boards.start();
  }

  call<C extends BoardCall>(call: C) {
    return this.boards.call(call, { agent: 'x' as AgentId });
  }

  /** Waits on and on from cursor to cursor, and begins anew where it is told that history is gone. */
  async follow(): Promise<void> {
    while (!this.#isOver) {
      const from = this.cursor === undefined ? {} : { cursor: this.cursor };
      const wait = {
        op: 'wait',
        board: BOARD,
        prefix: '',
        timeoutMs: this.cursor === undefined ? 0 : 30,
      } as const;
      const answer = await this.call({ ...wait, ...from });
      if (!answer.ok) {
        if (answer.error.code === 'UNREACHABLE') return;
        expect(answer.error.code).toBe('NOT_FOUND');
        expect(answer.error.details?.compactedRevision).toEqual(expect.any(Number));
        this.cursor = undefined;
        this.restarts++;
        continue;
      }
      if (this.cursor === undefined) {
        this.told = [];
        this.since = revisionOf(answer.value.cursor);
      }
      this.told.push(...answer.value.changes);
      this.cursor = answer.value.cursor;
    }
  }

  end(): void {
    this.#isOver = true;
  }
}

const revisionOf = (cursor: string) => Number.parseInt(cursor.split('.')[2] as string, 36);

/** Every change of the board, from the log of the store. */
function historyOf(store: SingleStore): KeyChange[] {
  const register = new Register({ ...store.bounds, quorumHistoryChanges: 1e9, quorumHistoryBytes: 1e12 });
  for (const [index, bytes] of store.log.entries()) register.apply(index + 1, bytes);
  const answer = register.changesFrom(register.compactRevision, RANGE, 1e9);
  if (answer.kind !== 'changes') throw new Error('the oracle forgot something');
  return answer.revisions.flatMap(({ changes }) => changes);
}

/** The revision of a key's entry as of a revision of the store; 0 where there is none. */
function entryAt(history: readonly KeyChange[], key: string, revision: number): number {
  const last = history.findLast(
    ({ entry }) => entry.key === `b/tasks/${key}` && entry.modRevision <= revision,
  );
  return last === undefined || last.kind === 'deleted' ? 0 : last.entry.modRevision;
}

async function act(
  rng: Rng,
  nodes: readonly Follower[],
  store: SingleStore,
  tokens: string[],
): Promise<void> {
  const node = rng.pick(nodes);
  const key = rng.pick(KEYS);
  const write: BoardCall = rng.pick<BoardCall>([
    { op: 'write', board: BOARD, key, value: rng.below(1_000) },
    { op: 'write', board: BOARD, key, value: 'short', ttlSeconds: 1 },
    { op: 'delete', board: BOARD, key },
    { op: 'append', board: BOARD, key: 'log', items: [rng.below(1_000)] },
    { op: 'compareAndSet', board: BOARD, key, expectedRevision: 0, value: 'claimed' },
  ]);
  const answer = await node.call(write);
  if (answer.ok) tokens.push((answer.value as { session: string }).session);
  else expect(['QUORUM_UNAVAILABLE', 'CONFLICT']).toContain(answer.error.code);
  await checkRead(node, key, store, rng.chance(0.5) && tokens.length > 0 ? rng.pick(tokens) : undefined);
}

async function checkRead(
  node: Follower,
  key: string,
  store: SingleStore,
  session: string | undefined,
): Promise<void> {
  const level = session === undefined ? 'eventual' : 'session';
  const reading = node.call({
    op: 'read',
    board: BOARD,
    key,
    level,
    ...(session === undefined ? {} : { session }),
  });
  const answer = await reading;
  if (!answer.ok) {
    expect(answer.error.code).toBe('SESSION_NOT_SATISFIED');
    return;
  }
  const history = historyOf(store);
  const { revision } = answer.value;
  if (session === undefined) {
    expect(history.some(({ entry }) => entry.modRevision === revision) || revision === 0).toBe(true);
    return;
  }
  const seen = Number.parseInt(session.split('.')[2] as string, 36);
  const newest = store.register.revision;
  const allowed = new Set<number>();
  for (let at = seen; at <= newest; at++) allowed.add(entryAt(history, key, at));
  expect([...allowed], `${key} at ${seen} to ${newest}`).toContain(revision);
}

function disturb(rng: Rng, node: Follower): void {
  const roll = rng.float();
  if (roll < 0.3) node.store.isHeld = !node.store.isHeld;
  else if (roll < 0.5) node.store.isCutOff = !node.store.isCutOff;
  else if (roll < 0.6) node.store.snapshot();
  node.store.follow();
}

describe('quorum boards under faults', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'every follower is told each revision once and in order, and sessions are kept (n=3, seed=%i) (K10, K11, K47)',
    async (seed) => {
      const rng = seededRng(seed);
      const clock = new ManualClock();
      const store = new SingleStore(clock, { quorumHistoryChanges: 20 });
      const nodes = ['a', 'b', 'c'].map((name) => new Follower(name, store, clock));
      await clock.advance(10);
      const following = nodes.map((node) => node.follow());
      const tokens: string[] = [];
      for (let step = 0; step < 80; step++) {
        if (rng.chance(0.2)) disturb(rng, rng.pick(nodes));
        const acting = act(rng, nodes, store, tokens);
        await clock.advance(rng.pick([0, 1, 60, 120]));
        await clock.advance(60);
        await acting;
      }
      for (const node of nodes) {
        node.store.isHeld = false;
        node.store.isCutOff = false;
        node.store.follow();
      }
      await clock.advance(5_000);
      const history = historyOf(store);
      for (const node of nodes) {
        const expected = history
          .filter(({ entry }) => entry.modRevision > node.since)
          .map(({ kind, entry }) => [
            entry.modRevision,
            entry.key.slice('b/tasks/'.length),
            kind === 'deleted',
          ]);
        expect(node.told.map(({ revision, key, deleted }) => [revision, key, deleted])).toEqual(expected);
        const listed = await node.call({ op: 'list', board: BOARD, level: 'eventual', limit: 1_000 });
        expect(listed.ok && listed.value.entries.map(({ key, revision }) => [key, revision])).toEqual(
          store.register
            .range(RANGE, 1_000)
            .found.map(({ key, modRevision }) => [key.slice('b/tasks/'.length), modRevision]),
        );
        node.end();
        node.boards.close();
      }
      await settled();
      await Promise.all(following);
    },
  );
});
