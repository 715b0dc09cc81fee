/** Whose records count: those for whom the swarm's root vouches, whoever hands them on. */
import { describe, expect, it } from 'vitest';
import { nodeCryptography, signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import { encode } from '../../src/kernel/codec.ts';
import type { AgentId, NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { openCertificate } from '../../src/mesh/identity/certificate.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { certifyMember } from '../../src/mesh/identity/swarm.ts';
import { MemberCertificates } from '../../src/node/member-certificates.ts';
import type { RecordKind, SignedRecord } from '../../src/replication/record.ts';
import { CoreNode, DAY_MS, Line, NOON, swarmNumber } from './cores.ts';

const OURS = swarmNumber(1);
const THEIRS = swarmNumber(2);

function nodeNumber(number: number): NodeId {
  const seed = new Uint8Array(32);
  new DataView(seed.buffer).setUint32(0, number);
  return nodeIdFromPublicKey(signerFromSeed(seed).publicKey);
}

function certificateOf(nodeId: NodeId, swarm = OURS, issuedMs = NOON): Uint8Array {
  const member = { nodeId, name: 'name', roles: [], zone: 'trusted', serial: 1 };
  return certifyMember(swarm, member, { monoMs: 0, wallMs: issuedMs });
}

function recordOf(owner: NodeId, kind: RecordKind, body: unknown): SignedRecord {
  return { owner, kind, key: '', sequence: 1, body: encode(body as never), signature: new Uint8Array(64) };
}

describe('membership of who owns a record', () => {
  const stranger = nodeNumber(1);
  const fresh = () => new MemberCertificates(nodeCryptography, OURS.rootPublicKey);

  it.each<[string, RecordKind, unknown, boolean]>([
    ['with a certificate of this swarm', 'node', { certificate: certificateOf(stranger) }, true],
    ['with one that ran out years ago', 'node', { certificate: certificateOf(stranger, OURS, 1e12) }, true],
    ['with a certificate of another swarm', 'node', { certificate: certificateOf(stranger, THEIRS) }, false],
    ["with another node's certificate", 'node', { certificate: certificateOf(nodeNumber(2)) }, false],
    ['with a cut certificate', 'node', { certificate: certificateOf(stranger).slice(0, -1) }, false],
    ['with a text for a certificate', 'node', { certificate: 'yes' }, false],
    ['without a certificate', 'node', { name: 'x' }, false],
    ['that is no map', 'node', 7, false],
    ['that is nothing', 'node', null, false],
    [
      'of another kind, with a certificate of this swarm',
      'agent',
      { certificate: certificateOf(stranger) },
      false,
    ],
  ])('a first record %s (kind %s): %s', (_, kind, body, isAdmitted) => {
    const members = fresh();
    expect(members.admits(recordOf(stranger, kind, body))).toBe(isAdmitted);
    expect(members.has(stranger)).toBe(isAdmitted);
    expect(members.admits(recordOf(stranger, 'lanes', {}))).toBe(isAdmitted);
  });

  it(`knows no more than ${limits.members} members, and those it knows it can still learn anew`, () => {
    const members = fresh();
    const known = Array.from({ length: limits.members }, (_, at) => nodeNumber(at + 1));
    for (const node of known) expect(members.learn(node, certificateOf(node))).toBe(true);
    expect(members.learn(nodeNumber(999_999), certificateOf(nodeNumber(999_999)))).toBe(false);
    expect(members.learn(known[0] as NodeId, certificateOf(known[0] as NodeId))).toBe(true);
  });
});

/** An agent registers on the node; what it sends of records from then on, and of all before. */
function registered(node: CoreNode, line: Line) {
  const registration = { agentId: `agent-of-${node.name}` as AgentId, capabilities: ['x'] };
  const event = { kind: 'requested', id: 1, call: { op: 'register', registration } } as const;
  const before = line.frames.length;
  line.carry(node, node.handle({ kind: 'agentRequested', event }));
  line.pass(3_000);
  const sent = line.frames.map((frame, at) => ({ ...frame, isNew: at >= before }));
  return sent.filter(({ from, channel }) => from === node.nodeId && channel === 'records');
}

describe('records that a member hands on, in whole cores', () => {
  const owners = ({ core }: CoreNode, kind: RecordKind) =>
    core.records.ofKind(kind).map(({ owner }) => owner);

  /** As if the member had handed them on. */
  const hand = (
    to: CoreNode,
    member: CoreNode,
    line: Line,
    frames: readonly { readonly bytes: Uint8Array }[],
  ) => {
    for (const { bytes } of frames)
      line.carry(to, to.handle({ kind: 'frame', from: member.nodeId, channel: 'records', bytes }));
    line.pass(5_000);
  };

  it('are passed over where the owner is of another swarm, and taken where it is a member never met', () => {
    for (const [swarm, isTaken] of [
      [THEIRS, false],
      [OURS, true],
    ] as const) {
      const [us, member] = [new CoreNode(1, OURS), new CoreNode(2, OURS)];
      const line = new Line(us, member);
      const [stranger, friend] = [new CoreNode(3, swarm), new CoreNode(4, swarm)];
      hand(us, member, line, registered(stranger, new Line(stranger, friend)));
      for (const kind of ['node', 'lanes', 'agent'] as const)
        expect(owners(us, kind).includes(stranger.nodeId), kind).toBe(isTaken);
      // What it does not take itself it does not hand on either; and nobody is blamed for it.
      expect(owners(member, 'agent').includes(stranger.nodeId)).toBe(isTaken);
      expect(us.core.links.admitted()).toEqual([member.nodeId]);
    }
  });

  it('of a member are taken once its own record was seen, which the journal remembers, and not before', () => {
    for (const hasJournal of [true, false]) {
      const [us, member, other] = [new CoreNode(1, OURS), new CoreNode(2, OURS), new CoreNode(3, OURS)];
      const { nodes } = new Line(us, member, other);
      for (const node of nodes) expect(owners(node, 'node')).toContain(other.nodeId);
      if (!hasJournal) us.journal.splice(0);
      us.restart();
      const fresh = registered(other, new Line(member, other)).filter(({ isNew }) => isNew);
      expect(fresh.length).toBeGreaterThan(0);
      for (const { bytes } of fresh)
        us.handle({ kind: 'frame', from: member.nodeId, channel: 'records', bytes });
      // Not admitted yet itself: a frame of before the greeting is nobody's.
      expect(owners(us, 'agent')).not.toContain(other.nodeId);
      const later = new Line(us, new CoreNode(4, OURS));
      hand(us, later.nodes[1] as CoreNode, later, fresh);
      expect(owners(us, 'agent').includes(other.nodeId)).toBe(hasJournal);
    }
  });
});

/** The certificate that a node's own record carries, as another holds it. */
function certificateAt(holder: CoreNode, owner: CoreNode) {
  const body = holder.core.records.body(owner.nodeId, 'node', '') as { certificate: Uint8Array };
  const opened = openCertificate(nodeCryptography, OURS.rootPublicKey, body.certificate, owner.nodeId);
  return opened.ok ? opened.value : undefined;
}

describe('a certificate that is renewed, in whole cores', () => {
  it('goes to all peers and into the own record, keeps the link over the end of the one before, and lets later members believe', () => {
    const [us, peer] = [new CoreNode(1, OURS, -29 * DAY_MS), new CoreNode(2, OURS)];
    const line = new Line(us, peer);
    const before = peer.core.links.facts(us.nodeId)?.certificate;
    line.carry(us, us.handle({ kind: 'renewed', certificate: us.certificate() }));
    line.pass(2_000);
    const after = peer.core.links.facts(us.nodeId)?.certificate;
    expect(after?.notAfterMs).toBeGreaterThan((before?.notAfterMs ?? 0) + 20 * DAY_MS);
    expect(certificateAt(peer, us)?.notAfterMs).toBe(after?.notAfterMs);
    line.pass(2 * DAY_MS, DAY_MS / 2);
    expect(peer.core.links.admitted()).toEqual([us.nodeId]);
    expect(line.effects.filter(([, { kind }]) => kind === 'disconnect')).toEqual([]);
  });

  it('that is not renewed ends the link', () => {
    const [us, peer] = [new CoreNode(1, OURS, -29 * DAY_MS), new CoreNode(2, OURS)];
    const line = new Line(us, peer);
    expect(peer.core.links.admitted()).toEqual([us.nodeId]);
    line.pass(2 * DAY_MS, DAY_MS / 2);
    expect(peer.core.links.admitted()).toEqual([]);
  });
});
