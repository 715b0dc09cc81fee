import { equalBytes } from '../../kernel/codec.ts';
import type { Mark, PeerDown, PeerUp, Send } from '../../kernel/effects.ts';
import type { Incarnation, NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Machine } from '../../kernel/machine.ts';
import type { Cryptography, WireEvent } from '../../kernel/ports.ts';
import type { Rng } from '../../kernel/rng.ts';
import { type Deadline, earliest, type Instant } from '../../kernel/time.ts';
import {
  CERTIFICATE_SKEW_MS,
  type CertificateBody,
  openCertificate,
  validityProblem,
} from '../identity/certificate.ts';
import type { Problem } from '../view.ts';
import {
  decodeHelloFrame,
  encodeHello,
  encodeRefusal,
  type Hello,
  PROTOCOL_VERSIONS,
  type Refusal,
  type RefusalCode,
} from './hello.ts';
import { Penalties } from './penalties.ts';
import { Problems } from './problems.ts';

/** Reasons of `dialFailed` that mean more than "try again". */
export const DIAL_SELF = 'the address is this node itself';
export const DIAL_TWIN = 'another machine has the identity of this node';

interface LinksConfig {
  readonly rootPublicKey: Uint8Array;
  /** Own certificate, as sent. */
  readonly certificate: Uint8Array;
  /** Version of this program. */
  readonly software: string;
  readonly incarnation: Incarnation;
}

interface LinksOptions {
  readonly self: NodeId;
  readonly config: LinksConfig;
  readonly cryptography: Cryptography;
  readonly rng: Rng;
  readonly now: Instant;
}

export type LinksEvent =
  | WireEvent
  /** The wire listens: these go into every greeting from here on. */
  | { readonly kind: 'listening'; readonly addresses: readonly string[] }
  /** The own certificate was issued anew; peers are told. */
  | { readonly kind: 'renewed'; readonly certificate: Uint8Array }
  | { readonly kind: 'penalised'; readonly peer: NodeId; readonly reason: string };

/** What a verified greeting told about a peer. */
interface PeerFacts {
  readonly name: string;
  readonly roles: readonly string[];
  readonly zone: string;
  readonly certificate: CertificateBody;
  readonly protocolVersion: number;
  readonly software: string;
  readonly incarnation: Incarnation;
  /** The peer's clock when it wrote the greeting. */
  readonly wallMs: number;
  /** Where the peer says that it listens: claims. */
  readonly listenAddresses: readonly string[];
  /** The address dialled, or where the connection came from. */
  readonly address: string;
  readonly direction: 'in' | 'out';
}

export interface LinkUp extends PeerUp, PeerFacts {}

export type LinksEffect =
  | Send
  /** Orders for the wire, in the order of the `hello` frames around them. */
  | { readonly kind: 'admit'; readonly stream: 'links'; readonly peer: NodeId }
  | { readonly kind: 'disconnect'; readonly stream: 'links'; readonly peer: NodeId; readonly reason: string }
  | LinkUp
  | PeerDown
  | Mark;

/** Greetings that an admitted peer may repeat before they count as offences. */
const REPEATED_HELLOS = 8;
/** Runs of one peer that are remembered, to tell a restart from a copied identity. */
const REMEMBERED_RUNS = 5;

interface Link {
  readonly peer: NodeId;
  readonly address: string;
  readonly direction: 'in' | 'out';
  /** `refused`: what still comes from it is not heard. */
  state: 'greeting' | 'up' | 'refused';
  /** When the greeting is overdue, or the certificate has run out. */
  deadline: Deadline;
  facts: PeerFacts | undefined;
  certificate: Uint8Array;
  hellos: number;
}

/**
 * Sessions with peers: nobody is heard before it has shown that it belongs to the swarm.
 *
 * Noise has proved which key the other side holds; the greeting (`hello`) shows that the swarm's root vouches for that
 * key, that both speak a common version, and that the clocks agree well enough for stamps to mean something. Both
 * sides greet at once and judge alone. Whoever refuses says why before it hangs up, since the person who can mend
 * it sits, as often as not, at the other machine.
 *
 * A peer is reported up once, however many connections it has. A greeting with another incarnation means that the
 * peer was restarted (down, then up); one with an incarnation that was already replaced means that two machines
 * run under one key, and cuts both off.
 *
 * Not here: whom to dial and when (discovery), and whether a linked peer is alive (membership).
 */
