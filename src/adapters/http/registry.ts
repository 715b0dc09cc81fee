/**
 * Reads a list of nodes from a URL again and again: discovery for networks without multicast, such as clouds.
 *
 * The answer is JSON, `{ "nodes": [{ "nodeId"?, "addresses": ["/ip4/…/tcp/…"] }] }`; further keys are passed over. What it
 * says are claims, never trust. Answers are bounded in size and time, unchanged ones cost a 304 (ETag), failures back off
 * with jitter. While the list cannot be read, what it said last stays claimed: an outage of the registry
 * takes nobody off the mesh.
 */
import { type NodeId, parseNodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Logger } from '../../kernel/ports.ts';
import type { Claim, Claimed, Withdrawn } from '../../mesh/discovery/discovery.ts';
import type { Problem } from '../../mesh/view.ts';

interface RegistryOptions {
  /** `http:` or `https:`. */
  readonly url: string;
  readonly on: (event: Claimed | Withdrawn) => void;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
  /** Time between two readings, less up to a fifth as jitter. Default 30 s. */
  readonly intervalMs?: number;
  /** For one reading in all. Default 10 s. */
  readonly timeoutMs?: number;
  /** Wait after a first failure, doubled with each further one up to ten times `intervalMs`. Default 1 s. */
  readonly retryMs?: number;
}

export interface Registry {
  /** Empty while the list can be read. */
  problems(): readonly Problem[];
  stop(): Promise<void>;
}

/** Never throws: what goes wrong is a problem, and is tried again. */
export function startRegistry(options: RegistryOptions): Registry {
  const poller = new RegistryPoller(options);
  poller.start();
  return poller;
}

/** What one reading gave. */
type Reading =
  | {
      readonly kind: 'read';
      readonly nodes: readonly Claim[];
      readonly etag: string | undefined;
      readonly refused: number;
    }
  | { readonly kind: 'unchanged' };

class RegistryPoller implements Registry {
  readonly #options: RegistryOptions;
  readonly #stopping = new AbortController();
  #claimed: ReadonlyMap<string, Claim> = new Map();
  #etag: string | undefined;
  #failures = 0;
  #problem: Problem | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> = Promise.resolve();

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  start(): void {
    const { signal } = this.#options;
    if (signal?.aborted) this.#stopping.abort();
    else signal?.addEventListener('abort', () => void this.stop(), { once: true });
    this.#reading = this.#readOnce();
  }

  problems(): readonly Problem[] {
    return this.#problem === undefined ? [] : [this.#problem];
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    clearTimeout(this.#timer);
    await this.#reading;
  }

  async #readOnce(): Promise<void> {
    const { intervalMs = 30_000, retryMs = 1_000, logger } = this.#options;
    if (this.#stopping.signal.aborted) return;
    let waitMs = intervalMs;
    try {
      const reading = await this.#read();
      if (this.#stopping.signal.aborted) return;
      this.#failures = 0;
      this.#problem = undefined;
      if (reading.kind === 'read') this.#take(reading);
    } catch (cause) {
      if (this.#stopping.signal.aborted) return;
      const failure = cause instanceof Refused ? cause : new Refused(reasonOf(cause), CHECK_NETWORK);
      waitMs = Math.min(10 * intervalMs, retryMs * 2 ** Math.min(this.#failures++, 16));
      this.#problem = {
        code: 'REGISTRY_UNREADABLE',
        message: `The list of nodes at ${shown(this.#options.url)} cannot be read: ${failure.message}.`,
        hint: failure.hint,
      };
      if (this.#failures === 1) logger.log('warn', 'registry.unreadable', { reason: failure.message });
    }
    this.#timer = setTimeout(
      () => {
        this.#reading = this.#readOnce();
      },
      waitMs * (1 - 0.2 * Math.random()),
    );
    this.#timer.unref();
  }

  async #read(): Promise<Reading> {
    const { url, timeoutMs = 10_000 } = this.#options;
    const response = await fetch(url, {
      headers: {
        accept: 'application/json',
        ...(this.#etag === undefined ? {} : { 'if-none-match': this.#etag }),
      },
      signal: AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(timeoutMs)]),
    });
    if (response.status === 304) {
      await response.body?.cancel();
      return { kind: 'unchanged' };
    }
    if (!response.ok) {
      await response.body?.cancel();
      throw new Refused(
        `it answered with status ${response.status}`,
        'Check the URL under mesh.registry and who may read it.',
      );
    }
    const etag = response.headers.get('etag') ?? undefined;
    return { kind: 'read', etag: boundedTag(etag), ...parseList(await boundedText(response)) };
  }

  #take(reading: Reading & { kind: 'read' }): void {
    this.#etag = reading.etag;
    if (reading.refused > 0) {
      this.#problem = {
        code: 'REGISTRY_ENTRIES_INVALID',
        message: `The list of nodes at ${shown(this.#options.url)} has ${reading.refused} entries that cannot be used.`,
        hint: FORM,
      };
    }
    const before = this.#claimed;
    const now = new Map(reading.nodes.map((claim) => [claim.nodeId ?? claim.addresses.join(' '), claim]));
    this.#claimed = now;
    for (const [key, claim] of before) {
      if (now.has(key)) continue;
      const { nodeId, addresses } = claim;
      this.#options.on({
        kind: 'withdrawn',
        source: 'registry',
        ...(nodeId === undefined ? { addresses } : { nodeId }),
      });
    }
    const news = [...now].filter(([key, claim]) => !isSame(before.get(key), claim)).map(([, claim]) => claim);
    if (news.length > 0) this.#options.on({ kind: 'claimed', source: 'registry', claims: news });
  }
}

