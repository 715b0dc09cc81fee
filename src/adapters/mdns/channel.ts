import multicastDns, { type MulticastDNS, type QueryPacket, type ResponsePacket } from 'multicast-dns';
import { limits } from '../../kernel/limits.ts';
import type { Logger } from '../../kernel/ports.ts';
import { isOnLink, type MdnsInterface } from './interfaces.ts';
import {
  answer,
  asksFor,
  type DnsQuestion,
  type DnsRecord,
  farewell,
  type OwnKind,
  type OwnNames,
  type OwnRecords,
  SERVICE,
} from './service.ts';

interface ChannelOptions {
  readonly on: MdnsInterface;
  readonly port: number;
  readonly names: OwnNames;
  /** What to tell of this node here; `undefined` while it listens nowhere. */
  readonly records: () => OwnRecords | undefined;
  /** A response came; `isLocal` where from this machine. */
  readonly onRecords: (records: readonly DnsRecord[], isLocal: boolean) => void;
  /** Somebody else asked for all instances, so this node need not. */
  readonly onSameQuestion: () => void;
  readonly onFailed: (reason: string) => void;
  readonly logger: Logger;
}

interface Sender {
  readonly address: string;
  readonly port: number;
}

/** The same record is told to all at most once a second (RFC 6762, section 6). */
const REPEAT_MS = 1_000;
const QU = 'UNKNOWN_32769';
const LEGACY_TTL_S = 10;
const QUESTIONS = 32;
const FAREWELL_MS = 300;

/** Multicast DNS on one interface: answers what is asked of this node, hands on what others tell. */
export class Channel {
  readonly #options: ChannelOptions;
  readonly #mdns: MulticastDNS;
  readonly #toldMs = new Map<OwnKind, number>();
  readonly #pending = new Set<OwnKind>();
  #answerTimer: NodeJS.Timeout | undefined;
  #second = { startMs: 0, packets: 0 };
  #isReady = false;
  #isClosed = false;