export class Links implements Machine<LinksEvent, LinksEffect> {
  readonly #self: NodeId;
  readonly #cryptography: Cryptography;
  readonly #config: LinksConfig;
  readonly #links = new Map<NodeId, Link>();
  /** The runs of each peer, newest last; they outlive its links. */
  readonly #runs = new Map<NodeId, readonly Incarnation[]>();
  readonly #penalties = new Penalties();
  readonly #problems = new Problems();
  #certificate: Uint8Array;
  #addresses: readonly string[] = [];
  #now: Instant;
  /** Hosts ask after every event of the whole node, which seldom concerns links. */
  #nearest: { readonly deadline: Deadline | undefined } | undefined;

  constructor(options: LinksOptions) {
    this.#self = options.self;
    this.#cryptography = options.cryptography;
    this.#config = options.config;
    this.#certificate = options.config.certificate;
    this.#now = options.now;
  }

  /** Recent refusals, for `status` and `doctor`; oldest first. */
  problems(): readonly Problem[] {
    return this.#problems.list(this.#now.monoMs);
  }

  /** What the peer's greeting told; `undefined` unless it is admitted. */
  facts(peer: NodeId): PeerFacts | undefined {
    return this.#links.get(peer)?.facts;
  }

  /** Admitted peers, in the order in which they came. */
  admitted(): readonly NodeId[] {
    return [...this.#links.values()].filter((link) => link.state === 'up').map((link) => link.peer);
  }

  deadline(): Deadline | undefined {
    this.#nearest ??= { deadline: earliest(this.#links.values().map((link) => link.deadline)) };
    return this.#nearest.deadline;
  }

  handle(event: LinksEvent, now: Instant): readonly LinksEffect[] {
    this.#now = now;
    this.#nearest = undefined;
    switch (event.kind) {
      case 'connected':
        return this.#handleConnected(event);
      case 'disconnected':
        return this.#handleDisconnected(event.peer, event.reason);
      case 'frame':
        return event.channel === 'hello' ? this.#handleFrame(event.from, event.bytes) : [];
      case 'penalised':
        return this.#handlePenalised(event);
      case 'listening':
        this.#addresses = event.addresses.slice(0, limits.addressesPerMember);
        return [];
      case 'renewed':
        this.#certificate = event.certificate;
        return this.admitted().map((peer) => this.#send(peer, this.#hello()));
      case 'dialFailed':
        return event.reason === DIAL_TWIN ? this.#reportTwin(event.address) : [];
      case 'dropped':
        return [];
    }
  }

  expire(now: Instant): readonly LinksEffect[] {
    this.#now = now;
    this.#nearest = undefined;
    const effects: LinksEffect[] = [];
    for (const link of this.#links.values()) {
      if (link.deadline.atMs > now.monoMs) continue;
      if (link.state === 'greeting') effects.push(...this.#refuse(link, 'silent'));
      else if (link.state === 'up') effects.push(...this.#expireCertificate(link));
      else effects.push(...this.#cut(link, 'refused'));
    }
    return effects;
  }

  #handleConnected(event: WireEvent & { readonly kind: 'connected' }): readonly LinksEffect[] {
    const { peer, address, direction } = event;
    const known = this.#links.get(peer);
    // A second connection to a peer, or the peer's next run before the last one's connection broke: greet on it too.
    if (known !== undefined && known.state !== 'refused') return [this.#send(peer, this.#hello())];
    const link: Link = {
      peer,
      address,
      direction,
      state: 'greeting',
      deadline: this.#within(limits.helloTimeoutMs, 'hello overdue'),
      facts: undefined,
      certificate: new Uint8Array(0),
      hellos: 0,
    };
    this.#links.set(peer, link);
    if (peer === this.#self) return this.#refuse(link, 'identity-twice');
    const barredMs = this.#penalties.barredMs(peer, this.#now.monoMs);
    if (barredMs > 0) return this.#refuse(link, 'barred', barredMs);
    return [this.#send(peer, this.#hello())];
  }

  #handleDisconnected(peer: NodeId, reason: string): readonly LinksEffect[] {
    const link = this.#links.get(peer);
    if (link === undefined) return [];
    this.#links.delete(peer);
    return link.state === 'up' ? [{ kind: 'peerDown', peer, reason }] : [];
  }

  #handleFrame(peer: NodeId, bytes: Uint8Array): readonly LinksEffect[] {
    const link = this.#links.get(peer);
    if (link === undefined || link.state === 'refused') return [];
    const frame = decodeHelloFrame(bytes);
    if (frame === undefined) {
      return link.state === 'up'
        ? this.#handlePenalised({ peer, reason: 'malformed hello' })
        : this.#refuse(link, 'malformed');
    }
    return frame.kind === 'hello'
      ? this.#handleHello(link, frame.hello)
      : this.#handleRefusal(link, frame.refusal);
  }

  #handleHello(link: Link, hello: Hello): readonly LinksEffect[] {
    link.hellos++;
    if (link.state === 'up' && link.hellos > REPEATED_HELLOS) {
      return this.#handlePenalised({ peer: link.peer, reason: 'too many hellos' });
    }
    const isRepeated =
      link.facts?.incarnation === hello.incarnation && equalBytes(link.certificate, hello.certificate);
    if (isRepeated) return [];

    const version = Math.min(hello.mostVersion, PROTOCOL_VERSIONS.most);
    if (version < Math.max(hello.leastVersion, PROTOCOL_VERSIONS.least)) {
      return this.#refuse(link, 'protocol-version', 0, versionsOf(hello));
    }
    const opened = openCertificate(
      this.#cryptography,
      this.#config.rootPublicKey,
      hello.certificate,
      link.peer,
    );
    if (!opened.ok) {
      return this.#refuse(link, opened.error === 'wrong-swarm' ? 'wrong-swarm' : 'bad-certificate');
    }
    const aheadMs = this.#now.wallMs - hello.wallMs;
    if (Math.abs(aheadMs) > limits.clockSkewMs) return this.#refuse(link, 'clock', aheadMs);
    const outOfDate = validityProblem(opened.value, this.#now);
    if (outOfDate !== undefined) return this.#refuse(link, outOfDate);
    const runs = this.#runs.get(link.peer) ?? [];
    if (runs.slice(0, -1).includes(hello.incarnation)) return this.#refuse(link, 'identity-twice');
    return this.#admit(link, hello, opened.value, version);
  }

  #admit(link: Link, hello: Hello, certificate: CertificateBody, version: number): readonly LinksEffect[] {
    const { peer } = link;
    const { name, roles, zone } = certificate;
    const former = link.facts;
    const facts: PeerFacts = {
      name,
      roles,
      zone,
      certificate,
      protocolVersion: version,
      software: hello.software,
      incarnation: hello.incarnation,
      wallMs: hello.wallMs,
      listenAddresses: hello.addresses,
      address: link.address,
      direction: link.direction,
    };
    link.facts = facts;
    link.certificate = hello.certificate;
    link.state = 'up';
    link.deadline = this.#within(
      certificate.notAfterMs + CERTIFICATE_SKEW_MS - this.#now.wallMs,
      'certificate expires',
    );
    this.#problems.clear(peer);
    this.#remember(peer, facts.incarnation);
    if (former?.incarnation === facts.incarnation) return [mark('debug', 'link.renewed', { peer })];
    const effects: LinksEffect[] = [];
    if (former !== undefined) {
      link.hellos = 1;
      effects.push({ kind: 'peerDown', peer, reason: 'restarted' });
    }
    effects.push(
      { kind: 'admit', stream: 'links', peer },
      { kind: 'peerUp', peer, ...facts },
      mark('info', 'link.up', { peer, name, address: link.address, direction: link.direction }),
    );
    return effects;
  }

  #handleRefusal(link: Link, refusal: Refusal): readonly LinksEffect[] {
    const { code, ms } = refusal;
    return [
      ...this.#report(link, code, 'they-refused', ms, versionsOf(refusal)),
      ...this.#cut(link, `refused by the peer: ${code}`),
    ];
  }

  #handlePenalised(event: { readonly peer: NodeId; readonly reason: string }): readonly LinksEffect[] {
    const { peer, reason } = event;
    const link = this.#links.get(peer);
    if (link?.state !== 'up') return [];
    const noted = mark('warn', 'link.penalised', { peer, reason });
    if (!this.#penalties.add(peer, this.#now.monoMs)) return [noted];
    return [noted, ...this.#refuse(link, 'barred', this.#penalties.barredMs(peer, this.#now.monoMs))];
  }

  #expireCertificate(link: Link): readonly LinksEffect[] {
    const problem = link.facts === undefined ? 'expired' : validityProblem(link.facts.certificate, this.#now);
    if (problem !== undefined) return this.#refuse(link, problem);
    // The wall clock was set back meanwhile: the date is still to come.
    const leftMs = (link.facts?.certificate.notAfterMs ?? 0) + CERTIFICATE_SKEW_MS - this.#now.wallMs;
    link.deadline = this.#within(leftMs + 1, 'certificate expires');
    return [];
  }

  /** Says why, then hangs up. */
  #refuse(link: Link, code: RefusalCode, ms = 0, versions = ''): readonly LinksEffect[] {
    return [
      ...this.#report(link, code, 'we-refused', ms, versions),
      this.#send(link.peer, encodeRefusal(code, ms)),
      ...this.#cut(link, `refused: ${code}`),
    ];
  }

  #cut(link: Link, reason: string): readonly LinksEffect[] {
    const { peer } = link;
    const wasUp = link.state === 'up';
    link.state = 'refused';
    link.facts = undefined;
    // The wire reports the end; should it not, the order is repeated.
    link.deadline = this.#within(limits.helloTimeoutMs, 'disconnect overdue');
    const effects: LinksEffect[] = [{ kind: 'disconnect', stream: 'links', peer, reason }];
    if (wasUp) effects.push({ kind: 'peerDown', peer, reason });
    return effects;
  }

  #report(
    link: Link,
    code: RefusalCode,
    side: 'we-refused' | 'they-refused',
    ms: number,
    versions: string,
  ): readonly LinksEffect[] {
    const { peer, address } = link;
    const isNews = this.#problems.add({ peer, code, side, address, ms, versions }, this.#now.monoMs);
    return [mark(isNews ? 'warn' : 'debug', 'link.refused', { peer, address, code, side })];
  }