const FORM =
  'The answer must be JSON: { "nodes": [{ "nodeId": "12D3KooW…", "addresses": ["/ip4/10.0.0.1/tcp/7331"] }] }.';
const CHECK_NETWORK =
  'Check the URL under mesh.registry, the network and the certificate of the server; the nodes known so far stay known.';

/** The list could not be had or read; says what to do. */
class Refused extends Error {
  readonly hint: string;
  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

async function boundedText(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > limits.registryBytes) {
      throw new Refused(
        `it is larger than ${limits.registryBytes} bytes`,
        'Serve a shorter list; a few nodes suffice, gossip brings the others.',
      );
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parseList(text: string): { nodes: readonly Claim[]; refused: number } {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refused('it is not JSON', FORM);
  }
  const list = isObject(body) ? body.nodes : undefined;
  if (!Array.isArray(list)) throw new Refused('it has no list "nodes"', FORM);
  const entries: readonly unknown[] = list;
  const nodes = entries.slice(0, limits.members).flatMap((entry) => {
    const claim = parseEntry(entry);
    return claim === undefined ? [] : [claim];
  });
  return { nodes, refused: entries.length - nodes.length };
}

function parseEntry(entry: unknown): Claim | undefined {
  if (!isObject(entry) || !Array.isArray(entry.addresses)) return undefined;
  const named = entry.nodeId;
  const nodeId: NodeId | undefined = parseNodeId(named);
  if (named !== undefined && nodeId === undefined) return undefined;
  const addresses = entry.addresses
    .slice(0, limits.addressesPerClaim)
    .filter(
      (address: unknown): address is string =>
        typeof address === 'string' && address.length <= limits.addressBytes,
    );
  if (addresses.length === 0) return undefined;
  return nodeId === undefined ? { addresses } : { nodeId, addresses };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function boundedTag(etag: string | undefined): string | undefined {
  return etag !== undefined && etag.length <= 256 ? etag : undefined;
}

function isSame(left: Claim | undefined, right: Claim): boolean {
  return left?.addresses.join(' ') === right.addresses.join(' ');
}

/** Without user, password and query, which may be secrets. */
function shown(url: string): string {
  return URL.canParse(url) ? `${new URL(url).origin}${new URL(url).pathname}` : 'the configured URL';
}

/** `fetch` hides what happened in `cause`. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'it did not answer in time';
  return error.cause instanceof Error ? error.cause.message : error.message;
}
