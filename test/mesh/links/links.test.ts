import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encode } from '../../../src/kernel/codec.ts';
import type { Incarnation } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { certifyMember } from '../../../src/mesh/identity/swarm.ts';
import { decodeHelloFrame, encodeHello, encodeRefusal, type Hello } from '../../../src/mesh/links/hello.ts';
import { DIAL_SELF, DIAL_TWIN } from '../../../src/mesh/links/links.ts';
import { connect, NOON, Node, nodeIdOf, settle, swarm, swarmOf } from './support.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

function helloOf(node: Node, change: Partial<Hello> = {}): Uint8Array {
  return encodeHello({
    leastVersion: 1,
    mostVersion: 1,
    certificate: node.certificate,
    wallMs: node.now().wallMs,
    software: '9.9.9',
    addresses: ['/ip4/192.0.2.9/tcp/1'],
    incarnation: 77 as Incarnation,
    ...change,
  });
}

/** A node that has just accepted a connection from `peer` and sent its greeting. */
function greeting(peer: Node): Node {
  const node = new Node({ number: 1 });
  node.handle({ kind: 'connected', peer: peer.id, address: '/ip4/192.0.2.9/tcp/50000', direction: 'in' });
  return node;
}

function hears(node: Node, peer: Node, bytes: Uint8Array) {
  return node.handle({ kind: 'frame', from: peer.id, channel: 'hello', bytes });
}

function refusalIn(effects: readonly { readonly kind: string }[]): string | undefined {
  for (const effect of effects as readonly { kind: string; bytes?: Uint8Array }[]) {
    const frame = effect.kind === 'send' && effect.bytes ? decodeHelloFrame(effect.bytes) : undefined;
    if (frame?.kind === 'refused') return frame.refusal.code;
  }
  return undefined;
}

const kinds = (effects: readonly { readonly kind: string }[]) => effects.map((effect) => effect.kind);

describe('links: admission', () => {
  it('two members of one swarm admit each other, and each learns what the other is', () => {
    const [one, two] = [new Node({ number: 1 }), new Node({ number: 2 })];
    two.handle({ kind: 'listening', addresses: ['/ip4/192.0.2.2/tcp/7331'] });
    connect(one, two);
    expect(one.of('admit')).toHaveLength(1);
    expect(two.of('admit')).toHaveLength(1);
    expect(one.of('peerUp')).toMatchObject([
      {
        peer: two.id,
        name: 'machine-2',
        roles: ['worker'],
        zone: 'trusted',
        protocolVersion: 1,
        software: '0.1.0',
        incarnation: 1_002,
        wallMs: NOON,
        listenAddresses: ['/ip4/192.0.2.2/tcp/7331'],
        address: '/ip4/192.0.2.2/tcp/7331',
        direction: 'out',
        certificate: { nodeId: two.id, swarm: swarm.id },
      },
    ]);
    expect(one.links.admitted()).toEqual([two.id]);
    expect(one.links.facts(two.id)?.name).toBe('machine-2');
    expect([...one.problems(), ...two.problems()]).toEqual([]);
  });

  it('admission comes before the peer is reported up, and nothing comes before the greeting', () => {
    const peer = new Node({ number: 2 });
    const node = greeting(peer);
    expect(kinds(node.effects)).toEqual(['send']);
    expect(kinds(hears(node, peer, helloOf(peer)))).toEqual(['admit', 'peerUp', 'mark']);
  });

  it('a second connection to one peer is greeted on, but the peer comes up once', () => {
    const [one, two] = [new Node({ number: 1 }), new Node({ number: 2 })];
    connect(one, two);
    connect(two, one);
    expect(one.of('peerUp')).toHaveLength(1);
    expect(two.of('peerUp')).toHaveLength(1);
    one.handle({ kind: 'disconnected', peer: two.id, reason: 'gone' });
    expect(one.of('peerDown')).toEqual([{ kind: 'peerDown', peer: two.id, reason: 'gone' }]);
    expect(one.links.facts(two.id)).toBeUndefined();
  });

  it('a restarted peer goes down and comes up again, though its old connection lingers', () => {
    const [one, two] = [new Node({ number: 1 }), new Node({ number: 2 })];
    connect(one, two);
    connect(new Node({ number: 2, incarnation: 5 }), one);
    expect(one.of('peerDown')).toEqual([{ kind: 'peerDown', peer: two.id, reason: 'restarted' }]);
    expect(one.of('peerUp').map((effect) => effect.incarnation)).toEqual([1_002, 5]);
    expect(one.of('disconnect')).toEqual([]);
  });
});

