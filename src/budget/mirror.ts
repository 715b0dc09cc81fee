/**
 * What the quorum store holds of the budgets, as far as this node was told. It may lag; so it serves to plan on, where the
 * store compares, and to show, never to decide. Entries that make no sense are passed over: whatever is planned on
 * them then fails its compares, and is told so by the store.
 */
import { decode } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { KeyChange, KeyValue, QuorumKey } from '../quorum/port.ts';
import type { Definition } from './definition.ts';
import type { Applied } from './errands.ts';
import { type AccountId, type BudgetName, nodeOfAccount, type PurseKey } from './names.ts';
import {
  type AccountEntry,
  accountKey,
  definitionKey,
  type Entry,
  entryKey,
  parseAccountEntry,
  parseBudgetKey,
  parseEntry,
  parseReserve,
  parseStoredDefinition,
  type Read,
  type Reserve,
  reserveKey,
  type View,
} from './reserve-register.ts';

/** What is news to the ledger. */
export type MirrorFact =
  | {
      readonly kind: 'defined';
      readonly budget: BudgetName;
      readonly definition: Definition | undefined;
    }
  | { readonly kind: 'reserve'; readonly purse: PurseKey }
  | { readonly kind: 'entry'; readonly purse: PurseKey; readonly account: AccountId; readonly entry: Entry }
  | { readonly kind: 'account'; readonly account: AccountId };

interface Held {
  readonly revision: number;
  readonly createRevision: number;
  readonly value: unknown;
}

export class Mirror {
  readonly #held = new Map<QuorumKey, Held>();
  readonly #definitions = new Map<BudgetName, Definition>();
  readonly #unreadable = new Set<BudgetName>();
  readonly #entries = new Map<PurseKey, Map<AccountId, Entry>>();
  readonly #accounts = new Map<NodeId, Set<AccountId>>();
  #isFilled = false;
  #isProved = false;

  /** False until the store was read once. */
  get isFilled(): boolean {
    return this.#isFilled;
  }

  /** Whether what is not here is not in the store either. */
  get isProved(): boolean {
    return this.#isProved;
  }

  prove(): void {
    this.#isProved = true;
  }

  get definitions(): ReadonlyMap<BudgetName, Definition> {
    return this.#definitions;
  }

  /** Of which the store has what makes no sense to this version, and this node knew nothing before. A bounded number. */
  get unreadable(): ReadonlySet<BudgetName> {
    return this.#unreadable;
  }

  /** Those that have or had accounts. */
  get nodes(): Iterable<NodeId> {
    return this.#accounts.keys();
  }

  /** All of which the store has anything. */
  get purses(): Iterable<PurseKey> {
    return this.#entries.keys();
  }

  reserve(purse: PurseKey): Reserve | undefined {
    return this.#held.get(reserveKey(purse))?.value as Reserve | undefined;
  }

  entries(purse: PurseKey): ReadonlyMap<AccountId, Entry> {
    return this.#entries.get(purse) ?? new Map();
  }

