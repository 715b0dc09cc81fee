/**
 * Who asks, and what they were told: so that a request which comes twice takes effect once (dissertation, 6.3).
 *
 * An answer is remembered until its client says that it has it. A client that is not known is refused rather than
 * served: its request may be the retry of one that took effect before the client was forgotten.
 */
import type { ClientId, RequestHead } from './command.ts';
import { type Outcome, outcomeBytes, type Refusal } from './outcome.ts';

export interface ClientBounds {
  readonly quorumClients: number;
  readonly quorumClientRequests: number;
  readonly quorumClientBytes: number;
  readonly quorumAnswersBytes: number;
}

interface Client {
  readonly id: ClientId;
  /** Index of the last command of this client. */
  lastIndex: number;
  lowestOutstanding: number;
  bytes: number;
  readonly outcomes: Map<number, Outcome>;
}

export interface ClientState {
  readonly id: ClientId;
  readonly lastIndex: number;
  readonly lowestOutstanding: number;
  readonly outcomes: readonly (readonly [sequence: number, outcome: Outcome])[];
}

export class Clients {
  readonly #bounds: ClientBounds;
  readonly #clients = new Map<ClientId, Client>();
  #bytes = 0;

  constructor(bounds: ClientBounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#clients.size;
  }

  has(id: ClientId): boolean {
    return this.#clients.has(id);
  }

  /** It would be carried out now: its client is known, and nothing is remembered of it. */
  isNew(id: ClientId, sequence: number): boolean {
    const client = this.#clients.get(id);
    return client !== undefined && sequence >= client.lowestOutstanding && !client.outcomes.has(sequence);
  }

  /** Harmless where it is open. Of too many the one that was silent longest is forgotten. */
  open(id: ClientId, index: number): void {
    const known = this.#clients.get(id);
    if (known !== undefined) {
      known.lastIndex = index;
      return;
    }
    while (this.#clients.size >= this.#bounds.quorumClients) this.#forgetSilent();
    this.#clients.set(id, { id, lastIndex: index, lowestOutstanding: 0, bytes: 0, outcomes: new Map() });
  }

  close(id: ClientId): void {
    const client = this.#clients.get(id);
    if (client === undefined) return;
    this.#bytes -= client.bytes;
    this.#clients.delete(id);
  }

  /** Undefined for a request that is to be carried out now, and then remembered. */
  earlier(head: RequestHead, index: number): Outcome | Refusal | undefined {
    const client = this.#clients.get(head.client);
    if (client === undefined) return 'unknownClient';
    client.lastIndex = index;
    if (head.lowestOutstanding > client.lowestOutstanding) this.#release(client, head.lowestOutstanding);
    if (head.sequence < client.lowestOutstanding) return 'stale';
    const outcome = client.outcomes.get(head.sequence);
    if (outcome !== undefined) return outcome;
    const isFull =
      client.outcomes.size >= this.#bounds.quorumClientRequests ||
      client.bytes >= this.#bounds.quorumClientBytes;
    return isFull ? 'busy' : undefined;
  }

  remember(head: RequestHead, outcome: Outcome): void {
    const client = this.#clients.get(head.client);
    if (client === undefined) return;
    const bytes = outcomeBytes(outcome);
    client.outcomes.set(head.sequence, outcome);
    client.bytes += bytes;
    this.#bytes += bytes;
    while (this.#bytes > this.#bounds.quorumAnswersBytes && this.#clients.size > 1) this.#forgetSilent();
  }

  capture(): readonly ClientState[] {
    return [...this.#clients.values()]
      .map(({ id, lastIndex, lowestOutstanding, outcomes }) => ({
        id,
        lastIndex,
        lowestOutstanding,
        outcomes: [...outcomes].sort(([left], [right]) => left - right),
      }))
      .sort((left, right) => left.id - right.id);
  }

  restore(state: ClientState): void {
    const outcomes = new Map(state.outcomes);
    let bytes = 0;
    for (const outcome of outcomes.values()) bytes += outcomeBytes(outcome);
    this.#bytes += bytes;
    this.#clients.set(state.id, { ...state, bytes, outcomes });
  }

  #release(client: Client, lowestOutstanding: number): void {
    const { outcomes } = client;
    const from = client.lowestOutstanding;
    client.lowestOutstanding = lowestOutstanding;
    if (outcomes.size === 0) return;
    const forget = (sequence: number): void => {
      const outcome = outcomes.get(sequence);
      if (outcome === undefined) return;
      const bytes = outcomeBytes(outcome);
      client.bytes -= bytes;
      this.#bytes -= bytes;
      outcomes.delete(sequence);
    };
    if (lowestOutstanding - from <= outcomes.size) {
      for (let sequence = from; sequence < lowestOutstanding; sequence++) forget(sequence);
    } else {
      for (const sequence of outcomes.keys()) if (sequence < lowestOutstanding) forget(sequence);
    }
  }

  #forgetSilent(): void {
    let silent: Client | undefined;
    for (const client of this.#clients.values()) {
      if (silent === undefined || client.lastIndex < silent.lastIndex) silent = client;
    }
    if (silent !== undefined) this.close(silent.id);
  }
}
