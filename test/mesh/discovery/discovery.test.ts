import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import {
  Discovery,
  type DiscoveryEffect,
  type DiscoveryEvent,
  SOURCES,
  type Source,
} from '../../../src/mesh/discovery/discovery.ts';
import { DIAL_SELF } from '../../../src/mesh/links/links.ts';
import { at, nodeId } from '../membership/cluster.ts';

const SELF = nodeId(0);
const A = nodeId(1);
const B = nodeId(2);
const endpoint = (host: number, port = 7331) => `/ip4/10.0.0.${host}/tcp/${port}`;

/** A discovery machine with its host: dials are noted, time passes by hand. */
class Rig {
  nowMs = 0;
  readonly dials: { readonly atMs: number; readonly address: string }[] = [];
  readonly effects: DiscoveryEffect[] = [];
  readonly discovery: Discovery;

  constructor(seed = 1) {
    this.discovery = new Discovery({ self: SELF, rng: seededRng(seed) });
  }

  give(event: DiscoveryEvent): void {
    this.#note(this.discovery.handle(event, at(this.nowMs)));
    this.run(0);
  }

  claim(source: Source, addresses: readonly string[], node?: NodeId): void {
    const claim = node === undefined ? { addresses } : { nodeId: node, addresses };
    this.give({ kind: 'claimed', source, claims: [claim] });
  }

  fail(address: string, reason = 'connection refused'): void {
    this.give({ kind: 'dialFailed', address, reason });
  }

  connect(address: string, peer: NodeId): void {
    this.give({ kind: 'connected', address, peer, direction: 'out' });
  }

  /** Lets `ms` pass; every dial fails at once when `failing`. */
  run(ms: number, failing = false): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const due = this.discovery.deadline();
      if (due === undefined || due.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, due.atMs);
      const before = this.dials.length;
      this.#note(this.discovery.expire(at(this.nowMs)));
      if (!failing) continue;
      for (const dial of this.dials.slice(before)) {
        this.#note(
          this.discovery.handle(
            { kind: 'dialFailed', address: dial.address, reason: 'refused' },
            at(this.nowMs),
          ),
        );
      }
    }
    this.nowMs = endMs;
  }

  addresses(): readonly string[] {
    return this.dials.map((dial) => dial.address);
  }

  #note(effects: readonly DiscoveryEffect[]): void {
    this.effects.push(...effects);
    for (const effect of effects) {
      if (effect.kind === 'dial') this.dials.push({ atMs: this.nowMs, address: effect.address });
    }
  }
}

