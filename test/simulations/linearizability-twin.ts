/** Histories that are good by construction: a store that does one thing after another, seen through random intervals. */
import type { FoundEntry, HistoryCall, HistoryOperation } from '../../simulations/lib/quorum-history.ts';
import type { Rng } from '../../src/kernel/rng.ts';

export interface TwinPlan {
  readonly operations: number;
  readonly clients: number;
  readonly keys: number;
  /** Share of calls whose answer is lost. */
  readonly unknown?: number;
  /** Whether answers tell revisions and versions. */
  readonly told?: boolean;
}

interface Stored {
  readonly value: string;
  readonly revision: number;
  readonly createRevision: number;
  readonly version: number;
}

export function goodHistory(rng: Rng, plan: TwinPlan): readonly HistoryOperation[] {
  const { clients, unknown = 0.1, told = true } = plan;
  const store = new TwinStore(told);
  const history: HistoryOperation[] = [];
  const freeAt = Array.from({ length: clients }, () => 0);
  let nowNs = 0;
  for (let count = 0; count < plan.operations; count++) {
    nowNs += 1 + rng.below(1_000);
    const idle = freeAt.map((at, client) => ({ at, client })).filter(({ at }) => at < nowNs);
    if (idle.length === 0) {
      nowNs = Math.min(...freeAt) + 1;
      idle.push({ at: 0, client: freeAt.indexOf(nowNs - 1) });
    }
    const { client } = rng.pick(idle);
    const start = nowNs - rng.below(nowNs - (freeAt[client] as number) + 1);
    const end = nowNs + rng.below(1 + 500 * clients);
    freeAt[client] = end + 1;
    const key = `k${rng.below(plan.keys)}`;
    const isLost = rng.chance(unknown);
    const { output, ...asked } = store.does(rng, key, `v${count}`, !isLost || rng.chance(0.5));
    const base = { client, key: asked.kind === 'transaction' ? '' : key, ...asked };
    history.push(
      (isLost
        ? { ...base, start, end: Number.POSITIVE_INFINITY, outcome: 'unknown' }
        : { ...base, output, start, end, outcome: 'ok' }) as HistoryOperation,
    );
  }
  return history;
}

class TwinStore {
  readonly #told: boolean;
  readonly #stored = new Map<string, Stored>();
  #revision = 0;

  constructor(told: boolean) {
    this.#told = told;
  }

  does(rng: Rng, key: string, value: string, takesHold: boolean): HistoryCall {
    const die = rng.float();
    const found = this.#found(key);
    if (die < 0.4) return { kind: 'get', output: { found: found ?? null, ...this.#at() } };
    if (die < 0.7) {
      if (takesHold) this.#put(key, value);
      return { kind: 'put', input: { value }, output: this.#at() };
    }
    if (die < 0.75) {
      const deleted = found === undefined ? 0 : 1;
      if (takesHold && deleted === 1) this.#delete(key);
      return { kind: 'delete', output: { deleted, ...this.#at() } };
    }
    const matches = rng.chance(0.7);
    const expected = matches ? (found?.value ?? null) : 'something else';
    if (matches && takesHold) this.#put(key, value);
    const output = { succeeded: matches, ...(matches ? {} : { found: found ?? null }), ...this.#at() };
    if (die < 0.95 || this.#told === false)
      return { kind: 'compareAndSet', input: { expected, value }, output };
    return {
      kind: 'transaction',
      input: {
        compares: [{ target: 'value', key, is: '=', than: expected }],
        success: [{ op: 'put', key, value }],
        failure: [{ op: 'get', key }],
      },
      output: {
        succeeded: matches,
        answers: matches ? [{ op: 'put' }] : [{ op: 'get', found: found ?? null }],
        ...this.#at(),
      },
    };
  }

  #put(key: string, value: string): void {
    const old = this.#stored.get(key);
    const revision = ++this.#revision;
    const createRevision = old?.createRevision ?? revision;
    this.#stored.set(key, { value, revision, createRevision, version: (old?.version ?? 0) + 1 });
  }

  #delete(key: string): void {
    this.#revision += 1;
    this.#stored.delete(key);
  }

  #at(): { readonly at?: number } {
    return this.#told ? { at: this.#revision } : {};
  }

  #found(key: string): FoundEntry | undefined {
    const stored = this.#stored.get(key);
    if (stored === undefined) return undefined;
    return this.#told ? { key, ...stored } : { key, value: stored.value };
  }
}
