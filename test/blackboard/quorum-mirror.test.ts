import { describe, expect, it } from 'vitest';
import type { EntryChange } from '../../src/blackboard/quorum-content.ts';
import { QuorumHistory } from '../../src/blackboard/quorum-history.ts';
import { storeKey } from '../../src/blackboard/quorum-keys.ts';
import { QuorumMirror } from '../../src/blackboard/quorum-mirror.ts';
import type { BoardName } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Operation } from '../../src/quorum/port.ts';
import { ManualClock, SingleStore, settled } from '../support/single-store.ts';

const BOARD = 'tasks' as BoardName;
const key = (index: number) => `k${String(index).padStart(3, '0')}`;
const RANGE = { from: 'b/tasks/', to: 'b/tasks0' };

function keysWith(store: SingleStore, ...operations: Operation[]): number {
  return store.transact({ compares: [], then: operations, otherwise: [] }).revision;
}
const put = (index: number, byte: number): Operation => ({
  op: 'put',
  key: storeKey(BOARD, key(index)),
  value: Uint8Array.of(byte),
});
const remove = (index: number): Operation => ({ op: 'delete', key: storeKey(BOARD, key(index)) });

function contentOf(store: SingleStore): string[] {
  return store.register.range(RANGE, 1_000).found.map(({ key, modRevision }) => `${key}@${modRevision}`);
}

describe('the mirror of quorum boards', () => {
  it.each(['overwritten', 'deleted', 'deleted and written again', 'created'] as const)(
    'shows nothing but states that the store had, though keys are %s while it is filled page by page',
    async (what) => {
      const clock = new ManualClock();
      const store = new SingleStore(clock);
      for (let index = 0; index < 200; index += 2) keysWith(store, put(index, 1));
      const states = new Map<number, string[]>();
      const remember = () => states.set(store.register.revision, contentOf(store));
      remember();
      const connection = store.connect();
      let page = 0;
      connection.beforeRange = () => {
        page++;
        // One of those already read, and one of those still to come.
        for (const index of [2 * page, 200 - 2 * page]) {
          if (what === 'created') keysWith(store, put(index + 1, 2));
          else keysWith(store, what === 'overwritten' ? put(index, 2) : remove(index));
          remember();
          if (what === 'deleted and written again') keysWith(store, put(index, 3));
          remember();
        }
      };
      const shown: string[] = [];
      const mirror = new QuorumMirror(connection, clock, {
        changed: () => shown.push('changed'),
        refilled: () => shown.push('refilled'),
      });
      mirror.start();
      const check = () => {
        const { content, revision, isFilled } = mirror;
        if (!isFilled) return;
        const keys = [...content.keysFrom(BOARD, '', '')];
        const found = keys.map((each) => `${storeKey(BOARD, each)}@${content.get(BOARD, each)?.modRevision}`);
        expect(found, `at ${revision}`).toEqual(states.get(revision));
        expect(content.size(BOARD).keys).toBe(found.length);
      };
      for (let turn = 0; turn < 50; turn++) {
        await Promise.resolve();
        check();
      }
      await settled();
      check();
      expect(page).toBeGreaterThan(2);
      expect(mirror.revision).toBe(store.register.revision);
      expect(shown).toEqual([]);
      mirror.close();
    },
  );

  it('tries again where the copy cannot be read, and is filled once it can', async () => {
    const clock = new ManualClock();
    const store = new SingleStore(clock);
    keysWith(store, put(1, 1));
    const connection = store.connect();
    const { range } = connection;
    let failures = 3;
    connection.range = (...args) => {
      if (failures-- > 0)
        return Promise.resolve({
          ok: false,
          error: { code: 'QUORUM_UNAVAILABLE', message: '', hint: '', retryable: true },
        });
      return range.apply(connection, args);
    };
    const mirror = new QuorumMirror(connection, clock, { changed: () => {}, refilled: () => {} });
    mirror.start();
    const waiting = mirror.reached(0, 2_000);
    await clock.advance(2_000);
    expect(await waiting).toBe(true);
    expect(mirror.content.get(BOARD, key(1))).toBeDefined();
    mirror.close();
  });
});

describe('the history of quorum boards', () => {
  const change = (revision: number, bytes = 0): EntryChange => ({
    board: BOARD,
    key: 'k',
    deleted: false,
    stored: {
      key: 'b/tasks/k',
      value: new Uint8Array(bytes),
      createRevision: 1,
      modRevision: revision,
      version: 1,
      lease: 0,
    },
  });
  const all = () => true;
  const revisions = (told: { changes: readonly EntryChange[] } | undefined) =>
    told?.changes.map(({ stored }) => stored.modRevision);

  it('begins behind the revision at which it was reset, and knows nothing of what came before', () => {
    const history = new QuorumHistory();
    history.reset(10);
    history.add(12, [change(12)]);
    expect(history.since(9, 12, all, 10)).toBeUndefined();
    expect(revisions(history.since(10, 12, all, 10))).toEqual([12]);
    expect(revisions(history.since(12, 12, all, 10))).toEqual([]);
  });

  it('tells whole revisions up to the limit, and where to go on', () => {
    const history = new QuorumHistory();
    history.add(1, [change(1)]);
    history.add(2, [change(2), change(2)]);
    history.add(3, [change(3)]);
    const first = history.since(0, 5, all, 2);
    expect([revisions(first), first?.upTo]).toEqual([[1, 2, 2], 2]);
    const second = history.since(2, 5, all, 2);
    expect([revisions(second), second?.upTo]).toEqual([[3], 5]);
  });

  it.each([
    ['changes', limits.quorumMirrorChanges + 5, 0],
    ['bytes', 40, limits.quorumMirrorBytes / 32],
  ])('is bounded in %s: the oldest go, and that is said', (_, count, bytes) => {
    const history = new QuorumHistory();
    for (let revision = 1; revision <= count; revision++) history.add(revision, [change(revision, bytes)]);
    const { start } = history;
    expect(start).toBeGreaterThan(0);
    expect(history.since(start - 1, count, all, 10)).toBeUndefined();
    expect(revisions(history.since(start, count, all, 1))).toEqual([start + 1]);
    expect(revisions(history.since(count - 1, count, all, 10))).toEqual([count]);
  });
});
