/** The register against its naive twin: the same commands, the same answers, the same state. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Compare, KeyRange, Operation, Transaction } from '../../../src/quorum/port.ts';
import { checkTransaction } from '../../../src/quorum/register/check.ts';
import { type Command, decodeCommand, encodeCommand } from '../../../src/quorum/register/command.ts';
import type { Applied } from '../../../src/quorum/register/outcome.ts';
import { Register } from '../../../src/quorum/register/register.ts';
import { restored } from './support.ts';
import { Twin, utf8 } from './twin.ts';

const ALL: KeyRange = { from: '', to: '\u{10ffff}' };
const NAMES = [
  'a',
  'a\0',
  'aa',
  'b',
  'ß',
  '水',
  '\ue000',
  '\uffff',
  '😀',
  '😀b',
  'task/1',
  'task/10',
  'task/2',
];
const key = fc.constantFrom(...NAMES);
const value = fc.constantFrom('', 'x', 'y', 'long '.repeat(30)).map(utf8);
const lease = fc.constantFrom(0, 0, 0, 1, 2, 3);
const number = fc.integer({ min: 0, max: 12 });
const range = fc.record({ from: fc.constantFrom('', ...NAMES), to: fc.constantFrom(...NAMES, '\u{10ffff}') });

const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({
    target: fc.constantFrom(
      'version' as const,
      'modRevision' as const,
      'createRevision' as const,
      'lease' as const,
    ),
    key,
    is: fc.constantFrom('=' as const, '!=' as const, '<' as const, '>' as const),
    than: number,
  }),
  fc.record({
    target: fc.constant('value' as const),
    key,
    is: fc.constantFrom('=' as const, '!=' as const),
    than: value,
  }),
);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant('put' as const), key, value, lease }) },
  fc.record({ op: fc.constant('delete' as const), key }),
  fc.record({ op: fc.constant('deleteRange' as const), range }),
  fc.record({ op: fc.constant('get' as const), key }),
  fc.record({ op: fc.constant('range' as const), range, limit: fc.integer({ min: 1, max: 5 }) }),
);
const operations = fc.array(operation, { maxLength: 3 });
const transaction: fc.Arbitrary<Transaction> = fc.record({
  compares: fc.array(compare, { maxLength: 2 }),
  then: operations,
  otherwise: operations,
});

type Step =
  | { readonly kind: 'transact'; readonly transaction: Transaction; readonly repeats: boolean }
  | { readonly kind: 'grant' | 'revoke' | 'renew'; readonly id: number }
  | { readonly kind: 'expire'; readonly ids: readonly number[]; readonly late: boolean }
  | { readonly kind: 'snapshot' };

const id = fc.integer({ min: 1, max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('transact' as const), transaction, repeats: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('grant' as const, 'revoke', 'renew'), id }) },
  fc.record({
    kind: fc.constant('expire' as const),
    ids: fc.array(id, { maxLength: 3 }),
    late: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('snapshot' as const) }),
);

class Pair {
  readonly twin = new Twin();
  register = new Register();
  /** Applies the same and is never restored from a snapshot. */
  readonly replica = new Register();
  #index = 0;
  #sequence = 0;

  constructor() {
    this.#tell({ kind: 'openClient', client: 1 });
  }

  take(step: Step): void {
    switch (step.kind) {
      case 'transact':
        this.#transact(step.transaction, step.repeats);
        return;
      case 'grant': {
        const applied = this.#tell({ kind: 'grantLease', ...this.#head(), id: step.id, ttlMs: 1000 });
        expect(applied.result.kind === 'granted').toBe(!this.twin.leases.has(step.id));
        if (applied.result.kind === 'granted') this.twin.leases.set(step.id, { ttlMs: 1000, renewals: 0 });
        return;
      }
      case 'renew': {
        const applied = this.#tell({ kind: 'renewLease', ...this.#head(), id: step.id });
        const lease = this.twin.leases.get(step.id);
        if (lease !== undefined) lease.renewals++;
        expect(applied.result.kind).toBe(lease === undefined ? 'failed' : 'granted');
        expect(this.register.lease(step.id)?.renewals).toBe(lease?.renewals);
        return;
      }
      case 'revoke':
        this.twin.end([step.id]);
        expect(this.#tell({ kind: 'revokeLease', ...this.#head(), id: step.id }).result).toEqual({
          kind: 'revoked',
          revision: this.twin.revision,
        });
        return;
      case 'expire': {
        const due = [...new Set(step.ids)].flatMap((id) => {
          const lease = this.twin.leases.get(id);
          return lease === undefined ? [] : [{ id, renewals: lease.renewals - (step.late ? 1 : 0) }];
        });
        const leases = due.filter(({ renewals }) => renewals >= 0);
        if (!step.late) this.twin.end(leases.map(({ id }) => id));
        this.#tell({ kind: 'expireLeases', leases });
        return;
      }
      case 'snapshot': {
        const again = restored(this.register.capture());
        expect(again).toBeDefined();
        if (again !== undefined) this.register = again;
      }
    }
  }

  check(step: Step): void {
    const context = JSON.stringify(step);
    expect(this.register.revision, context).toBe(this.twin.revision);
    expect(this.register.range(ALL, 1000).found, context).toEqual(this.twin.entries);
    expect(this.register.digest(), context).toBe(this.replica.digest());
    expect([...this.register.leases()].map(({ id }) => id).sort()).toEqual(
      [...this.twin.leases.keys()].sort(),
    );
    for (const some of [ALL, { from: 'a', to: 'b' }, { from: 'task/', to: 'task0' }]) {
      expect(this.register.range(some, 2).found, context).toEqual(this.twin.range(some).slice(0, 2));
      for (const from of [2, this.twin.revision - 1, this.twin.revision + 1]) {
        const answer = this.register.changesFrom(Math.max(2, from), some, 1_000_000);
        expect(answer).toEqual({
          kind: 'changes',
          revisions: this.twin.changesFrom(Math.max(2, from), some),
          next: Math.max(this.twin.revision + 1, from, 2),
        });
      }
    }
  }

  #transact(transaction: Transaction, repeats: boolean): void {
    const command: Command = { kind: 'transact', ...this.#head(), transaction };
    const applied = this.#tell(command);
    if (checkTransaction(transaction) !== undefined) {
      expect(applied.result).toMatchObject({ kind: 'failed', code: 'INVALID_ARGUMENT' });
    } else {
      const told = this.twin.transact(transaction);
      expect(applied.result).toMatchObject(
        told === 'NOT_FOUND' ? { kind: 'failed', code: told } : { kind: 'transacted', answer: told },
      );
      if (told !== 'NOT_FOUND') expect(applied.changes).toEqual(this.#newest(applied));
    }
    if (!repeats) return;
    const again = this.#tell(command);
    expect(again).toMatchObject({ repeated: true, changes: [], result: applied.result });
  }

  #newest(applied: Applied): unknown {
    const newest = this.twin.history.at(-1);
    return newest !== undefined && applied.changes.length > 0 ? newest.changes : [];
  }

  #head(): { client: number; sequence: number; lowestOutstanding: number } {
    const sequence = ++this.#sequence;
    return { client: 1, sequence, lowestOutstanding: Math.max(1, sequence - 3) };
  }

  #tell(command: Command): Applied {
    const bytes = encodeCommand(command);
    this.#index++;
    const applied = this.register.apply(this.#index, bytes);
    expect(this.replica.apply(this.#index, bytes)).toEqual(applied);
    return applied;
  }
}

describe('register: against a naive twin', () => {
  it('answers, entries, changes and leases are the same after every command, retries and snapshots in between (K30, K40)', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
        const pair = new Pair();
        for (const step of steps) {
          pair.take(step);
          pair.check(step);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('a command comes back from its bytes as it was', () => {
    fc.assert(
      fc.property(transaction, fc.maxSafeNat(), (transaction, sequence) => {
        const command: Command = {
          kind: 'transact',
          client: Number.MAX_SAFE_INTEGER,
          sequence,
          lowestOutstanding: Math.floor(sequence / 2),
          transaction,
        };
        expect(decodeCommand(encodeCommand(command))).toEqual(command);
      }),
    );
  });

  it('any bytes at all change nothing and throw nothing, and all replicas agree on it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.uint8Array({ maxLength: 40 }), transaction.map(mangled)), { maxLength: 30 }),
        (frames) => {
          const one = new Register();
          const other = new Register();
          frames.forEach((bytes, index) => {
            // By chance some are commands.
            if (typeof decodeCommand(bytes) !== 'string') return;
            one.apply(index + 1, bytes);
            other.apply(index + 1, bytes.slice());
          });
          expect(one.revision).toBe(1);
          expect(one.digest()).toBe(other.digest());
        },
      ),
    );
  });
});

/** A transaction's bytes that end one byte early. */
function mangled(transaction: Transaction): Uint8Array {
  return encodeCommand({ kind: 'transact', client: 1, sequence: 1, lowestOutstanding: 1, transaction }).slice(
    0,
    -1,
  );
}
