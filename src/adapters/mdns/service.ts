/** What this node says of itself by DNS-based service discovery (RFC 6763), as records for multicast DNS. */
import type { QueryOutgoingPacket, ResponseOutgoingPacket } from 'multicast-dns';
import type { NodeId, SwarmId } from '../../kernel/ids.ts';
import { type Address, isLoopback, parseAddress } from '../../mesh/discovery/address.ts';

export type DnsRecord = ResponseOutgoingPacket['answers'][number];
export type DnsQuestion = QueryOutgoingPacket['questions'][number];

export const SERVICE = '_skein._tcp.local';
/** Lists the kinds of services there are (RFC 6763, section 9). */
const ENUMERATION = '_services._dns-sd._udp.local';
const TXT_VERSION = '1';
/** Digits of the swarm id in TXT: enough to pass over other swarms, too few to be worth anything. */
const SWARM_DIGITS = 8;
/** What TXT may spend on further addresses: all in all a packet stays well under one frame of Ethernet. */
const MORE_ADDRESSES = 4;
const MORE_BYTES = 200;

/** RFC 6762, section 10: names of hosts and their addresses are kept for 2 minutes, the rest for 75. */
const HOST_TTL_S = 120;
export const OTHER_TTL_S = 4_500;

export interface Identity {
  readonly name: string;
  readonly nodeId: NodeId;
  readonly swarm: SwarmId;
}

export interface OwnNames {
  readonly instance: string;
  readonly host: string;
}

/** The end of the node id keeps both apart from every other node's, so they need no probing (RFC 6762, section 8.1). */
export function ownNames({ name, nodeId }: Identity): OwnNames {
  const tail = nodeId.slice(-8);
  let label = name.replace(/[^\p{L}\p{N} _-]/gu, '-').trim();
  while (Buffer.byteLength(label) > 50) label = label.slice(0, -1);
  return {
    instance: `${label === '' ? 'node' : label}-${tail}.${SERVICE}`,
    host: `skein-${tail.toLowerCase()}.local`,
  };
}

/** The kinds of records of this node; a question asks for some of them. */
export type OwnKind = 'enumeration' | 'pointer' | 'srv' | 'txt' | 'host';
export type OwnRecords = Readonly<Record<OwnKind, readonly DnsRecord[]>>;

/** `interfaceAddresses` are those of the interface on which the records are told. Empty where nothing listens. */
export function ownRecords(
  identity: Identity,
  listening: readonly string[],
  interfaceAddresses: readonly string[],
): OwnRecords | undefined {
  const { instance, host } = ownNames(identity);
  const own = listening.flatMap((text) => {
    const parsed = parseAddress(text);
    return parsed.ok ? [parsed.value] : [];
  });
  const main = own.find((address) => address.transport === 'tcp') ?? own[0];
  if (main === undefined) return undefined;
  const sameDoor = own.filter(({ port, transport }) => port === main.port && transport === main.transport);
  const hosts = hostsToTell(sameDoor, interfaceAddresses);
  const txt = [
    `v=${TXT_VERSION}`,
    `id=${identity.nodeId}`,
    `sw=${swarmPrefix(identity.swarm)}`,
    ...(main.transport === 'tcp' ? [] : [`t=${main.transport}`]),
    ...moreAddresses(own, hosts, main, interfaceAddresses),
  ];
  const unique = { class: 'IN', flush: true } as const;
  return {
    enumeration: [{ name: ENUMERATION, type: 'PTR', ttl: OTHER_TTL_S, data: SERVICE }],
    pointer: [{ name: SERVICE, type: 'PTR', ttl: OTHER_TTL_S, data: instance }],
    srv: [
      { name: instance, type: 'SRV', ttl: HOST_TTL_S, ...unique, data: { target: host, port: main.port } },
    ],
    txt: [{ name: instance, type: 'TXT', ttl: OTHER_TTL_S, ...unique, data: txt }],
    host: hosts.map((address) => ({
      name: host,
      type: address.includes(':') ? 'AAAA' : 'A',
      ttl: HOST_TTL_S,
      ...unique,
      data: address,
    })),
  };
}

export function swarmPrefix(swarm: SwarmId): string {
  return swarm.slice(0, SWARM_DIGITS);
}

/** Those of this interface where the node listens on it; loopback only where it listens on nothing else. */
function hostsToTell(own: readonly Address[], interfaceAddresses: readonly string[]): readonly string[] {
  const hosts = own
    .filter(({ hostKind }) => hostKind === 'ip4' || hostKind === 'ip6')
    .map(({ host }) => host);
  if (hosts.some((host) => host === '0.0.0.0' || host === '::')) return interfaceAddresses;
  const here = hosts.filter((host) => interfaceAddresses.includes(host));
  if (here.length > 0) return here;
  const outward = own.filter((address) => !isLoopback(address)).map(({ host }) => host);
  return outward.length > 0 ? outward.filter((host) => hosts.includes(host)) : hosts;
}

function moreAddresses(
  own: readonly Address[],
  hosts: readonly string[],
  main: Address,
  interfaceAddresses: readonly string[],
): readonly string[] {
  const more: string[] = [];
  let bytes = 0;
  for (const address of own) {
    if (address.port === main.port && address.transport === main.transport && hosts.includes(address.host))
      continue;
    const reachesHere = address.hostKind.startsWith('dns') || interfaceAddresses.includes(address.host);
    const text = `a=${address.endpoint}`;
    bytes += text.length + 1;
    if (more.length === MORE_ADDRESSES || bytes > MORE_BYTES) break;
    if (reachesHere) more.push(text);
  }
  return more;
}

const ALL: readonly OwnKind[] = ['enumeration', 'pointer', 'srv', 'txt', 'host'];

/** The records of some kinds, and those that who asks for them will ask next (RFC 6763, section 12). */
export function answer(
  own: OwnRecords,
  kinds: Iterable<OwnKind> = ALL,
): { readonly answers: DnsRecord[]; readonly additionals: DnsRecord[] } {
  const wanted = new Set(kinds);
  const further = new Set<OwnKind>();
  if (wanted.has('pointer')) for (const kind of ['srv', 'txt', 'host'] as const) further.add(kind);
  if (wanted.has('srv')) further.add('host');
  return {
    answers: ALL.filter((kind) => wanted.has(kind)).flatMap((kind) => own[kind]),
    additionals: ALL.filter((kind) => further.has(kind) && !wanted.has(kind)).flatMap((kind) => own[kind]),
  };
}

/** Goodbye (RFC 6762, section 10.1). */
export function farewell(own: OwnRecords): DnsRecord[] {
  return (['pointer', 'srv', 'txt', 'host'] as const).flatMap((kind) =>
    own[kind].map((record) => ({ ...record, ttl: 0 }) as DnsRecord),
  );
}

/** What of this node's a question asks for. */
export function asksFor(question: DnsQuestion, { instance, host }: OwnNames): readonly OwnKind[] {
  const name = question.name.toLowerCase();
  const asked: string = question.type;
  const is = (...types: readonly string[]) => types.includes(asked) || asked === 'ANY';
  if (name === SERVICE) return is('PTR') ? ['pointer'] : [];
  if (name === ENUMERATION) return is('PTR') ? ['enumeration'] : [];
  if (name === instance.toLowerCase())
    return [...(is('SRV') ? ['srv' as const] : []), ...(is('TXT') ? ['txt' as const] : [])];
  if (name === host) return is('A', 'AAAA') ? ['host'] : [];
  return [];
}
