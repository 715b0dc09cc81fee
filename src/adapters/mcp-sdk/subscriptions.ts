/** Resource subscriptions of the modern era: many open listens, each resource watched once. */
import { limits } from '../../kernel/limits.ts';
import type { ResourceUpdates } from '../../mcp/updates.ts';

interface Watch {
  listens: number;
  readonly stop: () => void;
}

/**
 * The SDK routes an update to all listens that asked for it, so each resource must be reported once however
 * many listens name it.
 */
export class ListenSubscriptions {
  readonly #updates: ResourceUpdates;
  readonly #tell: (uri: string) => void;
  readonly #watches = new Map<string, Watch>();

  constructor(updates: ResourceUpdates, tell: (uri: string) => void) {
    this.#updates = updates;
    this.#tell = tell;
  }

  /** Watches what the parameters of a `subscriptions/listen` name; the returned function ends it. */
  open(params: unknown): () => void {
    const uris = subscribedUris(params);
    for (const uri of uris) this.#add(uri);
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      for (const uri of uris) this.#remove(uri);
    };
  }

  close(): void {
    for (const { stop } of this.#watches.values()) stop();
    this.#watches.clear();
  }

  #add(uri: string): void {
    const watch = this.#watches.get(uri);
    if (watch !== undefined) {
      watch.listens++;
      return;
    }
    // What cannot be watched never changes as far as the listener can tell; the protocol has no way to say so.
    const started = this.#updates.watch(uri, this.#tell);
    if (started.ok) this.#watches.set(uri, { listens: 1, stop: started.value });
  }

  #remove(uri: string): void {
    const watch = this.#watches.get(uri);
    if (watch === undefined || --watch.listens > 0) return;
    this.#watches.delete(uri);
    watch.stop();
  }
}

function subscribedUris(params: unknown): string[] {
  const filter = (params as { notifications?: { resourceSubscriptions?: unknown } } | undefined)
    ?.notifications;
  const uris = filter?.resourceSubscriptions;
  if (!Array.isArray(uris)) return [];
  const texts = uris.filter((uri): uri is string => typeof uri === 'string');
  return [...new Set(texts)].slice(0, limits.subscriptionsPerClient);
}
