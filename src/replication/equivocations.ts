import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { SignedRecord } from './record.ts';

/** Two bodies that one owner signed under one sequence: each verifies, and no honest owner makes both. */
export interface Equivocation {
  readonly first: SignedRecord;
  readonly second: SignedRecord;
}

/** Proofs outlive the records that they are about. The first few of each owner are enough to convict it. */
export class Equivocations {
  readonly #proofs = new Map<string, Equivocation>();
  readonly #counts = new Map<NodeId, number>();

  /** True where it is new and there was room for it. */
  keep(first: SignedRecord, second: SignedRecord): boolean {
    const { owner, kind, key, sequence } = first;
    const name = `${owner} ${kind} ${sequence} ${key}`;
    const count = this.#counts.get(owner) ?? 0;
    if (this.#proofs.has(name) || count >= limits.proofsPerOwner || this.#proofs.size >= limits.proofs) {
      return false;
    }
    this.#proofs.set(name, { first, second });
    this.#counts.set(owner, count + 1);
    return true;
  }

  all(): readonly Equivocation[] {
    return [...this.#proofs.values()];
  }
}