  /** A copy of all entries, as they are now. */
  allEntries(): ReadonlyMap<PurseKey, ReadonlyMap<AccountId, Entry>> {
    return new Map([...this.#entries].map(([purse, entries]) => [purse, new Map(entries)]));
  }

  account(account: AccountId): AccountEntry | undefined {
    return this.#held.get(accountKey(account))?.value as AccountEntry | undefined;
  }

  /** Of a node, in the order in which they were opened first; the last is the one that it spends from. */
  accountsOf(node: NodeId): readonly AccountId[] {
    const created = (account: AccountId) => this.#held.get(accountKey(account))?.createRevision ?? 0;
    return [...(this.#accounts.get(node) ?? [])].sort((left, right) => created(left) - created(right));
  }

  /** As a plan reads it. */
  definition(budget: BudgetName): Read<Definition> {
    return this.#read(definitionKey(budget));
  }

  view(budget: BudgetName, purse: PurseKey, account: AccountId): View {
    return {
      definition: this.definition(budget),
      reserve: this.#read(reserveKey(purse)),
      entry: this.#read(entryKey(purse, account)),
      account: this.#read(accountKey(account)),
    };
  }

  /** All that the store has takes the place of what was here. */
  replace(entries: readonly KeyValue[]): readonly MirrorFact[] {
    const gone = new Set(this.#held.keys());
    for (const { key } of entries) gone.delete(key);
    this.#isFilled = true;
    const facts: MirrorFact[] = [];
    for (const key of gone) facts.push(...this.#drop(key));
    // Another store may stand behind this one, with smaller revisions.
    for (const { key } of entries) this.#held.delete(key);
    for (const entry of entries) facts.push(...this.#put(entry));
    return facts;
  }

  change(changes: readonly KeyChange[]): readonly MirrorFact[] {
    return changes.flatMap(({ kind, entry }) => {
      if (entry.modRevision < (this.#held.get(entry.key)?.revision ?? 0)) return [];
      return kind === 'put' ? this.#put(entry) : this.#drop(entry.key);
    });
  }

  /** A transaction of this node took effect: the store will tell it too, later. */
  wrote({ transaction, revision }: Applied): readonly MirrorFact[] {
    return this.change(
      transaction.then.flatMap((operation) =>
        operation.op === 'put'
          ? [{ kind: 'put' as const, entry: this.#entryOf(operation.key, operation.value, revision) }]
          : [],
      ),
    );
  }

  #entryOf(key: QuorumKey, value: Uint8Array, revision: number): KeyValue {
    const createRevision = this.#held.get(key)?.createRevision ?? revision;
    return { key, value, modRevision: revision, createRevision, version: 1, lease: 0 };
  }

  #read<T>(key: QuorumKey): Read<T> {
    const held = this.#held.get(key);
    return held === undefined
      ? { key, revision: 0, value: undefined }
      : { key, revision: held.revision, value: held.value as T };
  }

  #put({ key, value: bytes, modRevision: revision, createRevision }: KeyValue): readonly MirrorFact[] {
    const place = parseBudgetKey(key);
    const plain = place === undefined ? undefined : decode(bytes);
    const known = this.#held.has(key);
    if (place === undefined || plain === undefined) return [];
    if (!known && this.#held.size >= limits.budgetStoreEntries) return [];
    const keep = (value: unknown): void => {
      this.#held.set(key, { revision, createRevision, value });
    };
    switch (place.kind) {
      case 'definition': {
        const definition = parseStoredDefinition(plain);
        const name = place.budget as BudgetName;
        if (definition === undefined || definition.name !== name) {
          if (!known && this.#unreadable.size < limits.budgets) this.#unreadable.add(name);
          return [];
        }
        this.#unreadable.delete(name);
        keep(definition);
        this.#definitions.set(definition.name, definition);
        return [{ kind: 'defined', budget: definition.name, definition }];
      }
      case 'reserve': {
        const reserve = parseReserve(plain);
        if (reserve === undefined) return [];
        keep(reserve);
        if (!this.#entries.has(place.purse)) this.#entries.set(place.purse, new Map());
        return [{ kind: 'reserve', purse: place.purse }];
      }
      case 'entry': {
        const entry = parseEntry(plain);
        if (entry === undefined) return [];
        keep(entry);
        const entries = this.#entries.get(place.purse) ?? new Map<AccountId, Entry>();
        this.#entries.set(place.purse, entries.set(place.account, entry));
        return [{ kind: 'entry', purse: place.purse, account: place.account, entry }];
      }
      case 'account': {
        const account = parseAccountEntry(plain);
        if (account === undefined) return [];
        keep(account);
        const node = nodeOfAccount(place.account);
        const accounts = this.#accounts.get(node) ?? new Set<AccountId>();
        this.#accounts.set(node, accounts.add(place.account));
        return [{ kind: 'account', account: place.account }];
      }
    }
  }

  #drop(key: QuorumKey): readonly MirrorFact[] {
    this.#held.delete(key);
    const place = parseBudgetKey(key);
    switch (place?.kind) {
      case 'definition':
        this.#unreadable.delete(place.budget as BudgetName);
        this.#definitions.delete(place.budget as BudgetName);
        return [{ kind: 'defined', budget: place.budget as BudgetName, definition: undefined }];
      case 'reserve':
        this.#forgetEmpty(place.purse);
        return [{ kind: 'reserve', purse: place.purse }];
      case 'entry':
        this.#entries.get(place.purse)?.delete(place.account);
        this.#forgetEmpty(place.purse);
        return [];
      case 'account':
        this.#accounts.get(nodeOfAccount(place.account))?.delete(place.account);
        return [{ kind: 'account', account: place.account }];
      case undefined:
        return [];
    }
  }

  #forgetEmpty(purse: PurseKey): void {
    const isEmpty = this.#entries.get(purse)?.size === 0 && !this.#held.has(reserveKey(purse));
    if (isEmpty) this.#entries.delete(purse);
  }
}
