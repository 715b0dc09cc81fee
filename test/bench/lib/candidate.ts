/** What a replicated map must offer to be measured: the same for Skein and its peers. */

/** Written last in a burst: whoever sees it has seen all before it, since every candidate keeps a writer's order. */
export const LAST_KEY = '~last';

export interface Setup {
  /** Where the hub listens, for candidates that have one. */
  readonly hub: string | undefined;
  /** A directory of this participant's own. */
  readonly directory: string;
  /** The same in every participant of a group. */
  readonly group: string;
  readonly index: number;
}

/** One participant's copy, driven through its users' own API. */
export interface Replica {
  /** Where others reach this participant; empty where only the hub is reached. */
  readonly address: string;
  /** Meet the participants at `addresses` (those with a lower index); resolves once this copy can exchange with all. */
  connect(addresses: readonly string[], participants: number): Promise<void>;
  /** One call of the API; a promise where the API gives one. */
  set(key: string, value: string): void | Promise<void>;
  /** Many entries in the way that the API has for many: a transaction, or calls in one tick. */
  setAll(entries: readonly (readonly [key: string, value: string])[]): void | Promise<void>;
  /** Calls back for every change by others that has become visible. One listener. */
  observe(listener: (key: string, value: string) => void): void;
  entries(): Promise<Iterable<readonly [key: string, value: string]>>;
  /** What only this candidate can tell; `undefined` for an unknown question. */
  probe?(question: string, argument: unknown): unknown;
  close(): Promise<void>;
}

export interface Candidate {
  readonly name: string;
  open(setup: Setup): Promise<Replica>;
}
