/** What is measured of a strong store, and the same client code over every engine behind the port `QuorumStore`. */
import type { Result } from '../../../src/kernel/errors.ts';
import type { QuorumStore } from '../../../src/quorum/port.ts';

export const VALUE_BYTES = 200;
/** What the keys of a filled store begin with, before their number. */
export const FILLED = 'filled-';

export interface QuorumClient {
  put(key: string, value: Uint8Array): Promise<void>;
  /** Linearizable where the store offers that. */
  read(key: string): Promise<void>;
  /** Adds one to the number under `key`: reads, then writes only over what was read, until that works; after how many tries. */
  increment(key: string): Promise<number>;
  /** The number under `key`. */
  total(key: string): Promise<number>;
  /** Does this client's server lead? */
  isLeader(): Promise<boolean>;
  close(): Promise<void>;
}

export function storeClient(
  store: QuorumStore,
  isLeader: () => Promise<boolean>,
  close: () => Promise<void>,
): QuorumClient {
  return {
    put: (key, value) => put(store, key, value),
    read: async (key) => {
      taken(await store.get(key, 'strong'));
    },
    increment: (key) => increment(store, key),
    total: async (key) => numberIn(taken(await store.get(key, 'strong')).found[0]?.value),
    isLeader,
    close,
  };
}

export async function put(store: QuorumStore, key: string, value: Uint8Array): Promise<void> {
  taken(await store.transact({ compares: [], then: [{ op: 'put', key, value }], otherwise: [] }));
}

/** Begins with what the member at hand holds: the compare tells whether that is the newest, and what to try next if not. */
async function increment(store: QuorumStore, key: string): Promise<number> {
  let entry = taken(await store.get(key, 'mirror')).found[0];
  for (let tries = 1; ; tries++) {
    const value = textOf(numberIn(entry?.value) + 1);
    const answer = taken(
      await store.transact({
        compares: [{ target: 'modRevision', key, is: '=', than: entry?.modRevision ?? 0 }],
        then: [{ op: 'put', key, value }],
        otherwise: [{ op: 'get', key }],
      }),
    );
    if (answer.succeeded) return tries;
    const [found] = answer.answers;
    entry = found?.op === 'get' ? found.found : undefined;
  }
}

function taken<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`${result.error.code}: ${result.error.message}`);
  return result.value;
}

export function numberIn(bytes: Uint8Array | undefined): number {
  return bytes === undefined ? 0 : Number(new TextDecoder().decode(bytes));
}

export function textOf(number: number): Uint8Array {
  return new TextEncoder().encode(String(number));
}