describe('links: refusals, told to the other side before it is hung up on', () => {
  const stranger = new Node({ number: 2, swarm: swarmOf('the secret of others') });

  it.each([
    ['a stranger of another swarm', stranger, {}, 'wrong-swarm'],
    [
      'a certificate of another node (S55)',
      new Node({ number: 2 }),
      { certificate: new Node({ number: 3 }).certificate },
      'bad-certificate',
    ],
    ['no certificate', new Node({ number: 2 }), { certificate: new Uint8Array(100) }, 'bad-certificate'],
    ['an expired certificate', new Node({ number: 2, issuedMs: NOON - 31 * DAY }), {}, 'expired'],
    ['a certificate of tomorrow', new Node({ number: 2, issuedMs: NOON + DAY }), {}, 'not-yet-valid'],
    [
      'a later protocol without overlap',
      new Node({ number: 2 }),
      { leastVersion: 2, mostVersion: 3 },
      'protocol-version',
    ],
    ['a clock an hour ahead', new Node({ number: 2, aheadMs: 60 * MINUTE }), {}, 'clock'],
    ['a clock an hour behind', new Node({ number: 2, aheadMs: -60 * MINUTE }), {}, 'clock'],
  ] as const)('%s', (_what, peer, change, code) => {
    const node = greeting(peer);
    const effects = hears(node, peer, helloOf(peer, change));
    expect(refusalIn(effects)).toBe(code);
    expect(kinds(effects).filter((kind) => kind !== 'mark')).toEqual(['send', 'disconnect']);
    expect(node.problems()).toEqual([`link.${code}`]);
    expect(node.of('admit')).toEqual([]);
    expect(node.of('peerUp')).toEqual([]);
    expect(hears(node, peer, helloOf(new Node({ number: 2 }))), 'what still comes is not heard').toEqual([]);
  });

  it('a peer of the next version that still speaks ours is admitted at ours', () => {
    const peer = new Node({ number: 2 });
    const node = greeting(peer);
    hears(node, peer, helloOf(peer, { leastVersion: 1, mostVersion: 2 }));
    expect(node.of('peerUp')).toMatchObject([{ protocolVersion: 1 }]);
  });

  it.each([59_000, -59_000])('a clock %i ms ahead is close enough', (aheadMs) => {
    const peer = new Node({ number: 2, aheadMs });
    const node = greeting(peer);
    hears(node, peer, helloOf(peer));
    expect(node.of('peerUp')).toHaveLength(1);
  });

  it('both people learn of it: seconds apart, and what to do', () => {
    const [one, two] = [new Node({ number: 1 }), new Node({ number: 2, aheadMs: 3_600_000 })];
    connect(one, two);
    for (const node of [one, two]) {
      const [problem] = node.links.problems();
      expect(problem?.message).toMatch(/3600 seconds/);
      expect(problem?.hint).toMatch(/NTP/);
    }
    expect(two.of('peerUp')).toEqual([]);
  });

  it('strangers learn of it on both sides', () => {
    const one = new Node({ number: 1 });
    connect(one, stranger);
    expect(one.links.problems()).toMatchObject([
      { code: 'link.wrong-swarm', hint: expect.stringMatching(/SKEIN_SWARM_SECRET/) },
    ]);
    expect(stranger.problems()).toEqual(['link.wrong-swarm']);
  });

  it("a refusal says nothing in the refuser's own words (S24)", () => {
    const peer = new Node({ number: 2 });
    const node = greeting(peer);
    const bytes = encode({
      kind: 'refused',
      code: 'clock',
      ms: 5,
      versions: [1, 1],
      message: '\u001b[2J evil',
      hint: 'rm -rf',
    });
    hears(node, peer, bytes);
    expect(JSON.stringify(node.links.problems())).not.toMatch(/evil|rm -rf/);
    expect(node.problems()).toEqual(['link.clock']);
    expect(node.of('disconnect')).toHaveLength(1);
  });

  it('silence is given five seconds', () => {
    const peer = new Node({ number: 2 });
    const node = greeting(peer);
    expect(node.links.deadline()).toMatchObject({ atMs: limits.helloTimeoutMs, reason: 'hello overdue' });
    expect(node.pass(limits.helloTimeoutMs - 1)).toEqual([]);
    expect(refusalIn(node.pass(1))).toBe('silent');
    expect(node.of('disconnect')).toHaveLength(1);
  });

  it('an order to hang up that leads to nothing is repeated', () => {
    const node = greeting(stranger);
    hears(node, stranger, helloOf(stranger));
    node.pass(limits.helloTimeoutMs);
    expect(node.of('disconnect')).toHaveLength(2);
    node.handle({ kind: 'disconnected', peer: stranger.id, reason: 'at last' });
    expect(node.links.deadline()).toBeUndefined();
  });

  it('whatever a stranger writes, it is not admitted and nothing throws', () => {
    const peer = new Node({ number: 2 });
    const valid = helloOf(peer);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.anything().map((value) => encode(value)),
          fc
            .tuple(fc.nat(valid.length - 1), fc.nat(valid.length))
            .map(([from, length]) => valid.slice(from, from + length).subarray(from === 0 ? 1 : 0)),
        ),
        (bytes) => {
          const node = greeting(peer);
          hears(node, peer, bytes);
          expect(node.of('admit')).toEqual([]);
        },
      ),
      { numRuns: 300, seed: 4 },
    );
  });

  it.each([
    ['17 addresses', { addresses: Array.from({ length: 17 }, () => '/ip4/192.0.2.1/tcp/1') }],
    ['an address with control characters', { addresses: ['/ip4/\u001b[2J'] }],
    ['a version of software with control characters', { software: 'x\n' }],
    ['a clock that is no number', { wallMs: Number.NaN }],
    ['incarnation 0', { incarnation: 0 as Incarnation }],
    ['versions in the wrong order', { leastVersion: 2, mostVersion: 1 }],
  ])('a greeting with %s is malformed', (_what, change) => {
    const peer = new Node({ number: 2 });
    const node = greeting(peer);
    expect(refusalIn(hears(node, peer, helloOf(peer, change)))).toBe('malformed');
  });
});