describe('discovery', () => {
  it.each(SOURCES)('dials what %s alone claims, and stops once the peer is up', (source) => {
    const rig = new Rig();
    rig.claim(source, [endpoint(1)], A);
    const address = `${endpoint(1)}/p2p/${A}`;
    expect(rig.addresses()).toEqual([address]);
    rig.connect(address, A);
    rig.give({ kind: 'peerUp', peer: A });
    rig.run(3_600_000);
    expect(rig.dials).toHaveLength(1);
    expect(rig.discovery.known()).toMatchObject([{ address, nodeId: A, sources: [source], state: 'up' }]);
    expect(rig.discovery.problems()).toEqual([]);
  });

  it('merges the same address from several sources into one', () => {
    const rig = new Rig();
    for (const source of SOURCES) rig.claim(source, [`${endpoint(1)}/p2p/${A}`], A);
    expect(rig.dials).toHaveLength(1);
    expect(rig.discovery.known()).toMatchObject([{ sources: [...SOURCES] }]);
  });

  it('never dials itself: by id, by own address, by what a dial found', () => {
    const rig = new Rig();
    rig.give({ kind: 'listening', addresses: [`${endpoint(9)}/p2p/${SELF}`] });
    rig.claim('gossip', [endpoint(1)], SELF);
    rig.claim('static', [`${endpoint(2)}/p2p/${SELF}`, endpoint(9)]);
    expect(rig.dials).toEqual([]);
    rig.claim('static', [endpoint(3), endpoint(4)]);
    rig.connect(endpoint(3), SELF);
    rig.fail(endpoint(4), DIAL_SELF);
    rig.run(3_600_000);
    expect(rig.dials).toHaveLength(2);
    expect(rig.discovery.problems()).toEqual([]);
  });

  it('backs off from 250 ms to 30 s with jitter, static addresses for ever (S59)', () => {
    const rig = new Rig();
    rig.claim('static', [endpoint(1)]);
    rig.fail(endpoint(1));
    rig.run(3_600_000, true);
    const gaps = rig.dials.slice(1).map((dial, index) => dial.atMs - rig.dials[index]!.atMs);
    gaps.forEach((gap, index) => {
      const base = Math.min(20_000, 250 * 2 ** index);
      expect(gap).toBeGreaterThanOrEqual(base);
      expect(gap).toBeLessThanOrEqual(base * 1.5);
    });
    expect(gaps.length).toBeGreaterThan(110);
    expect(new Set(gaps.slice(10)).size).toBeGreaterThan(100);
  });

  it('forgets what no source claims any more', () => {
    const rig = new Rig();
    rig.claim('mdns', [endpoint(1)], A);
    rig.claim('gossip', [endpoint(1)], A);
    rig.give({ kind: 'withdrawn', source: 'mdns', nodeId: A });
    expect(rig.discovery.known()).toHaveLength(1);
    rig.give({ kind: 'withdrawn', source: 'gossip', nodeId: A });
    rig.fail(`${endpoint(1)}/p2p/${A}`);
    rig.run(3_600_000, true);
    expect(rig.discovery.known()).toEqual([]);
    expect(rig.dials).toHaveLength(1);
  });

  it('withdraws by address where the claim named no node', () => {
    const rig = new Rig();
    rig.claim('registry', [endpoint(1), endpoint(2)]);
    rig.give({ kind: 'withdrawn', source: 'registry', addresses: [endpoint(1)] });
    rig.fail(endpoint(1));
    expect(rig.discovery.known().map((known) => known.address)).toEqual([endpoint(2)]);
  });

  it('takes a new claim of one source about a node for all that it now says', () => {
    const rig = new Rig();
    rig.claim('gossip', [endpoint(1), endpoint(2)], A);
    rig.fail(rig.addresses()[0]!);
    rig.fail(rig.addresses()[1]!);
    rig.claim('gossip', [endpoint(3)], A);
    expect(rig.discovery.known().map((known) => known.address)).toEqual([`${endpoint(3)}/p2p/${A}`]);
  });

  it('keeps an address that has worked through five failures after a false withdrawal (S56)', () => {
    const rig = new Rig();
    const address = `${endpoint(1)}/p2p/${A}`;
    rig.claim('mdns', [endpoint(1)], A);
    rig.connect(address, A);
    rig.give({ kind: 'peerUp', peer: A });
    rig.give({ kind: 'withdrawn', source: 'mdns', nodeId: A });
    rig.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    rig.run(60_000, true);
    expect(rig.addresses()).toEqual(Array.from({ length: 6 }, () => address));
    expect(rig.discovery.known()).toEqual([]);
  });

  it('tries the addresses of one node in turn, one dial at a time, loopback last', () => {
    const rig = new Rig();
    rig.claim('gossip', ['/ip4/127.0.0.1/tcp/7331', endpoint(1), endpoint(2)], A);
    expect(rig.addresses()).toEqual([`${endpoint(1)}/p2p/${A}`]);
    rig.fail(rig.addresses()[0]!);
    expect(rig.addresses()[1]).toBe(`${endpoint(2)}/p2p/${A}`);
    rig.fail(rig.addresses()[1]!);
    expect(rig.addresses()[2]).toBe(`/ip4/127.0.0.1/tcp/7331/p2p/${A}`);
  });

  it('dials a peer that went down again after 250 to 500 ms', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const rig = new Rig(seed);
      rig.claim('static', [endpoint(1)]);
      rig.connect(endpoint(1), A);
      rig.give({ kind: 'peerUp', peer: A });
      rig.run(1_000);
      rig.give({ kind: 'peerDown', peer: A, reason: 'closed' });
      rig.run(249);
      expect(rig.dials).toHaveLength(1);
      rig.run(252);
      expect(rig.dials).toHaveLength(2);
    }
  });

  it('counts a connection without a valid greeting as a failure, with its reason', () => {
    const rig = new Rig();
    rig.claim('static', [endpoint(1)]);
    rig.connect(endpoint(1), A);
    rig.give({ kind: 'disconnected', peer: A, reason: 'it belongs to another swarm' });
    expect(rig.discovery.problems()).toMatchObject([
      { code: 'PEER_UNREACHABLE', message: expect.stringContaining('it belongs to another swarm') },
    ]);
    rig.run(400);
    expect(rig.dials).toHaveLength(2);
  });

  it('gives up on a dial whose outcome never comes, after 15 s', () => {
    const rig = new Rig();
    rig.claim('static', [endpoint(1)]);
    rig.run(15_400);
    expect(rig.dials).toHaveLength(2);
  });

  it('says which configured peers are malformed or have never answered, and how to mend it', () => {
    const rig = new Rig();
    rig.claim('static', ['10.0.0.1:7331', endpoint(1)]);
    rig.fail(endpoint(1), 'connection refused');
    const problems = rig.discovery.problems();
    expect(problems.map((problem) => problem.code)).toEqual(['PEER_ADDRESS_INVALID', 'PEER_UNREACHABLE']);
    expect(problems[0]!.hint).toContain('/ip4/10.0.0.1/tcp/7331');
    expect(problems[1]!.message).toContain('connection refused');
    rig.run(400);
    rig.connect(endpoint(1), A);
    rig.give({ kind: 'peerUp', peer: A });
    expect(rig.discovery.problems().map((problem) => problem.code)).toEqual(['PEER_ADDRESS_INVALID']);
  });

  it('learns which node a configured address leads to, and does not dial it while that is up', () => {
    const rig = new Rig();
    rig.give({ kind: 'peerUp', peer: A });
    rig.claim('static', [endpoint(1)]);
    rig.connect(endpoint(1), A);
    rig.run(600_000);
    expect(rig.dials).toHaveLength(1);
  });

  it('believes the dial, not the claim, about who is behind an address (S55, S56)', () => {
    const rig = new Rig();
    rig.claim('mdns', [endpoint(1)], A);
    rig.connect(`${endpoint(1)}/p2p/${A}`, B);
    rig.give({ kind: 'peerUp', peer: B });
    expect(rig.discovery.known()).toMatchObject([{ nodeId: B, state: 'up' }]);
  });

  it(`bounds what a liar can claim: ${limits.addressesPerClaim} addresses a node, a quarter of the table, 16 dials (S56)`, () => {
    const rig = new Rig();
    rig.claim('static', [endpoint(200)]);
    for (let liar = 0; liar < 2_000; liar++) {
      const addresses = Array.from(
        { length: 20 },
        (_, host) => `/ip4/10.1.${liar % 250}.${host}/tcp/${1 + liar}`,
      );
      rig.claim('mdns', addresses, nodeId(1_000 + liar));
    }
    const known = rig.discovery.known();
    expect(known.filter((entry) => entry.sources.includes('mdns'))).toHaveLength(
      limits.discoveryAddresses / 4,
    );
    expect(known.filter((entry) => entry.state === 'dialling')).toHaveLength(limits.dialsUnderWay);
    rig.claim('gossip', [endpoint(201)], A);
    expect(rig.discovery.known().map((entry) => entry.address)).toContain(`${endpoint(201)}/p2p/${A}`);
  });

  it('takes claims of malformed addresses, and of other nodes than they name, for nothing', () => {
    const rig = new Rig();
    rig.claim('mdns', ['nonsense', '/ip4/10.0.0.1/udp/1', `${endpoint(1)}/p2p/${B}`], A);
    expect(rig.discovery.known()).toEqual([]);
    expect(rig.dials).toEqual([]);
  });

  it('is deterministic, and holds its bounds whatever happens in whatever order', () => {
    const peer = fc.integer({ min: 0, max: 4 }).map(nodeId);
    const address = fc.integer({ min: 1, max: 6 }).map((host) => endpoint(host));
    const source = fc.constantFrom(...SOURCES);
    const event = fc.oneof(
      fc.record({
        kind: fc.constant('claimed' as const),
        source,
        claims: fc.array(fc.record({ nodeId: peer, addresses: fc.array(address) })),
      }),
      fc.record({ kind: fc.constant('withdrawn' as const), source, nodeId: peer }),
      fc.record({ kind: fc.constant('peerUp' as const), peer }),
      fc.record({ kind: fc.constant('peerDown' as const), peer, reason: fc.constant('closed') }),
      fc.record({ kind: fc.constant('disconnected' as const), peer, reason: fc.constant('closed') }),
      fc.record({ kind: fc.constant('outcome' as const), peer, works: fc.boolean() }),
      fc.record({ kind: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 40_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), fc.integer(), (events, seed) => {
        const runs = [new Rig(seed), new Rig(seed)].map((rig) => {
          const up = new Set<NodeId>();
          for (const happened of events) {
            const before = rig.dials.length;
            if (happened.kind === 'time') rig.run(happened.ms);
            else if (happened.kind === 'outcome') {
              const dial = rig.dials.at(-1);
              if (dial === undefined) continue;
              if (happened.works) rig.connect(dial.address, happened.peer);
              else rig.fail(dial.address);
            } else {
              if (happened.kind === 'peerUp') up.add(happened.peer);
              if (happened.kind === 'peerDown') up.delete(happened.peer);
              rig.give(happened);
            }
            for (const { address } of rig.dials.slice(before)) {
              const named = /\/p2p\/(.+)$/.exec(address)?.[1];
              expect(named).not.toBe(SELF);
              const known = rig.discovery.known().find((entry) => entry.address === address);
              if (known?.nodeId === named) expect(up.has(named as NodeId)).toBe(false);
            }
          }
          return rig.effects;
        });
        expect(runs[0]).toEqual(runs[1]);
      }),
      { numRuns: 200 },
    );
  });
});
