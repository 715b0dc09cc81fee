import { expect, it } from 'vitest';
import type { Blackboard } from '../../src/blackboard/api.ts';
import type { AgentId, BoardName, NodeId } from '../../src/kernel/ids.ts';
import { declaredBoards, type QuorumServices, quorumServicesOf } from '../../src/node/quorum-services.ts';
import { ManualClock, SingleStore } from '../support/single-store.ts';

const MAIN = 'main' as BoardName;
const WRITER = { agent: 'me' as AgentId };
const QUOTA = { keys: 10, bytes: 10_000 };
const NO_CRDT: Blackboard = {
  call: () => Promise.reject(new Error('no call of this test goes to a crdt board')),
  boards: () => [],
  watch: () => () => {},
};

const codes = (node: QuorumServices) => node.problems().map(({ code }) => code);

it('a board that is crdt here and quorum elsewhere is a problem until its quorum entries are deleted there', async () => {
  const clock = new ManualClock();
  const store = new SingleStore(clock);
  const nodeWith = (boards: Parameters<typeof declaredBoards>[0]['boards'], self: string) =>
    quorumServicesOf({
      crdt: NO_CRDT,
      store: store.connect(),
      boards: declaredBoards({ boards }),
      self: self as NodeId,
      clock,
      entropy: { bytes: (length) => new Uint8Array(length).fill(self.charCodeAt(0)) },
      onFault: (error) => {
        throw error;
      },
    });
  const usual = nodeWith({}, 'a');
  const other = nodeWith({ [MAIN]: { mode: 'quorum', quota: QUOTA } }, 'b');
  await clock.advance(10);
  expect(codes(usual)).toEqual([]);

  const call = { board: MAIN, key: 'k' };
  expect(await other.blackboard.call({ op: 'write', ...call, value: 1 }, WRITER)).toMatchObject({ ok: true });
  await clock.advance(10);
  expect(usual.problems()).toEqual([
    {
      code: 'BOARD_MODE_DIFFERS',
      message: expect.stringContaining('"main"'),
      hint: expect.stringContaining('delete the entries'),
    },
  ]);

  expect(await other.blackboard.call({ op: 'delete', ...call }, WRITER)).toMatchObject({ ok: true });
  await clock.advance(10);
  expect(codes(usual)).toEqual([]);
  usual.close();
  other.close();
});
