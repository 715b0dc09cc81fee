import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { BudgetEvent } from '../../src/budget/messages.ts';
import type { Result } from '../../src/kernel/errors.ts';
import { failWith } from '../../src/kernel/errors.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Entropy } from '../../src/kernel/ports.ts';
import { budgetSettings, drawnNumbers, freshNumber, placeOf } from '../../src/node/budget-face.ts';
import { BudgetStore } from '../../src/node/budget-store.ts';
import type { KeyRange, QuorumStore, RangeAnswer, Transaction } from '../../src/quorum/port.ts';
import { ManualClock, SingleStore, settled } from '../support/single-store.ts';

class Following {
  readonly clock = new ManualClock();
  readonly single = new SingleStore(this.clock);
  readonly events: BudgetEvent[] = [];
  readonly faults: unknown[] = [];
  readonly store: BudgetStore;

  /** `change` replaces some of what the store does. */
  constructor(change: (store: QuorumStore) => Partial<QuorumStore> = () => ({})) {
    const inner = this.single.connect();
    const changed = change(inner);
    const store = new Proxy(inner, {
      get: (target, name) => {
        const found = Reflect.get(changed, name) ?? Reflect.get(target, name);
        return typeof found === 'function' ? found.bind(target) : found;
      },
    }) as QuorumStore;
    this.store = new BudgetStore({
      store,
      clock: this.clock,
      deliver: (event) => this.events.push(event),
      onFault: (error) => this.faults.push(error),
    });
  }

  put(key: string): void {
    this.single.transact(putting(key));
  }

  get reads(): readonly (readonly string[])[] {
    return this.events.flatMap((event) =>
      event.kind === 'storeRead' ? [event.entries.map(({ key }) => key)] : [],
    );
  }

  get changes(): readonly string[] {
    return this.events.flatMap((event) =>
      event.kind === 'storeChanged' ? event.changes.map(({ entry }) => entry.key) : [],
    );
  }
}

function putting(key: string): Transaction {
  return { compares: [], then: [{ op: 'put', key, value: Uint8Array.of(1) }], otherwise: [] };
}