describe('links: one identity on two machines', () => {
  it('a run that was already replaced cuts the peer off and says why', () => {
    const node = new Node({ number: 1 });
    const original = new Node({ number: 2, incarnation: 5 });
    const copy = new Node({ number: 2, incarnation: 6 });
    connect(original, node);
    connect(copy, node);
    connect(original, node);
    expect(node.problems()).toEqual(['link.identity-twice']);
    expect(original.problems()).toEqual(['link.identity-twice']);
    expect(node.links.admitted()).toEqual([]);
  });

  it('a copy that comes back every second is warned of once a minute at most, on both sides', () => {
    const node = new Node({ number: 1 });
    const original = new Node({ number: 2, incarnation: 5 });
    connect(original, node);
    connect(new Node({ number: 2, incarnation: 6 }), node);
    for (let second = 0; second < 120; second++) {
      connect(original, node);
      for (const [one, other] of [
        [node, original],
        [original, node],
      ] as const) {
        one.handle({ kind: 'disconnected', peer: other.id, reason: 'gone' });
        one.pass(1_000);
      }
    }
    const warned = (one: Node) =>
      one.of('mark').filter(({ level, name }) => level === 'warn' && name === 'link.refused').length;
    expect([warned(node), node.problems()]).toEqual([1, ['link.identity-twice']]);
    // It admits the other each time before it is refused.
    expect([warned(original), original.problems()]).toEqual([2, ['link.identity-twice']]);
  });

  it('it is found also when the copies take turns', () => {
    const node = new Node({ number: 1 });
    const runs = [5, 6, 5].map((incarnation) => new Node({ number: 2, incarnation }));
    for (const run of runs) {
      connect(run, node);
      node.handle({ kind: 'disconnected', peer: run.id, reason: 'gone' });
    }
    expect(node.problems()).toEqual(['link.identity-twice']);
  });

  it('the same run may come and go, and restarts are no crime', () => {
    const node = new Node({ number: 1 });
    for (const incarnation of [5, 5, 6, 6, 7, 8, 9, 10, 11]) {
      const run = new Node({ number: 2, incarnation });
      connect(run, node);
      node.handle({ kind: 'disconnected', peer: run.id, reason: 'gone' });
    }
    expect(node.problems()).toEqual([]);
    expect(node.of('peerUp')).toHaveLength(9);
  });

  it('a dial that finds another machine with the own key is a problem; one that finds oneself is none', () => {
    const node = new Node({ number: 1 });
    node.handle({ kind: 'dialFailed', address: '/ip4/192.0.2.1/tcp/1', reason: DIAL_SELF });
    node.handle({ kind: 'dialFailed', address: '/ip4/192.0.2.1/tcp/1', reason: 'ECONNREFUSED' });
    expect(node.problems()).toEqual([]);
    node.handle({ kind: 'dialFailed', address: '/ip4/192.0.2.7/tcp/1', reason: DIAL_TWIN });
    expect(node.links.problems()).toMatchObject([
      { code: 'link.identity-twice', message: expect.stringContaining('192.0.2.7') },
    ]);
  });
});

