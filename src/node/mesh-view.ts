import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type { MeshStatus, PeerInfo, Problem } from '../mesh/view.ts';
import type { NodeBody } from '../replication/record.ts';
import type { NodeCore } from './core.ts';

export interface MeshFacts {
  readonly core: NodeCore;
  readonly swarm: string;
  readonly descriptor: Pick<NodeBody, 'name' | 'roles' | 'zone' | 'version'>;
  readonly meshAddresses: () => readonly string[];
  /** Problems that are not the core's: the disk, multicast, a registry. */
  readonly problems: () => readonly Problem[];
  readonly now: () => Instant;
}

/** This node and every member it knows of, by name, then id. */
export function peersOf({ core, descriptor, meshAddresses }: MeshFacts): readonly PeerInfo[] {
  const own: PeerInfo = {
    nodeId: core.self,
    name: descriptor.name,
    roles: descriptor.roles,
    zone: descriptor.zone,
    state: 'alive',
    addresses: meshAddresses(),
    self: true,
  };
  const others = core.membership.members().filter(({ nodeId }) => nodeId !== core.self);
  const peers = others.map(({ nodeId, state, rttMs }): PeerInfo => {
    const body = core.records.body(nodeId, 'node', '') as Partial<NodeBody> | undefined;
    const facts = core.links.facts(nodeId);
    return {
      nodeId,
      name: body?.name ?? facts?.name ?? nodeId.slice(-8),
      roles: body?.roles ?? facts?.roles ?? [],
      zone: body?.zone ?? facts?.zone ?? 'trusted',
      state,
      addresses: body?.addresses ?? facts?.listenAddresses ?? [],
      ...(rttMs === undefined ? {} : { rttMs: Math.round(rttMs * 100) / 100 }),
      self: false,
    };
  });
  return [own, ...peers].sort(
    (left, right) => compare(left.name, right.name) || compare(left.nodeId, right.nodeId),
  );
}

export function statusOf(facts: MeshFacts): MeshStatus {
  const { core, descriptor, swarm } = facts;
  return {
    nodeId: core.self,
    name: descriptor.name,
    swarm,
    roles: descriptor.roles,
    version: descriptor.version,
    startedAt: new Date(core.startedAt).toISOString(),
    meshAddresses: facts.meshAddresses(),
    links: core.links.admitted().length,
    problems: [
      ...core.links.problems(),
      ...core.discovery.problems(),
      ...equivocationProblems(core),
      ...stampProblems(core, facts.now()),
      ...roomProblems(core),
      ...facts.problems(),
    ],
  };
}

function equivocationProblems(core: NodeCore): readonly Problem[] {
  return core.records.equivocations().map(({ first: { owner } }) => ({
    code: 'EQUIVOCATION',
    message: `${core.nameOf(owner)} (${owner}) signed two different records under one sequence.`,
    hint: 'Its key may be in use on two machines, or stolen: stop one of them, or give it a new identity.',
  }));
}

/** The gates of others do not believe stamps from the future, and later writes are stamped behind earlier ones. */
function stampProblems(core: NodeCore, now: Instant): readonly Problem[] {
  const aheadMs = core.boards.stampedAheadMs(now);
  if (aheadMs <= limits.clockSkewMs) return [];
  const minutes = Math.ceil(aheadMs / 60_000);
  return [
    {
      code: 'STAMPS_AHEAD',
      message: `This node has written entries while its clock was ahead, by ${minutes} minutes from now: what it writes does not reach other nodes yet.`,
      hint: 'Nothing is lost. See that the clock is right and stays so (timedatectl set-ntp true): these entries are then stamped anew within seconds, as soon as a peer is linked.',
    },
  ];
}

function roomProblems(core: NodeCore): readonly Problem[] {
  const boards = [...core.boards.withoutRoom];
  if (boards.length === 0) return [];
  const named = boards.slice(0, 4).map(([board, owner]) => `"${board}" of ${core.nameOf(owner)}`);
  return [
    {
      code: 'TOO_MANY_BOARDS',
      message: `This node has no room for boards that others have brought: ${named.join(', ')}${boards.length > 4 ? ', …' : ''}.`,
      hint: `At most ${limits.boards} boards are kept, and ${limits.boardsPerOwner} of one member that are not declared here. Declare those that this node needs, and see who makes up the others.`,
    },
  ];
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