describe('the quorum store as budgets see it', () => {
  it('is read once, and then every change under budget/ is told, and no other', async () => {
    const following = new Following();
    following.put('budget/a');
    following.put('other/b');
    following.store.start();
    await settled();
    following.put('budget/c');
    following.put('budgets');
    await following.clock.advance(100);
    expect(following.reads).toEqual([['budget/a']]);
    expect(following.changes).toEqual(['budget/c']);
  });

  it('more than one page of it is read whole, and what changes between two pages is told', async () => {
    let pages = 0;
    const following: Following = new Following((store) => ({
      range: async (range: KeyRange, limit: number, level, signal) => {
        if (++pages === 2) following.put('budget/0000');
        return store.range(range, limit, level, signal);
      },
    }));
    const count = limits.listPage + 5;
    for (let number = 1; number <= count; number++)
      following.put(`budget/${String(number).padStart(4, '0')}`);
    following.store.start();
    await following.clock.advance(100);
    const [read] = following.reads;
    expect([...new Set(read)]).toHaveLength(count);
    expect(following.changes).toEqual(['budget/0000']);
  });

  it('that it cannot be read is tried again every second, and delivers nothing meanwhile', async () => {
    let isAway = true;
    const following = new Following((store) => ({
      range: async (range: KeyRange, limit: number, level, signal): Promise<Result<RangeAnswer>> =>
        isAway ? failWith('QUORUM_UNAVAILABLE', 'away', 'wait') : store.range(range, limit, level, signal),
    }));
    following.put('budget/a');
    following.store.start();
    await following.clock.advance(3_000);
    expect(following.events).toEqual([]);
    isAway = false;
    await following.clock.advance(1_000);
    expect(following.reads).toEqual([['budget/a']]);
    following.store.close();
    following.put('budget/b');
    await following.clock.advance(3_000);
    expect(following.changes).toEqual([]);
  });

  it('an empty copy is not taken for the store before a majority has proved that it is one', async () => {
    let isJoined = false;
    const following = new Following((store) => ({
      range: async (range: KeyRange, limit: number, level, signal): Promise<Result<RangeAnswer>> =>
        isJoined
          ? store.range(range, limit, level, signal)
          : { ok: true, value: { found: [], more: false, revision: 0 } },
      get: async (key, level, signal): Promise<Result<RangeAnswer>> =>
        isJoined ? store.get(key, level, signal) : failWith('QUORUM_UNAVAILABLE', 'no majority', 'wait'),
    }));
    following.put('budget/a');
    following.store.start();
    await following.clock.advance(5_000);
    expect(following.events).toEqual([]);
    isJoined = true;
    await following.clock.advance(1_000);
    expect(following.reads).toEqual([['budget/a']]);
  });

  describe('a copy that is behind, as after a restart', () => {
    /** Its copy has nothing but `budget/a` until it has caught up; a majority answers once it can be reached. */
    function behind() {
      const state = { isBehind: true, isReachable: true };
      const following: Following = new Following((store) => ({
        range: async (range: KeyRange, limit: number, level, signal): Promise<Result<RangeAnswer>> => {
          const answer = await store.range(range, limit, level, signal);
          if (!answer.ok || !state.isBehind) return answer;
          const found = answer.value.found.filter(({ key }) => key === 'budget/a');
          return { ok: true, value: { found, more: false, revision: 1 } };
        },
        get: async (key, level, signal): Promise<Result<RangeAnswer>> => {
          if (!state.isReachable) return failWith('QUORUM_UNAVAILABLE', 'no majority', 'wait');
          state.isBehind = false;
          return store.get(key, level, signal);
        },
        watch: (range: KeyRange, _from: number, listener) => store.watch(range, 0, listener),
      }));
      following.put('budget/a');
      following.put('budget/b');
      const news = () =>
        following.events.map((event) =>
          event.kind === 'storeRead'
            ? { read: event.entries.map(({ key }) => key), isBehind: event.isBehind === true }
            : event.kind,
        );
      return { following, state, news };
    }

    it('is told as such, and what a majority knows beyond it is read as soon as that answers', async () => {
      const { following, state, news } = behind();
      state.isReachable = false;
      following.store.start();
      await following.clock.advance(3_000);
      expect(news()).toEqual([{ read: ['budget/a'], isBehind: true }]);
      state.isReachable = true;
      await following.clock.advance(1_000);
      expect(news().slice(1)).toEqual([{ read: ['budget/a', 'budget/b'], isBehind: false }]);
      following.put('budget/c');
      await settled();
      expect(following.changes).toEqual(['budget/c']);
    });

    it('is not read a second time where a majority knows nothing beyond it', async () => {
      const { following, state, news } = behind();
      state.isBehind = false;
      following.store.start();
      await following.clock.advance(3_000);
      expect(news()).toEqual([{ read: ['budget/a', 'budget/b'], isBehind: true }, 'storeProved']);
    });
  });

  it('after changes that the store no longer has one by one everything is read anew', async () => {
    let tell: Parameters<QuorumStore['watch']>[2] | undefined;
    const following = new Following((store) => ({
      watch: (range: KeyRange, from: number, listener) => {
        tell = listener;
        return store.watch(range, from, listener);
      },
    }));
    following.store.start();
    await settled();
    following.put('budget/a');
    await settled();
    tell?.({ kind: 'compacted' } as never);
    await settled();
    expect(following.reads).toEqual([[], ['budget/a']]);
  });

  it('a call that the store breaks under is answered once, as one that may have been carried out', async () => {
    const following = new Following(() => ({
      transact: () => Promise.reject(new Error('broken')),
    }));
    following.store.ask(5, { op: 'transact', transaction: putting('budget/a') });
    await settled();
    expect(following.events).toMatchObject([
      {
        kind: 'storeAnswered',
        id: 5,
        result: { error: { code: 'INTERNAL', details: { outcome: 'unknown' } } },
      },
    ]);
    expect(following.faults).toHaveLength(1);
  });
});

describe('what tells an account from others', () => {
  it('a directory that is renamed is at its place, and a copy of it is not (B11)', async () => {
    const root = await mkdtemp(join(tmpdir(), 'skein-place-'));
    try {
      const [one, moved] = [await mkdtemp(join(root, 'one-')), join(root, 'moved')];
      const place = placeOf(one);
      const copy = await mkdtemp(join(root, 'copy-'));
      expect(placeOf(copy)).not.toBe(place);
      await rename(one, moved);
      expect(placeOf(moved)).toBe(place);
    } finally {
      await rm(root, { recursive: true });
    }
  });

  it('a fresh number has 53 bits and is never 0', () => {
    const drawn = [new Uint8Array(7), Uint8Array.of(224, 0, 0, 0, 0, 0, 0), new Uint8Array(7).fill(255)];
    const entropy = { bytes: () => drawn.shift() ?? new Uint8Array(7) } as unknown as Entropy;
    expect(freshNumber(entropy)).toBe(Number.MAX_SAFE_INTEGER);
    expect(drawn).toEqual([]);
  });

  it('numbers drawn ahead have 53 bits, are never 0, and none is given twice', () => {
    const drawn = [Uint8Array.of(0, 0, 224, 255, 0, 0, 0, 0), new Uint8Array(24).fill(255)];
    const entropy = { bytes: () => drawn.shift() ?? new Uint8Array(8).fill(1) } as unknown as Entropy;
    const next = drawnNumbers(entropy);
    // Of the first word only 21 bits count, so the first number would be 0.
    expect([next(), next(), next()]).toEqual(Array(3).fill(Number.MAX_SAFE_INTEGER));
    expect(next()).toBe(0x01_0101 * 2 ** 32 + 0x0101_0101);
  });

  it('prices that make no sense keep a node from starting', () => {
    const budgets = { prices: { large: { input: -1 } }, reserveTtl: 1, expiry: 'charge', thresholds: [] };
    expect(() => budgetSettings({ budgets } as never)).toThrow(/price|large/i);
  });
});
