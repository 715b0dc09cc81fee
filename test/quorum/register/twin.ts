/** The register once more, as simply as can be: an array of entries sorted at every read, copied before every command. */
import type {
  Compare,
  KeyChange,
  KeyRange,
  KeyValue,
  Operation,
  OperationAnswer,
  Transaction,
} from '../../../src/quorum/port.ts';

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const inRange = (key: string, range: KeyRange): boolean =>
  Buffer.compare(utf8(key), utf8(range.from)) >= 0 && Buffer.compare(utf8(key), utf8(range.to)) < 0;

export class Twin {
  revision = 1;
  entries: KeyValue[] = [];
  leases = new Map<number, { ttlMs: number; renewals: number }>();
  history: { revision: number; changes: KeyChange[] }[] = [];
  #told = new Map<string, unknown>();

  once(client: number, sequence: number, carryOut: () => unknown): unknown {
    const name = `${client}/${sequence}`;
    if (!this.#told.has(name)) this.#told.set(name, carryOut());
    return this.#told.get(name);
  }

  transact(transaction: Transaction): unknown {
    const succeeded = transaction.compares.every((compare) => this.#holds(compare));
    const operations = succeeded ? transaction.then : transaction.otherwise;
    if (
      operations.some(
        (operation) => operation.op === 'put' && operation.lease && !this.leases.has(operation.lease),
      )
    )
      return 'NOT_FOUND';
    const changes: KeyChange[] = [];
    const answers = operations.map((operation) => this.#operate(operation, changes));
    this.#commit(changes);
    return { succeeded, revision: this.revision, answers };
  }

  end(ids: readonly number[]): void {
    const ended = ids.filter((id) => this.leases.delete(id));
    const keys = this.entries.filter((entry) => ended.includes(entry.lease)).map((entry) => entry.key);
    const changes: KeyChange[] = [];
    for (const key of keys) this.#operate({ op: 'delete', key }, changes);
    this.#commit(changes);
  }

  range(range: KeyRange): KeyValue[] {
    return this.entries.filter((entry) => inRange(entry.key, range));
  }

  changesFrom(from: number, range: KeyRange): { revision: number; changes: KeyChange[] }[] {
    return this.history
      .filter(({ revision }) => revision >= from)
      .map(({ revision, changes }) => ({
        revision,
        changes: changes.filter(({ entry }) => inRange(entry.key, range)),
      }))
      .filter(({ changes }) => changes.length > 0);
  }

  #commit(changes: KeyChange[]): void {
    if (changes.length === 0) return;
    this.revision++;
    this.history.push({ revision: this.revision, changes });
  }

  #find(key: string): KeyValue | undefined {
    return this.entries.find((entry) => entry.key === key);
  }

  #holds(compare: Compare): boolean {
    const entry = this.#find(compare.key);
    if (compare.target === 'value') {
      return (text(entry?.value ?? utf8('')) === text(compare.than)) === (compare.is === '=');
    }
    const is = entry?.[compare.target] ?? 0;
    return {
      '=': is === compare.than,
      '!=': is !== compare.than,
      '<': is < compare.than,
      '>': is > compare.than,
    }[compare.is];
  }

  #operate(operation: Operation, changes: KeyChange[]): OperationAnswer {
    const modRevision = this.revision + 1;
    switch (operation.op) {
      case 'put': {
        const before = this.#find(operation.key);
        const entry: KeyValue = {
          key: operation.key,
          value: operation.value,
          createRevision: before?.createRevision ?? modRevision,
          modRevision,
          version: (before?.version ?? 0) + 1,
          lease: operation.lease ?? 0,
        };
        this.entries = [...this.entries.filter((other) => other.key !== entry.key), entry].sort(
          (left, right) => Buffer.compare(utf8(left.key), utf8(right.key)),
        );
        changes.push({ kind: 'put', entry });
        return { op: 'put' };
      }
      case 'delete':
        return {
          op: 'delete',
          deleted: this.#delete(
            this.entries.filter((e) => e.key === operation.key),
            changes,
          ),
        };
      case 'deleteRange':
        return { op: 'deleteRange', deleted: this.#delete(this.range(operation.range), changes) };
      case 'get':
        return { op: 'get', found: this.#find(operation.key) };
      case 'range': {
        const all = this.range(operation.range);
        return { op: 'range', found: all.slice(0, operation.limit), more: all.length > operation.limit };
      }
    }
  }

  #delete(gone: readonly KeyValue[], changes: KeyChange[]): number {
    this.entries = this.entries.filter((entry) => !gone.includes(entry));
    for (const { key } of gone) {
      const entry = {
        key,
        value: utf8(''),
        createRevision: 0,
        modRevision: this.revision + 1,
        version: 0,
        lease: 0,
      };
      changes.push({ kind: 'deleted', entry });
    }
    return gone.length;
  }
}
