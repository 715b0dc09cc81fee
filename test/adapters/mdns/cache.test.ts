import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MdnsCache } from '../../../src/adapters/mdns/cache.ts';
import { isOnLink } from '../../../src/adapters/mdns/interfaces.ts';
import {
  answer,
  asksFor,
  type DnsQuestion,
  type DnsRecord,
  farewell,
  type Identity,
  ownNames,
  ownRecords,
} from '../../../src/adapters/mdns/service.ts';
import type { SwarmId } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { nodeId } from '../../mesh/membership/cluster.ts';

const SWARM = '0123456789abcdef' as SwarmId;
const SELF = nodeId(0);
const identity = (index: number, swarm = SWARM): Identity => ({
  name: `n${index}`,
  nodeId: nodeId(index),
  swarm,
});
const told = (index: number, listening = [`/ip4/10.0.0.${index}/tcp/7331`], swarm = SWARM) =>
  ownRecords(identity(index, swarm), listening, [`10.0.0.${index}`])!;
const packet = (
  index: number,
  ...more: Parameters<typeof told> extends [unknown, ...infer R] ? R : never
) => {
  const { answers, additionals } = answer(told(index, ...more));
  return [...answers, ...additionals];
};
const cacheOf = () => new MdnsCache(SELF, SWARM);
const at = (host: number, index = host) => `/ip4/10.0.0.${host}/tcp/7331/p2p/${nodeId(index)}`;

describe('mdns records', () => {
  it('name the instance after the machine and the end of its id, in at most 63 bytes a label', () => {
    const names = ownNames({ ...identity(1), name: `bücher.berlin/${'ü'.repeat(60)}` });
    const [label = ''] = names.instance.split('._skein');
    expect(Buffer.byteLength(label)).toBeLessThanOrEqual(63);
    expect(label).toMatch(/^bücher-berlin-ü+-.{8}$/u);
    expect(ownNames({ ...identity(1), name: '' }).instance).toMatch(/^node-/);
  });

  it('tell of the addresses on the interface, with others on it as a=', () => {
    const listening = [
      '/ip4/192.168.1.2/tcp/7331',
      '/ip4/10.0.0.1/tcp/7331',
      '/ip4/127.0.0.1/tcp/7331',
      '/ip4/10.0.0.1/tcp/7332/ws',
      '/ip4/192.168.1.2/tcp/7332/ws',
    ];
    const own = told(1, listening);
    expect(own.host).toMatchObject([{ type: 'A', data: '10.0.0.1', flush: true }]);
    expect(own.txt).toMatchObject([
      { data: ['v=1', `id=${nodeId(1)}`, 'sw=01234567', 'a=/ip4/10.0.0.1/tcp/7332/ws'] },
    ]);
    expect(own.srv).toMatchObject([{ data: { port: 7331 } }]);
  });

  it('tell of all addresses of the interface where the node listens on all, of none where it does not listen', () => {
    const everywhere = ownRecords(identity(1), ['/ip4/0.0.0.0/tcp/7331'], ['10.0.0.1', 'fd00::1'])!;
    expect(everywhere.host.map((record) => record.type)).toEqual(['A', 'AAAA']);
    expect(ownRecords(identity(1), [], ['10.0.0.1'])).toBeUndefined();
  });

  it.each<[string, string, readonly string[]]>([
    ['_skein._tcp.local', 'PTR', ['pointer']],
    ['_SKEIN._TCP.local', 'ANY', ['pointer']],
    ['_skein._tcp.local', 'A', []],
    ['_services._dns-sd._udp.local', 'PTR', ['enumeration']],
    [ownNames(identity(1)).instance, 'SRV', ['srv']],
    [ownNames(identity(1)).instance, 'ANY', ['srv', 'txt']],
    [ownNames(identity(1)).host, 'AAAA', ['host']],
    ['other.local', 'ANY', []],
  ])('a question for %s %s asks for %j', (name, type, kinds) => {
    expect(asksFor({ name, type } as DnsQuestion, ownNames(identity(1)))).toEqual(kinds);
  });
});