  constructor(options: ChannelOptions, onReady: (channel: Channel) => void) {
    this.#options = options;
    // Bound to the interface's own address, a socket gets no multicast on Linux: it must be bound to all.
    this.#mdns = multicastDns({ interface: options.on.address, bind: '0.0.0.0', port: options.port });
    this.#mdns.on('error', (cause: Error) => this.#fail(cause));
    this.#mdns.on('warning', (cause: Error) => {
      if (!this.#isReady && /bind|setMulticast|addMembership/.test(cause.message)) this.#fail(cause);
      else options.logger.log('debug', 'mdns.warning', { interface: options.on.name, reason: cause.message });
    });
    this.#mdns.on('ready', () => {
      if (this.#isClosed) return;
      this.#isReady = true;
      onReady(this);
    });
    this.#mdns.on('query', (packet, sender) =>
      this.#guarded(sender, () => this.#handleQuery(packet, sender)),
    );
    this.#mdns.on('response', (packet, sender) =>
      this.#guarded(sender, () => this.#handleResponse(packet, sender)),
    );
  }

  get isReady(): boolean {
    return this.#isReady && !this.#isClosed;
  }

  query(questions: DnsQuestion[], answers: DnsRecord[] = []): void {
    if (this.isReady) this.#mdns.query({ questions, answers }, this.#reported);
  }

  /** Tells all of this node, asked or not. */
  announce(): void {
    const own = this.#options.records();
    if (!this.isReady || own === undefined) return;
    this.#mdns.respond(answer(own), this.#reported);
  }

  /** Says goodbye where there was something to take back, then closes; bounded. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    const own = this.isReady ? this.#options.records() : undefined;
    this.#isClosed = true;
    clearTimeout(this.#answerTimer);
    if (own !== undefined) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, FAREWELL_MS);
        this.#mdns.respond(farewell(own), () => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    this.#destroy();
  }

  #handleQuery(packet: QueryPacket, sender: Sender): void {
    const { names, port, on } = this.#options;
    const { answers: knownAnswers = [] } = packet;
    const questions = (packet.questions ?? []).slice(0, QUESTIONS);
    const kinds = new Set(questions.flatMap((question) => asksFor(question, names)));
    const asksAll = questions.some(({ name, type }) => name.toLowerCase() === SERVICE && type === 'PTR');
    if (asksAll && knownAnswers.length === 0 && sender.address !== on.address) this.#options.onSameQuestion();
    const own = this.#options.records();
    if (own === undefined) return;
    for (const kind of ['pointer', 'enumeration'] as const) {
      if (knownAnswers.slice(0, limits.mdnsRecords).some((known) => isKnown(known, own[kind][0])))
        kinds.delete(kind);
    }
    if (kinds.size === 0) return;
    if (sender.port !== port) {
      this.#answerLegacy(packet, own, kinds, sender);
      return;
    }
    if (questions.some((question) => String(question.class) === QU)) {
      this.#mdns.respond(answer(own, kinds), sender, this.#reported);
      if ([...kinds].every((kind) => this.#wasTold(kind, 30_000))) return;
    }
    this.#answerAll(kinds);
  }

  /** A plain resolver asks from a port of its own and knows nothing of multicast (RFC 6762, section 6.7). */
  #answerLegacy(packet: QueryPacket, own: OwnRecords, kinds: ReadonlySet<OwnKind>, sender: Sender): void {
    const plain = (records: readonly DnsRecord[]) =>
      records.map((record) => ({ ...record, flush: false, ttl: LEGACY_TTL_S }) as DnsRecord);
    const { answers, additionals } = answer(own, kinds);
    const questions = (packet.questions ?? []).slice(0, QUESTIONS);
    const reply = { id: packet.id, questions, answers: plain(answers), additionals: plain(additionals) };
    this.#mdns.respond(reply, sender, this.#reported);
  }

  /** Records that many may answer with wait 20 to 120 ms, so that not all speak at once (RFC 6762, section 6). */
  #answerAll(kinds: ReadonlySet<OwnKind>): void {
    for (const kind of kinds) if (!this.#wasTold(kind, REPEAT_MS)) this.#pending.add(kind);
    if (this.#pending.size === 0 || this.#answerTimer !== undefined) return;
    const isShared = this.#pending.has('pointer') || this.#pending.has('enumeration');
    this.#answerTimer = setTimeout(
      () => {
        this.#answerTimer = undefined;
        const own = this.#options.records();
        const due = [...this.#pending];
        this.#pending.clear();
        if (!this.isReady || own === undefined) return;
        for (const kind of due) this.#toldMs.set(kind, performance.now());
        this.#mdns.respond(answer(own, due), this.#reported);
      },
      isShared ? 20 + 100 * Math.random() : 0,
    );
    this.#answerTimer.unref();
  }

  #wasTold(kind: OwnKind, withinMs: number): boolean {
    const toldMs = this.#toldMs.get(kind);
    return toldMs !== undefined && performance.now() - toldMs < withinMs;
  }

  #handleResponse(packet: ResponsePacket, sender: Sender): void {
    // An answer from another port is not of multicast DNS (RFC 6762, section 6).
    if (sender.port !== this.#options.port) return;
    const { answers = [], additionals = [] } = packet;
    const records = [...answers, ...additionals].slice(0, limits.mdnsRecords);
    this.#options.onRecords(records, this.#options.on.addresses.includes(sender.address));
  }

  /** A socket hears what comes in by any interface: each channel keeps to its own, and to a bounded rate. */
  #guarded(sender: Sender, handle: () => void): void {
    if (!this.isReady || !isOnLink(sender.address, this.#options.on)) return;
    const nowMs = performance.now();
    if (nowMs - this.#second.startMs >= 1_000) this.#second = { startMs: nowMs, packets: 0 };
    if (++this.#second.packets > limits.mdnsPacketsPerSecond) return;
    try {
      handle();
    } catch (cause) {
      this.#options.logger.log('warn', 'mdns.packetRefused', { from: sender.address, reason: String(cause) });
    }
  }

  readonly #reported = (cause?: Error | null): void => {
    if (cause === undefined || cause === null || this.#isClosed) return;
    this.#options.logger.log('debug', 'mdns.sendFailed', {
      interface: this.#options.on.name,
      reason: cause.message,
    });
  };

  #fail(cause: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#answerTimer);
    this.#destroy();
    this.#options.onFailed(cause.message);
  }

  #destroy(): void {
    try {
      this.#mdns.destroy();
    } catch {
      // A socket that was never bound cannot be closed, and need not be.
    }
  }
}

function isKnown(known: DnsRecord, own: DnsRecord | undefined): boolean {
  if (own?.type !== 'PTR' || known.type !== 'PTR') return false;
  return (
    known.name.toLowerCase() === own.name &&
    String(known.data).toLowerCase() === own.data.toLowerCase() &&
    (known.ttl ?? 0) >= (own.ttl ?? 0) / 2
  );
}
