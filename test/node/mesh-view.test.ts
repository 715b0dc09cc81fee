/** What `skein doctor` says of members that bring what cannot be: of the whole node, as its people read it. */
import { expect, it } from 'vitest';
import { signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import { encode } from '../../src/kernel/codec.ts';
import type { AgentId, BoardName } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { statusOf } from '../../src/node/mesh-view.ts';
import { encodeFrame } from '../../src/replication/frames.ts';
import type { RecordKind } from '../../src/replication/record.ts';
import { encodeDelta, signedBytes } from '../../src/replication/record-codec.ts';
import { CoreNode, Line, swarmNumber } from './cores.ts';

const SWARM = swarmNumber(1);

function problemsOf(node: CoreNode) {
  const { core, name, swarm } = node;
  return statusOf({
    core,
    swarm: swarm.id,
    descriptor: { name, roles: ['worker'], zone: 'trusted', version: '0.0.0-test' },
    meshAddresses: () => [],
    problems: () => [],
    now: () => node.now(),
  }).problems;
}

it('EQUIVOCATION: a member that signed two records under one sequence is named, with what to do', () => {
  const [us, member] = [new CoreNode(1, SWARM), new CoreNode(2, SWARM)];
  const line = new Line(us, member);
  expect(problemsOf(us)).toEqual([]);
  const signer = signerFromSeed(new Uint8Array(32).fill(2));
  for (const capability of ['one', 'other']) {
    const body = encode({ capabilities: [capability] });
    const unsigned = { owner: member.nodeId, kind: 'agent' as RecordKind, key: 'planner', sequence: 9, body };
    const record = { ...unsigned, signature: signer.sign(signedBytes(unsigned)) };
    const bytes = encodeFrame({ kind: 'push', delta: encodeDelta({ records: [record], hints: [] }) });
    line.carry(us, us.handle({ kind: 'frame', from: member.nodeId, channel: 'records', bytes }));
  }
  const [problem, ...others] = problemsOf(us);
  expect(others).toEqual([]);
  expect(problem?.code).toBe('EQUIVOCATION');
  expect(problem?.message).toContain(`${member.name} (${member.nodeId})`);
  expect(problem?.hint).toMatch(/two machines.*stop one/);
});

it(`TOO_MANY_BOARDS: of more than ${limits.boardsPerOwner} boards that one member makes up some are named, and whose they are`, () => {
  const names = Array.from({ length: limits.boardsPerOwner + 4 }, (_, index) => `made-up-${index}`);
  const [us, member] = [new CoreNode(1, SWARM), new CoreNode(2, SWARM, 0, ['main', ...names])];
  const line = new Line(us, member);
  for (const [id, name] of names.entries()) {
    const call = { op: 'write', board: name as BoardName, key: 'k', value: id } as const;
    line.carry(member, member.handle({ kind: 'requested', id, call, writer: { agent: 'a' as AgentId } }));
  }
  line.pass(10_000);
  const [problem, ...others] = problemsOf(us);
  expect(others).toEqual([]);
  expect(problem?.code).toBe('TOO_MANY_BOARDS');
  expect(problem?.message).toMatch(/"made-up-\d+" of node-2/);
  expect(problem?.hint).toContain(`${limits.boardsPerOwner} of one member`);
  expect(problemsOf(member)).toEqual([]);
});
