/**
 * Session guarantees from the recorded history alone: read your writes, monotonic reads, monotonic writes, writes
 * follow reads (Terry et al. 1994), and, what they come to with tokens that cover whole replicas, causal order.
 *
 * For every session the checker keeps what it must see from now on: by key, the least revision. An answer adds what it
 * showed or wrote; reading a value adds all that its writer had seen when it wrote it.
 */
import { type Operation, textsOf } from '../history.ts';

type Seen = Map<string, number>;

export class SessionChecker {
  readonly #violate: (what: string) => void;
  readonly #sessions = new Map<number, Seen>();
  /** What the writer of each unique text had seen, its own write included. */
  readonly #writers = new Map<string, Seen>();
  #checked = 0;

  constructor(violate: (what: string) => void) {
    this.#violate = violate;
  }

  /** Answers that were held against what their session had seen. */
  get checked(): number {
    return this.#checked;
  }

  /** Takes operations in the order in which they returned. */
  observe(operation: Operation): void {
    const { call, answer, outcome, client, inSession, written } = operation;
    const seen = (inSession ? this.#sessions.get(client) : undefined) ?? new Map<string, number>();
    if (inSession) this.#sessions.set(client, seen);
    // A call whose outcome is unknown may be read by others later: what its session had seen goes before it.
    if (outcome === 'info' && inSession) for (const text of written) this.#writers.set(text, new Map(seen));
    if (outcome !== 'ok' || answer === undefined) return;
    if (call.op === 'read') this.#read(operation, call.key, seen);
    else if (call.op === 'list') this.#list(operation, seen);
    else if ('key' in call && call.key !== undefined && answer.revision !== undefined) {
      if (call.op === 'delete' && answer.deleted === false) return;
      this.#expectNotOlder(operation, call.key, answer.revision, seen, 'wrote');
      raise(seen, call.key, answer.revision);
      if (inSession) for (const text of written) this.#writers.set(text, new Map(seen));
    }
  }

  #read(operation: Operation, key: string, seen: Seen): void {
    const { answer, inSession } = operation;
    const revision = answer?.revision ?? 0;
    if (!inSession) return;
    this.#expectNotOlder(operation, key, revision, seen, 'read');
    raise(seen, key, revision);
    this.#follow(textsOf(answer?.value), seen);
  }

  #list(operation: Operation, seen: Seen): void {
    if (!operation.inSession) return;
    const entries = operation.answer?.entries ?? [];
    for (const entry of entries) this.#expectNotOlder(operation, entry.key, entry.revision, seen, 'listed');
    for (const entry of entries) {
      raise(seen, entry.key, entry.revision);
      this.#follow(textsOf(entry.value), seen);
    }
  }

  #follow(texts: readonly string[], seen: Seen): void {
    for (const text of texts)
      for (const [key, revision] of this.#writers.get(text) ?? []) raise(seen, key, revision);
  }

  #expectNotOlder(operation: Operation, key: string, revision: number, seen: Seen, did: string): void {
    this.#checked += 1;
    const least = seen.get(key) ?? 0;
    if (revision >= least) return;
    const { client, machine, index } = operation;
    this.#violate(
      `client ${client} ${did} ${key} at revision ${revision} on node-${machine} (operation ${index}), but its session had seen ${least}`,
    );
  }
}

function raise(seen: Seen, key: string, revision: number): void {
  if (revision > (seen.get(key) ?? 0)) seen.set(key, revision);
}