describe('mdns cache', () => {
  it('makes one claim of the records of one node, and says it once', () => {
    const cache = cacheOf();
    const claims = cache.note(packet(1), false, 0);
    expect(claims).toEqual([{ kind: 'claimed', nodeId: nodeId(1), addresses: [at(1)] }]);
    expect(cache.note(packet(1), false, 1_000)).toEqual([]);
    expect(cache.incomplete(0)).toEqual([]);
  });

  it('puts together what comes in pieces, and asks for what is missing', () => {
    const cache = cacheOf();
    const { pointer, srv, txt, host } = told(1);
    expect(cache.note(pointer, false, 0)).toEqual([]);
    expect(cache.incomplete(0)).toEqual([ownNames(identity(1)).instance]);
    expect(cache.incomplete(100)).toEqual([]);
    expect(cache.note(txt, false, 0)).toEqual([]);
    expect(cache.note(srv, false, 0)).toEqual([]);
    expect(cache.note(host, false, 0)).toMatchObject([{ kind: 'claimed', addresses: [at(1)] }]);
  });

  it('withdraws at a goodbye, and when nothing was heard for two minutes', () => {
    const cache = cacheOf();
    cache.note(packet(1), false, 0);
    cache.note(packet(2), false, 0);
    expect(cache.note(farewell(told(1)), false, 10)).toEqual([{ kind: 'withdrawn', nodeId: nodeId(1) }]);
    expect(cache.expire(119_000)).toEqual([]);
    expect(cache.expire(121_000)).toEqual([{ kind: 'withdrawn', nodeId: nodeId(2) }]);
  });

  it('forgets who was killed without a goodbye, and asks for it no more', () => {
    const cache = cacheOf();
    cache.note(packet(1), false, 0);
    cache.expire(121_000);
    expect(cache.incomplete(121_000)).toEqual([]);
    expect(cache.known(121_000)).toEqual([]);
  });

  it('asks three times for an instance of which only the name is known', () => {
    const cache = cacheOf();
    cache.note(told(1).pointer, false, 0);
    const asked = [0, 6_000, 12_000, 18_000, 24_000].map((ms) => cache.incomplete(ms).length);
    expect(asked).toEqual([1, 1, 1, 0, 0]);
    cache.expire(24_000);
    expect(cache.known(24_000)).toEqual([]);
  });

  it('passes over itself, other swarms and ids that are none', () => {
    const cache = cacheOf();
    expect(cache.note(packet(0), false, 0)).toEqual([]);
    expect(cache.note(packet(1, undefined, 'fedcba9876543210' as SwarmId), false, 0)).toEqual([]);
    const [txt] = told(2).txt;
    const forged = packet(2).map((record) =>
      record === txt || record.type === 'TXT' ? { ...record, data: ['id=nobody', 'sw=01234567'] } : record,
    ) as DnsRecord[];
    expect(cache.note(forged, false, 0)).toEqual([]);
  });

  it("takes loopback only from this machine, and no address under another node's id", () => {
    const loopback = packet(1, ['/ip4/127.0.0.1/tcp/7331']);
    expect(cacheOf().note(loopback, false, 0)).toEqual([]);
    expect(cacheOf().note(loopback, true, 0)).toMatchObject([
      { addresses: [`/ip4/127.0.0.1/tcp/7331/p2p/${nodeId(1)}`] },
    ]);
    const foreign = packet(1).map((record) =>
      record.type === 'TXT'
        ? {
            ...record,
            data: [...(record.data as string[]), `a=/ip4/10.0.0.9/tcp/1/p2p/${nodeId(2)}`, 'a=nonsense'],
          }
        : record,
    ) as DnsRecord[];
    expect(cacheOf().note(foreign, false, 0)).toMatchObject([{ addresses: [at(1)] }]);
  });

  it('follows a node that changes its address', () => {
    const cache = cacheOf();
    cache.note(packet(1), false, 0);
    const moved = ownRecords(identity(1), ['/ip4/10.0.0.7/tcp/7331'], ['10.0.0.7'])!;
    expect(cache.note(answer(moved).answers, false, 10)).toEqual([
      { kind: 'claimed', nodeId: nodeId(1), addresses: [at(7, 1)] },
    ]);
  });

  it('a second instance under the same id cannot crowd out the first (S56)', () => {
    const cache = cacheOf();
    const spoofed = ownRecords(
      { ...identity(1), name: 'spoof' },
      Array.from({ length: 20 }, (_, host) => `/ip4/10.9.0.${host}/tcp/1`),
      Array.from({ length: 20 }, (_, host) => `10.9.0.${host}`),
    )!;
    cache.note(answer(spoofed).answers, false, 0);
    const [claim] = cache.note(
      packet(1).map((record) => rehosted(record)),
      false,
      1,
    );
    expect(claim).toMatchObject({
      kind: 'claimed',
      nodeId: nodeId(1),
      addresses: expect.arrayContaining([at(1)]),
    });
    expect((claim?.kind === 'claimed' ? claim.addresses : []).length).toBeLessThanOrEqual(
      limits.addressesPerClaim,
    );
  });

  it(`holds at most ${limits.mdnsInstances} instances and ${limits.mdnsRecords} records of a packet (S56)`, () => {
    const cache = cacheOf();
    let claimed = 0;
    for (let index = 1; index <= 700; index++) {
      const own = ownRecords(identity(index), ['/ip4/10.0.0.1/tcp/7331'], ['10.0.0.1'])!;
      claimed += cache.note(answer(own).answers, false, 0).length;
    }
    expect(claimed).toBe(limits.mdnsInstances);
    const flood = Array.from({ length: 60_000 }, () => packet(1)).flat();
    expect(() => cache.note(flood, false, 0)).not.toThrow();
  });

  it('never throws and never claims more than addresses, whatever the records say', () => {
    const names = [
      ownNames(identity(1)).instance,
      ownNames(identity(1)).host,
      '_skein._tcp.local',
      '',
      'x'.repeat(300),
    ];
    const data = fc.oneof(
      fc.string(),
      fc.constantFrom<unknown>(
        names[0],
        names[1],
        undefined,
        null,
        7,
        {},
        [],
        '127.0.0.1',
        '999.1.1.1',
        '::1',
        'fe80::1%x',
      ),
      fc.record({
        target: fc.constantFrom<unknown>(names[1], 7, ''),
        port: fc.constantFrom<unknown>(0, 7331, 1e9, 'x'),
      }),
      fc.array(fc.constantFrom(`id=${nodeId(1)}`, 'sw=01234567', 'a=/ip4/1.1.1.1/tcp/1', '=', 't=ws/../..')),
      fc.uint8Array(),
    );
    const record = fc.record({
      name: fc.constantFrom(...names),
      type: fc.constantFrom('PTR', 'SRV', 'TXT', 'A', 'AAAA', 'OPT'),
      ttl: fc.constantFrom<unknown>(0, 120, 2 ** 31, undefined, 'x'),
      flush: fc.boolean(),
      data,
    });
    fc.assert(
      fc.property(fc.array(record, { maxLength: 20 }), fc.boolean(), (records, isLocal) => {
        for (const change of cacheOf().note(records as DnsRecord[], isLocal, 0)) {
          expect(change.nodeId).toBe(nodeId(1));
          if (change.kind === 'claimed') {
            for (const address of change.addresses)
              expect(address).toMatch(/^\/ip[46]\/[0-9a-f.:]+\/tcp\/\d+/);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('mdns interfaces', () => {
  it.each([
    ['10.0.0.7', true],
    ['10.0.1.7', false],
    ['127.0.0.1', false],
  ])('a packet from %s is on the link of 10.0.0.1/24: %s', (source, expected) => {
    const on = { name: 'eth0', address: '10.0.0.1', netmask: '255.255.255.0', addresses: [] };
    expect(isOnLink(source, on)).toBe(expected);
  });
});

/** The same record with a host name of its own, as a real node beside its impostor would have. */
function rehosted(record: DnsRecord): DnsRecord {
  const { host } = ownNames(identity(1));
  const own = `skein-real-${host}`;
  if (record.type === 'SRV') return { ...record, data: { ...record.data, target: own } };
  return record.name === host ? { ...record, name: own } : record;
}
