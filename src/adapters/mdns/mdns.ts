/**
 * Finds nodes on the local network, and is found, by DNS-based service discovery over multicast DNS (RFC 6762, 6763).
 *
 * The service is `_skein._tcp.local`; an instance is `<name>-<end of the node id>`, with the port in SRV, the addresses
 * in A and AAAA, and in TXT `v=1`, `id=` the node id, `sw=` the first 8 digits of the swarm id, `t=` the transport where
 * it is not TCP, `a=` further multiaddrs. So `avahi-browse -r _skein._tcp` and every other browser of services sees it.
 *
 * Each interface has its own channel; interfaces that come and go are looked for every 5 seconds. Questions go out at
 * start and 1, 3, 9 and 27 seconds later, then about once a minute on the whole link: who hears another's
 * question puts off its own, since the answers are for all.
 *
 * Limits. Speaks over IPv4 only (AAAA records are told and understood). Names are unique by the node id and not probed for. A lost
 * goodbye leaves a claim standing for two minutes; nothing depends on it.
 */
import type { NodeId, SwarmId } from '../../kernel/ids.ts';
import type { Logger } from '../../kernel/ports.ts';
import type { Claimed, Withdrawn } from '../../mesh/discovery/discovery.ts';
import type { Problem } from '../../mesh/view.ts';
import { MdnsCache, type MdnsClaim } from './cache.ts';
import { Channel } from './channel.ts';
import { type MdnsInterface, mdnsInterfaces } from './interfaces.ts';
import { type DnsRecord, type Identity, ownNames, ownRecords, SERVICE } from './service.ts';

export interface MdnsOptions extends Identity {
  readonly name: string;
  readonly nodeId: NodeId;
  readonly swarm: SwarmId;
  /** Own multiaddrs as of now; where there are none, the node looks for others without being found. */
  readonly addresses: () => readonly string[];
  readonly on: (event: Claimed | Withdrawn) => void;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
  /** The machine's own, unless told. */
  readonly interfaces?: () => readonly MdnsInterface[];
  /** Default 5353. */
  readonly port?: number;
}

export interface Mdns {
  /** Empty while it works. */
  problems(): readonly Problem[];
  /** Says goodbye and closes everything; within half a second. */
  stop(): Promise<void>;
}

const RESCAN_MS = 5_000;
const FIRST_QUESTIONS_MS = [0, 1_000, 3_000, 9_000, 27_000];
const ANNOUNCEMENTS_MS = [0, 1_000];
const QUESTION_MS = 45_000;
const QUESTION_JITTER_MS = 15_000;

/** Never throws: where multicast is not to be had, `problems()` says so and it tries again. */
export function startMdns(options: MdnsOptions): Mdns {
  const browser = new MdnsBrowser(options);
  browser.start();
  return browser;
}

class MdnsBrowser implements Mdns {
  readonly #options: MdnsOptions;
  readonly #cache: MdnsCache;
  readonly #channels = new Map<string, Channel>();
  readonly #failures = new Map<string, string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #questionTimer: NodeJS.Timeout | undefined;
  #told = '';
  #startedMs = 0;
  #stopped: Promise<void> | undefined;

  constructor(options: MdnsOptions) {
    this.#options = options;
    this.#cache = new MdnsCache(options.nodeId, options.swarm);
  }

