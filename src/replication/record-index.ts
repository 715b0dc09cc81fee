import type { NodeId } from '../kernel/ids.ts';

interface Row {
  readonly owner: NodeId;
  readonly key: string;
  readonly body: unknown;
}

/** Live records by kind; the sorted list of a kind is made when it is asked for, and kept until the kind changes. */
export class RecordIndex {
  readonly #kinds = new Map<
    string,
    { readonly rows: Map<string, Row>; sorted: readonly Row[] | undefined }
  >();

  set(owner: NodeId, kind: string, key: string, body: unknown): void {
    let index = this.#kinds.get(kind);
    if (index === undefined) {
      index = { rows: new Map(), sorted: undefined };
      this.#kinds.set(kind, index);
    }
    index.sorted = undefined;
    if (body === undefined) index.rows.delete(`${owner} ${key}`);
    else index.rows.set(`${owner} ${key}`, { owner, key, body });
  }

  /** Sorted by owner, then key. */
  ofKind(kind: string): readonly Row[] {
    const index = this.#kinds.get(kind);
    if (index === undefined) return [];
    index.sorted ??= [...index.rows.values()].sort(
      (left, right) => compare(left.owner, right.owner) || compare(left.key, right.key),
    );
    return index.sorted;
  }
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
