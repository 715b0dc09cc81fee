/**
 * The quorum store as the budgets' machine sees it, whichever engine keeps it: its calls are carried out, and all changes under
 * `budget/` are told to it. Where the changes cannot be told one by one, everything is read anew.
 *
 * At a start the node's own copy is read, since it can be had without a quorum. It may be older than what was made since, so a
 * majority is asked, and what it knows beyond that is read as well, before anything counts as not being there.
 */

import type { BudgetEvent, StoreCall } from '../budget/messages.ts';
import { ALL_BUDGETS } from '../budget/reserve-register.ts';
import { failWith } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { Clock } from '../kernel/ports.ts';
import type { KeyValue, QuorumStore, WatchEvent } from '../quorum/port.ts';

type StoreNews = Extract<BudgetEvent, { kind: `store${string}` }>;

interface BudgetStoreOptions {
  readonly store: QuorumStore;
  readonly clock: Clock;
  readonly deliver: (event: StoreNews) => void;
  readonly onFault: (error: unknown) => void;
}

interface Reading {
  readonly revision: number;
  readonly entries: readonly KeyValue[];
}

const REREAD_MS = 1_000;

export class BudgetStore {
  readonly #options: BudgetStoreOptions;
  readonly #abort = new AbortController();
  #unwatch: () => void = () => undefined;
  #cancelRetry: () => void = () => undefined;
  #isProved = false;
  /** Readings begun: the last one counts. */
  #turn = 0;
  #isClosed = false;

  constructor(options: BudgetStoreOptions) {
    this.#options = options;
  }

  start(): void {
    this.#carryOn(() => this.#follow());
  }

  close(): void {
    this.#isClosed = true;
    this.#abort.abort();
    this.#unwatch();
    this.#cancelRetry();
  }

  /** Answered by `storeAnswered`, exactly once. */
  ask(id: number, call: StoreCall): void {
    const tell = (result: Answer) => {
      if (!this.#isClosed) this.#options.deliver({ kind: 'storeAnswered', id, result });
    };
    this.#carryOut(call).then(tell, (error: unknown) => {
      this.#options.onFault(error);
      tell(
        failWith('INTERNAL', `The quorum store failed: ${String(error)}`, 'See the log of the node.', {
          details: { outcome: 'unknown' },
        }),
      );
    });
  }

  #carryOut(call: StoreCall): Promise<Answer> {
    const { store } = this.#options;
    const { signal } = this.#abort;
    switch (call.op) {
      case 'transact':
        return store.transact(call.transaction, signal);
      case 'grantLease':
        return store.grantLease(call.ttlMs, signal);
      case 'renewLease':
        return store.renewLease(call.id, signal);
      case 'revokeLease':
        return store.revokeLease(call.id, signal);
    }
  }

  async #follow(): Promise<void> {
    const turn = ++this.#turn;
    let read = await this.#readAll();
    // A copy without any content may be of no store at all: of a node that has not joined one, or has not begun to follow.
    if (read?.revision === 0 && !this.#isProved) {
      const proof = await this.#proof();
      if (this.#isOver(turn)) return;
      this.#isProved = proof !== undefined;
      read = this.#isProved ? await this.#readAll() : undefined;
    }
    if (this.#isOver(turn)) return;
    if (read === undefined) {
      this.#later(() => this.#follow());
      return;
    }
    const { store, deliver } = this.#options;
    deliver({ kind: 'storeRead', ...read, ...(this.#isProved ? {} : { isBehind: true }) });
    // What later pages had beyond the first one's revision is told again, which changes nothing.
    this.#unwatch = store.watch(ALL_BUDGETS, read.revision + 1, (event) => this.#watched(event));
    if (!this.#isProved) await this.#prove(read.revision, turn);
  }

  /** That nothing is missing in what was read as of `revision`; else all is read anew. */
  async #prove(revision: number, turn: number): Promise<void> {
    const proof = await this.#proof();
    if (this.#isOver(turn)) return;
    if (proof === undefined) {
      this.#later(() => this.#prove(revision, turn));
      return;
    }
    this.#isProved = true;
    if (proof.revision === revision) this.#options.deliver({ kind: 'storeProved' });
    else {
      this.#unwatch();
      await this.#follow();
    }
  }

  #isOver(turn: number): boolean {
    return this.#isClosed || turn !== this.#turn;
  }

  /** Once there is one, the node's copy has what the store had when it was asked. `undefined` where no majority answers. */
  async #proof(): Promise<{ readonly revision: number } | undefined> {
    const proof = await this.#options.store.get(ALL_BUDGETS.from, 'strong', this.#abort.signal);
    return proof.ok ? proof.value : undefined;
  }

  /** As of the first page's revision or a little later. `undefined` where the store cannot be read now. */
  async #readAll(): Promise<Reading | undefined> {
    const { store } = this.#options;
    const entries: KeyValue[] = [];
    let revision: number | undefined;
    let { from } = ALL_BUDGETS;
    for (;;) {
      const page = await store.range(
        { from, to: ALL_BUDGETS.to },
        limits.listPage,
        'mirror',
        this.#abort.signal,
      );
      if (!page.ok) return undefined;
      revision ??= page.value.revision;
      entries.push(...page.value.found);
      const last = page.value.found.at(-1);
      if (!page.value.more || last === undefined || entries.length >= limits.budgetStoreEntries) break;
      from = `${last.key}\0`;
    }
    return { revision, entries };
  }

  #watched(event: WatchEvent): void {
    if (this.#isClosed) return;
    if (event.kind === 'changed') {
      this.#options.deliver({ kind: 'storeChanged', revision: event.revision, changes: event.changes });
    } else if (event.kind === 'compacted') {
      this.#unwatch = () => undefined;
      this.#carryOn(() => this.#follow());
    }
  }

  #carryOn(step: () => Promise<void>): void {
    step().catch((error: unknown) => {
      this.#options.onFault(error);
      this.#later(() => this.#follow());
    });
  }

  #later(step: () => Promise<void>): void {
    if (this.#isClosed) return;
    const { clock } = this.#options;
    this.#cancelRetry();
    this.#cancelRetry = clock.callAt(clock.now().monoMs + REREAD_MS, () => this.#carryOn(step));
  }
}

type Answer = Extract<BudgetEvent, { kind: 'storeAnswered' }>['result'];
