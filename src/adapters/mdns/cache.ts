/**
 * What others said by multicast DNS, put together to claims.
 *
 * Anybody on the link may say anything here. So everything is bounded and checked, and what comes out is no more than
 * "this node id may be found at these addresses": whoever dials them finds out.
 */
import { type NodeId, parseNodeId, type SwarmId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import { isLoopback, parseAddress } from '../../mesh/discovery/address.ts';
import { type DnsRecord, OTHER_TTL_S, SERVICE, swarmPrefix } from './service.ts';

interface Instance {
  readonly name: string;
  srv?: { readonly target: string; readonly port: number; readonly untilMs: number };
  txt?: {
    readonly entries: ReadonlyMap<string, readonly string[]>;
    readonly untilMs: number;
    readonly isLocal: boolean;
  };
  pointerUntilMs: number;
  /** When it was last asked for what is missing, and how often. */
  askedMs: number;
  asks: number;
  /** What it comes to; absent where it has to be worked out anew. */
  found?: readonly [NodeId, readonly string[]] | 'nothing';
}

interface HostAddress {
  readonly untilMs: number;
  /** A program on this machine said so. */
  readonly isLocal: boolean;
}

export type MdnsClaim =
  | { readonly kind: 'claimed'; readonly nodeId: NodeId; readonly addresses: readonly string[] }
  | { readonly kind: 'withdrawn'; readonly nodeId: NodeId };

const ASK_AGAIN_MS = 5_000;
const ASK_AT_ONCE = 8;
const ASKS = 3;
const SUFFIX = `.${SERVICE}`;

export class MdnsCache {
  readonly #self: NodeId;
  readonly #swarm: string;
  readonly #instances = new Map<string, Instance>();
  readonly #hosts = new Map<string, Map<string, HostAddress>>();
  readonly #reported = new Map<NodeId, string>();
  #isChanged = false;

  constructor(self: NodeId, swarm: SwarmId) {
    this.#self = self;
    this.#swarm = swarmPrefix(swarm);
  }

  /** Takes in the records of one packet; `isLocal` where this machine sent it. Returns what changed. */
  note(records: readonly DnsRecord[], isLocal: boolean, nowMs: number): readonly MdnsClaim[] {
    const bounded = records.slice(0, limits.mdnsRecords);
    this.#flushHosts(bounded);
    for (const record of bounded) this.#take(record, isLocal, nowMs);
    return this.#isChanged ? this.#changes() : [];
  }

  /** Forgets what has outlived its time. Returns what changed. */
  expire(nowMs: number): readonly MdnsClaim[] {
    for (const [key, instance] of this.#instances) {
      const { srv, txt, pointerUntilMs } = instance;
      if (srv !== undefined && srv.untilMs <= nowMs) delete instance.srv;
      if (txt !== undefined && txt.untilMs <= nowMs) delete instance.txt;
      if (instance.srv !== srv || instance.txt !== txt) this.#touch(instance);
      // One that has stopped telling where it is, or never did, is gone, whatever its pointer says.
      const isSilent = srv !== undefined || instance.asks >= ASKS || pointerUntilMs <= nowMs;
      if (instance.srv === undefined && isSilent) this.#instances.delete(key);
    }
    for (const [name, addresses] of this.#hosts) {
      const before = addresses.size;
      for (const [address, { untilMs }] of addresses) if (untilMs <= nowMs) addresses.delete(address);
      if (addresses.size < before) this.#touchTarget(name);
      if (addresses.size === 0) this.#hosts.delete(name);
    }
    return this.#changes();
  }

  /** Names of instances of which something is missing, to be asked for now. */
  incomplete(nowMs: number): readonly string[] {
    const asked: string[] = [];
    for (const instance of this.#instances.values()) {
      if (asked.length === ASK_AT_ONCE) break;
      const isWhole =
        instance.srv !== undefined && instance.txt !== undefined && this.#hosts.has(instance.srv.target);
      if (isWhole || instance.asks >= ASKS || instance.askedMs + ASK_AGAIN_MS > nowMs) continue;
      instance.asks++;
      instance.askedMs = nowMs;
      asked.push(instance.name);
    }
    return asked;
  }

  /** Instances known for at least half of their time to come: whoever hears of them need not answer. */
  known(nowMs: number): readonly { readonly name: string; readonly ttl: number }[] {
    return [...this.#instances.values()]
      .map(({ name, pointerUntilMs }) => ({ name, ttl: Math.floor((pointerUntilMs - nowMs) / 1_000) }))
      .filter(({ ttl }) => ttl > OTHER_TTL_S / 2)
      .slice(0, ASK_AT_ONCE * 2);
  }

  /** Nodes told of now: of this swarm, and of others. */
  counts(): { readonly ours: number; readonly foreign: number } {
    let foreign = 0;
    for (const { txt } of this.#instances.values()) {
      const swarm = txt?.entries.get('sw')?.[0];
      const nodeId = parseNodeId(txt?.entries.get('id')?.[0]);
      if (nodeId !== undefined && swarm !== undefined && swarm !== this.#swarm) foreign++;
    }
    return { ours: this.#reported.size, foreign };
  }

  #take(record: DnsRecord, isLocal: boolean, nowMs: number): void {
    const ttl =
      'ttl' in record && typeof record.ttl === 'number' ? Math.min(record.ttl, OTHER_TTL_S) : OTHER_TTL_S;
    const untilMs = nowMs + ttl * 1_000;
    const name = record.name.toLowerCase();
    switch (record.type) {
      case 'PTR': {
        if (name !== SERVICE || typeof record.data !== 'string') return;
        const instance = this.#instance(record.data, ttl > 0);
        if (instance === undefined) return;
        instance.pointerUntilMs = untilMs;
        // Goodbye: what else is known of it is not waited for.
        if (ttl === 0) {
          this.#touch(instance);
          this.#instances.delete(record.data.toLowerCase());
        }
        return;
      }
      case 'SRV': {
        const instance = this.#instance(record.name, ttl > 0);
        const srv = srvOf(record.data);
        if (instance === undefined || srv === undefined) return;
        const { target, port } = instance.srv ?? {};
        if (target !== srv.target || port !== srv.port || ttl === 0) this.#touch(instance);
        if (ttl === 0) delete instance.srv;
        else instance.srv = { ...srv, untilMs };
        return;
      }
      case 'TXT': {
        const instance = this.#instance(record.name, ttl > 0);
        if (instance === undefined) return;
        this.#touch(instance);
        if (ttl === 0) delete instance.txt;
        else instance.txt = { entries: txtEntries(record.data), untilMs, isLocal };
        return;
      }
      case 'A':
      case 'AAAA':
        if (typeof record.data === 'string') this.#host(name, record.data, { untilMs, isLocal }, ttl);
        return;
      default:
    }
  }

  #instance(name: string, mayAdd: boolean): Instance | undefined {
    const key = name.toLowerCase();
    if (!key.endsWith(SUFFIX) || name.length > 255) return undefined;
    const known = this.#instances.get(key);
    if (known !== undefined || !mayAdd || this.#instances.size >= limits.mdnsInstances) return known;
    const instance: Instance = { name, pointerUntilMs: 0, askedMs: Number.NEGATIVE_INFINITY, asks: 0 };
    this.#instances.set(key, instance);
    return instance;
  }

  #host(name: string, address: string, told: HostAddress, ttl: number): void {
    const known = this.#hosts.get(name) ?? new Map<string, HostAddress>();
    const before = known.get(address);
    if (ttl === 0) {
      if (known.delete(address)) this.#touchTarget(name);
      return;
    }
    if (before === undefined && known.size >= limits.addressesPerClaim) return;
    if (known.size === 0) {
      // Hosts that are nobody's target are other programs': they do not belong here.
      const isTarget = [...this.#instances.values()].some((instance) => instance.srv?.target === name);
      if (!isTarget && !name.startsWith('skein-')) return;
      if (this.#hosts.size >= limits.mdnsInstances) return;
      this.#hosts.set(name, known);
    }
    known.set(address, told);
    if (before?.isLocal !== told.isLocal) this.#touchTarget(name);
  }

  /** An address with the flush bit says: this packet has them all (RFC 6762, section 10.2). */
  #flushHosts(packet: readonly DnsRecord[]): void {
    const told = new Map<string, Set<unknown>>();
    for (const record of packet) {
      if ((record.type !== 'A' && record.type !== 'AAAA') || record.flush !== true) continue;
      const name = record.name.toLowerCase();
      told.set(name, (told.get(name) ?? new Set()).add(record.type).add(record.data));
    }
    for (const [name, all] of told) {
      for (const address of this.#hosts.get(name)?.keys() ?? []) {
        if (all.has(address) || !all.has(address.includes(':') ? 'AAAA' : 'A')) continue;
        this.#hosts.get(name)?.delete(address);
        this.#touchTarget(name);
      }
    }
  }

  #touch(instance: Instance): void {
    delete instance.found;
    this.#isChanged = true;
  }

  #touchTarget(host: string): void {
    for (const instance of this.#instances.values()) if (instance.srv?.target === host) this.#touch(instance);
  }

  #changes(): readonly MdnsClaim[] {
    this.#isChanged = false;
    const changes: MdnsClaim[] = [];
    const now = this.#addressesByNode();
    for (const [nodeId, addresses] of now) {
      const key = addresses.join(' ');
      if (this.#reported.get(nodeId) === key) continue;
      this.#reported.set(nodeId, key);
      changes.push({ kind: 'claimed', nodeId, addresses });
    }
    for (const nodeId of [...this.#reported.keys()]) {
      if (now.has(nodeId)) continue;
      this.#reported.delete(nodeId);
      changes.push({ kind: 'withdrawn', nodeId });
    }
    return changes;
  }

  #addressesByNode(): ReadonlyMap<NodeId, readonly string[]> {
    const byNode = new Map<NodeId, (readonly string[])[]>();
    for (const instance of this.#instances.values()) {
      instance.found ??= this.#find(instance);
      if (instance.found === 'nothing') continue;
      const [nodeId, addresses] = instance.found;
      byNode.set(nodeId, [...(byNode.get(nodeId) ?? []), addresses]);
    }
    return new Map([...byNode].map(([nodeId, lists]) => [nodeId, interleaved(lists)]));
  }

  #find(instance: Instance): readonly [NodeId, readonly string[]] | 'nothing' {
    const nodeId = parseNodeId(instance.txt?.entries.get('id')?.[0]);
    const swarm = instance.txt?.entries.get('sw')?.[0];
    if (nodeId === undefined || nodeId === this.#self || swarm !== this.#swarm) return 'nothing';
    const addresses = this.#addressesOf(instance, nodeId);
    return addresses.length === 0 ? 'nothing' : [nodeId, addresses];
  }

  #addressesOf({ srv, txt }: Instance, nodeId: NodeId): readonly string[] {
    if (srv === undefined || txt === undefined) return [];
    const transport = txt.entries.get('t')?.[0];
    const door = `/tcp/${srv.port}${transport === undefined ? '' : `/${transport}`}`;
    const hosts = [...(this.#hosts.get(srv.target) ?? [])].map(([address, { isLocal }]) => ({
      text: `/${address.includes(':') ? 'ip6' : 'ip4'}/${address}${door}`,
      isLocal,
    }));
    const further = (txt.entries.get('a') ?? []).map((text) => ({ text, isLocal: txt.isLocal }));
    const usable = [...hosts, ...further].flatMap(({ text, isLocal }) => {
      const parsed = parseAddress(text);
      if (!parsed.ok || (parsed.value.nodeId ?? nodeId) !== nodeId) return [];
      // Another machine's loopback is not ours.
      return isLoopback(parsed.value) && !isLocal ? [] : [`${parsed.value.endpoint}/p2p/${nodeId}`];
    });
    return [...new Set(usable)];
  }
}