  start(): void {
    const { signal } = this.#options;
    if (signal?.aborted) {
      this.#stopped = Promise.resolve();
      return;
    }
    signal?.addEventListener('abort', () => void this.stop(), { once: true });
    this.#startedMs = performance.now();
    this.#told = this.#options.addresses().join(' ');
    this.#rescan();
    const rescan = setInterval(() => this.#rescan(), RESCAN_MS);
    rescan.unref();
    this.#timers.add(rescan);
    this.#planQuestion();
  }

  problems(): readonly Problem[] {
    if (this.#stopped !== undefined) return [];
    if ([...this.#channels.values()].some((channel) => channel.isReady)) return this.#strangers();
    const reasons = [...this.#failures].map(([name, reason]) => `${name}: ${reason}`);
    if (reasons.length === 0 && this.#channels.size > 0) return [];
    const why = reasons.length > 0 ? reasons.join('; ') : 'no network interface with IPv4';
    return [
      {
        code: 'MDNS_UNAVAILABLE',
        message: `Nodes on the local network cannot be found by multicast DNS (${why}).`,
        hint: 'Let this process use UDP port 5353 together with others and send to 224.0.0.251, or name the others with --peer and switch this off with --no-mdns.',
      },
    ];
  }

  /** Alone among strangers: most likely a secret was mistyped, and nothing else would tell, as they are never dialled. */
  #strangers(): readonly Problem[] {
    const { ours, foreign } = this.#cache.counts();
    if (ours > 0 || foreign === 0) return [];
    return [
      {
        code: 'MDNS_OTHER_SWARM',
        message: `No node of this swarm is found on the local network, but ${foreign} with a different swarm secret.`,
        hint: 'If this node belongs to them, give it the same secret (SKEIN_SWARM_SECRET, or the file swarm.secret in the data directory) and restart. If not, all is well.',
      },
    ];
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#close();
    return this.#stopped;
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    clearTimeout(this.#questionTimer);
    const channels = [...this.#channels.values()];
    this.#channels.clear();
    await Promise.all(channels.map((channel) => channel.close()));
  }

  #rescan(): void {
    const found = new Map((this.#options.interfaces ?? mdnsInterfaces)().map((on) => [keyOf(on), on]));
    for (const [key, channel] of this.#channels) {
      if (found.has(key)) continue;
      this.#channels.delete(key);
      void channel.close();
    }
    for (const name of this.#failures.keys()) {
      if (![...found.values()].some((on) => on.name === name)) this.#failures.delete(name);
    }
    for (const [key, on] of found) if (!this.#channels.has(key)) this.#open(key, on);
    this.#report(this.#cache.expire(performance.now()));
    this.#askForMissing();
    const told = this.#options.addresses().join(' ');
    if (told !== this.#told) {
      this.#told = told;
      for (const channel of this.#channels.values()) channel.announce();
    }
  }

  #open(key: string, on: MdnsInterface): void {
    const { logger, port = 5353 } = this.#options;
    const records = () => ownRecords(this.#options, this.#options.addresses(), on.addresses);
    const channel = new Channel(
      {
        on,
        port,
        names: ownNames(this.#options),
        records,
        onRecords: (told, isLocal) => this.#note(told, isLocal),
        onSameQuestion: () => {
          if (performance.now() - this.#startedMs > (FIRST_QUESTIONS_MS.at(-1) ?? 0)) this.#planQuestion();
        },
        onFailed: (reason) => {
          this.#channels.delete(key);
          if (this.#failures.get(on.name) === reason) return;
          this.#failures.set(on.name, reason);
          logger.log('warn', 'mdns.unavailable', { interface: on.name, reason });
        },
        logger,
      },
      () => {
        this.#failures.delete(on.name);
        for (const ms of ANNOUNCEMENTS_MS) this.#later(ms, () => channel.announce());
        for (const ms of FIRST_QUESTIONS_MS) this.#later(ms, () => this.#ask(channel, ms > 0));
      },
    );
    this.#channels.set(key, channel);
  }

  #note(records: readonly DnsRecord[], isLocal: boolean): void {
    this.#report(this.#cache.note(records, isLocal, performance.now()));
    this.#askForMissing();
  }

  #report(changes: readonly MdnsClaim[]): void {
    if (this.#stopped !== undefined) return;
    for (const { kind, nodeId, ...change } of changes) {
      if (kind === 'withdrawn') this.#options.on({ kind, source: 'mdns', nodeId });
      else if ('addresses' in change) {
        this.#options.on({ kind, source: 'mdns', claims: [{ nodeId, addresses: change.addresses }] });
      }
    }
  }

  #askForMissing(): void {
    const names = this.#cache.incomplete(performance.now());
    if (names.length === 0) return;
    for (const channel of this.#channels.values()) {
      channel.query(
        names.flatMap((name) => [
          { name, type: 'SRV' as const },
          { name, type: 'TXT' as const },
        ]),
      );
    }
  }

  /** Asks who is there; with `sparing`, whoever is known well need not answer. */
  #ask(channel: Channel, sparing: boolean): void {
    const known = sparing ? this.#cache.known(performance.now()) : [];
    channel.query(
      [{ name: SERVICE, type: 'PTR' }],
      known.map(({ name, ttl }) => ({ name: SERVICE, type: 'PTR', ttl, data: name })),
    );
  }

  #planQuestion(): void {
    clearTimeout(this.#questionTimer);
    if (this.#stopped !== undefined) return;
    this.#questionTimer = setTimeout(
      () => {
        for (const channel of this.#channels.values()) this.#ask(channel, false);
        this.#planQuestion();
      },
      QUESTION_MS + QUESTION_JITTER_MS * Math.random(),
    );
    this.#questionTimer.unref();
  }

  #later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }
}

function keyOf(on: MdnsInterface): string {
  return [on.name, on.netmask, ...on.addresses].join(' ');
}