describe('links: penalties', () => {
  function admitted(): [Node, Node] {
    const [node, peer] = [new Node({ number: 1 }), new Node({ number: 2 })];
    connect(node, peer);
    return [node, peer];
  }
  const penalise = (node: Node, peer: Node) =>
    node.handle({ kind: 'penalised', peer: peer.id, reason: 'bad frame' });

  it(`${limits.penaltyPoints} offences within a minute cut the peer off (S52)`, () => {
    const [node, peer] = admitted();
    for (let count = 1; count < limits.penaltyPoints; count++) {
      expect(kinds(penalise(node, peer))).toEqual(['mark']);
      node.pass(5_000);
    }
    const effects = penalise(node, peer);
    expect(refusalIn(effects)).toBe('barred');
    expect(kinds(effects).filter((kind) => kind !== 'mark')).toEqual(['send', 'disconnect', 'peerDown']);
    expect(penalise(node, peer)).toEqual([]);
  });

  it('fewer than that, or slower, are forgiven', () => {
    const [node, peer] = admitted();
    for (let count = 0; count < 50; count++) {
      penalise(node, peer);
      node.pass(7_000);
    }
    expect(node.of('disconnect')).toEqual([]);
  });

  it('a barred peer is refused for 30 s, then for a minute, then for two', () => {
    const [node, peer] = admitted();
    for (const barMs of [30_000, 60_000, 120_000]) {
      for (let count = 0; count < limits.penaltyPoints; count++) penalise(node, peer);
      node.handle({ kind: 'disconnected', peer: peer.id, reason: 'cut' });
      peer.handle({ kind: 'disconnected', peer: node.id, reason: 'cut' });
      node.pass(barMs - 1);
      peer.pass(barMs - 1);
      connect(peer, node);
      expect(node.links.admitted()).toEqual([]);
      expect(peer.problems()).toContain('link.barred');
      node.pass(1);
      peer.pass(1);
      connect(peer, node);
      expect(node.links.admitted()).toEqual([peer.id]);
    }
  });

  it('endless greetings are offences', () => {
    const [node, peer] = admitted();
    for (let count = 0; count < 30; count++)
      hears(node, peer, helloOf(peer, { incarnation: 1_002 as Incarnation }));
    expect(node.of('peerDown')).toHaveLength(1);
    expect(node.problems()).toEqual(['link.barred']);
  });
});

describe('links: time', () => {
  it('a link ends with its certificate', () => {
    const [node, peer] = [new Node({ number: 1 }), new Node({ number: 2, issuedMs: NOON - 29 * DAY })];
    connect(node, peer);
    expect(node.pass(DAY)).toEqual([]);
    expect(refusalIn(node.pass(6 * MINUTE))).toBe('expired');
    expect(node.of('peerDown')).toHaveLength(1);
  });

  it('a renewed certificate is told to all peers, and keeps the link', () => {
    const [node, peer] = [new Node({ number: 1 }), new Node({ number: 2, issuedMs: NOON - 29 * DAY })];
    connect(node, peer);
    for (const each of [node, peer]) each.pass(DAY / 2);
    const certificate = certifyMember(
      swarm,
      { nodeId: peer.id, name: 'renamed', roles: [], zone: 'local', serial: 2 },
      peer.now(),
    );
    settle(
      peer,
      node,
      peer.handle({ kind: 'renewed', certificate }).map((effect) => [peer, effect]),
    );
    expect(node.pass(2 * DAY)).toEqual([]);
    expect(node.links.facts(peer.id)?.name).toBe('renamed');
    expect(node.of('peerUp')).toHaveLength(1);
    expect(node.of('peerDown')).toEqual([]);
  });

  it('problems are bounded, mended by success, and forgotten', () => {
    const node = new Node({ number: 1 });
    for (let number = 2; number < 2 + 2 * limits.linkProblems; number++) {
      const peer = nodeIdOf(number);
      node.handle({ kind: 'connected', peer, address: '/ip4/192.0.2.9/tcp/1', direction: 'in' });
      node.handle({ kind: 'frame', from: peer, channel: 'hello', bytes: encodeRefusal('wrong-swarm') });
      node.handle({ kind: 'disconnected', peer, reason: 'gone' });
    }
    expect(node.problems()).toHaveLength(limits.linkProblems);
    connect(new Node({ number: 1 + 2 * limits.linkProblems }), node);
    expect(node.problems()).toHaveLength(limits.linkProblems - 1);
    node.pass(limits.linkProblemMs + 1);
    node.handle({ kind: 'listening', addresses: [] });
    expect(node.problems()).toEqual([]);
  });

  it('the same events give the same orders, byte for byte', () => {
    const orders = () => {
      const [one, two] = [new Node({ number: 1 }), new Node({ number: 2 })];
      connect(one, two);
      one.handle({ kind: 'penalised', peer: two.id, reason: 'x' });
      one.pass(31 * DAY);
      return JSON.stringify(one.effects);
    };
    expect(orders()).toBe(orders());
  });
});