function srvOf(data: unknown): { readonly target: string; readonly port: number } | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const { target, port } = data as { readonly target?: unknown; readonly port?: unknown };
  if (typeof target !== 'string' || typeof port !== 'number') return undefined;
  return { target: target.toLowerCase(), port };
}

/** Entries of a TXT record by key, each key's values in order (RFC 6763, section 6). */
function txtEntries(data: unknown): ReadonlyMap<string, readonly string[]> {
  const entries = new Map<string, string[]>();
  const parts: readonly unknown[] = Array.isArray(data) ? data : [data];
  for (const part of parts.slice(0, 16)) {
    if (typeof part !== 'string' && !(part instanceof Uint8Array)) continue;
    const text = typeof part === 'string' ? part : Buffer.from(part).toString('utf8');
    const split = text.indexOf('=');
    if (split < 1) continue;
    const key = text.slice(0, split).toLowerCase();
    entries.set(key, [...(entries.get(key) ?? []), text.slice(split + 1)]);
  }
  return entries;
}

/** The first of each list, then the second: one instance that lies does not crowd out one that does not. */
function interleaved(lists: readonly (readonly string[])[]): readonly string[] {
  const mixed = new Set<string>();
  for (let place = 0; place < limits.addressesPerClaim; place++) {
    for (const list of lists) {
      const address = list[place];
      if (address !== undefined && mixed.size < limits.addressesPerClaim) mixed.add(address);
    }
  }
  return [...mixed];
}