  #reportTwin(address: string): readonly LinksEffect[] {
    const incident = { peer: this.#self, code: 'identity-twice', side: 'we-refused', address } as const;
    const isNews = this.#problems.add({ ...incident, ms: 0, versions: '' }, this.#now.monoMs);
    return [mark(isNews ? 'warn' : 'debug', 'link.refused', incident)];
  }

  #remember(peer: NodeId, incarnation: Incarnation): void {
    const runs = this.#runs.get(peer) ?? [];
    this.#runs.delete(peer);
    if (this.#runs.size >= limits.members) {
      const oldest = this.#runs.keys().next();
      if (!oldest.done) this.#runs.delete(oldest.value);
    }
    const isKnown = runs.at(-1) === incarnation;
    this.#runs.set(peer, isKnown ? runs : [...runs, incarnation].slice(-REMEMBERED_RUNS));
  }

  #hello(): Uint8Array {
    return encodeHello({
      leastVersion: PROTOCOL_VERSIONS.least,
      mostVersion: PROTOCOL_VERSIONS.most,
      certificate: this.#certificate,
      wallMs: this.#now.wallMs,
      software: this.#config.software,
      addresses: this.#addresses,
      incarnation: this.#config.incarnation,
    });
  }

  #send(peer: NodeId, bytes: Uint8Array): Send {
    return { kind: 'send', stream: 'links', to: [peer], channel: 'hello', bytes };
  }

  #within(ms: number, reason: string): Deadline {
    return { atMs: this.#now.monoMs + ms, reason };
  }
}

function versionsOf(other: { readonly leastVersion: number; readonly mostVersion: number }): string {
  const ours = `${PROTOCOL_VERSIONS.least} to ${PROTOCOL_VERSIONS.most}`;
  return `this node ${ours}, the other ${other.leastVersion} to ${other.mostVersion}`;
}

function mark(level: Mark['level'], name: string, fields: Mark['fields']): Mark {
  return { kind: 'mark', level, name, fields };
}
