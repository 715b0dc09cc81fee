import { describe, expect, it } from 'vitest';
import type { Blackboard, BoardCall } from '../../src/blackboard/api.ts';
import { QuorumBoards } from '../../src/blackboard/quorum-boards.ts';
import { JoinedBlackboard } from '../../src/blackboard/quorum-joined.ts';
import { joinSession, splitSession } from '../../src/blackboard/quorum-session.ts';
import { ok } from '../../src/kernel/errors.ts';
import type { AgentId, BoardName, NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { ManualClock, SingleStore } from '../support/single-store.ts';

const MAIN = 'main' as BoardName;
const TASKS = 'tasks' as BoardName;
const writer = { agent: 'me' as AgentId };

/** Boards of mode crdt as far as the joint is concerned: they see calls and give tokens. */
class CrdtBoards implements Blackboard {
  readonly calls: BoardCall[] = [];
  call(call: BoardCall) {
    this.calls.push(call);
    return Promise.resolve(ok({ revision: 1, session: `crdt-${this.calls.length}` } as never));
  }
  boards() {
    return [
      { name: MAIN, mode: 'crdt' as const, keys: 1, bytes: 1 },
      { name: TASKS, mode: 'crdt' as const, keys: 9, bytes: 9 },
    ];
  }
  watch() {
    return () => {};
  }
}

async function joined() {
  const clock = new ManualClock();
  const crdt = new CrdtBoards();
  const quorum = new QuorumBoards({
    store: new SingleStore(clock).connect(),
    clock,
    entropy: { bytes: (length) => new Uint8Array(length).fill(7) },
    self: 'a' as NodeId,
    boards: [{ name: TASKS, quotaKeys: 10, quotaBytes: 10_000 }],
    onFault: (error) => {
      throw error;
    },
  });
  quorum.start();
  await clock.advance(10);
  return { crdt, board: new JoinedBlackboard(crdt, quorum) };
}

async function sessionOf(board: Blackboard, call: BoardCall): Promise<string> {
  const answer = await board.call(call, writer);
  if (!answer.ok) throw new Error(JSON.stringify(answer.error));
  return (answer.value as { session: string }).session;
}

describe('boards of both modes as one blackboard', () => {
  it.each([undefined, 'me', {}, { agent: '' }, { agent: 'a b' }, { agent: 'x'.repeat(129) }])(
    'a call by %j is refused, and nothing of it reaches a board',
    async (by) => {
      const { board, crdt } = await joined();
      for (const name of [MAIN, TASKS]) {
        const answer = await board.call({ op: 'write', board: name, key: 'k', value: 1 }, by as never);
        expect(answer).toMatchObject({ ok: false, error: { code: 'INVALID_ARGUMENT' } });
      }
      expect(crdt.calls).toEqual([]);
      const read = await board.call({ op: 'read', board: TASKS, key: 'k' }, writer);
      expect(read).toMatchObject({ value: { found: false } });
    },
  );

  it('lists both kinds once each, sorted', async () => {
    const { board } = await joined();
    expect(board.boards()).toEqual([
      { name: 'main', mode: 'crdt', keys: 1, bytes: 1 },
      { name: 'tasks', mode: 'quorum', keys: 0, bytes: 0 },
    ]);
  });

  it('one token carries a session over boards of both modes, each side seeing its own part', async () => {
    const { board, crdt } = await joined();
    const write = (name: BoardName, session?: string): BoardCall => ({
      op: 'write',
      board: name,
      key: 'k',
      value: 1,
      ...(session === undefined ? {} : { session }),
    });
    const first = await sessionOf(board, write(MAIN));
    expect(first).toBe('crdt-1');
    const second = await sessionOf(board, write(TASKS, first));
    const third = await sessionOf(board, write(MAIN, second));
    expect(crdt.calls.at(-1)).toMatchObject({ session: 'crdt-1' });
    const fourth = await sessionOf(board, write(TASKS, third));
    expect(splitSession(third)).toMatchObject({
      ok: true,
      value: { crdt: 'crdt-2', store: '0707070707070707' },
    });
    const read = await board.call(
      { op: 'read', board: TASKS, key: 'k', level: 'session', session: fourth },
      writer,
    );
    expect(read).toMatchObject({ ok: true, value: { found: true } });
  });

  it('a token that has seen only the quorum store asks nothing of the crdt boards', async () => {
    const { board, crdt } = await joined();
    const token = await sessionOf(board, { op: 'write', board: TASKS, key: 'k', value: 1 });
    await sessionOf(board, { op: 'read', board: MAIN, key: 'k', session: token });
    expect(crdt.calls.at(-1)).toEqual({ op: 'read', board: MAIN, key: 'k' });
  });

  it('compare-and-set is not offered by a crdt board, and the hint names one that does', async () => {
    const { board } = await joined();
    const call = { op: 'compareAndSet', board: MAIN, key: 'k', expectedRevision: 0, value: 1 } as const;
    expect(await board.call(call, writer)).toMatchObject({
      error: { code: 'LEVEL_NOT_OFFERED', hint: expect.stringContaining('tasks') },
    });
  });

  it('the largest token of crdt boards still fits with the part of the store', () => {
    const crdt = 'a'.repeat(limits.sessionTokenBytes);
    const token = joinSession({ store: 'f'.repeat(32), revision: Number.MAX_SAFE_INTEGER, crdt });
    expect(splitSession(token)).toMatchObject({ ok: true, value: { revision: Number.MAX_SAFE_INTEGER } });
  });

  it.each([
    'q1.',
    'q1.ab',
    'q1.xy.1.',
    'q1.ab.1.!',
    'q9.ab.1.',
    `q1.ab.${'z'.repeat(11)}.`,
    'a.b',
    'x'.repeat(20_000),
  ])('%s is no token', (token) => {
    expect(splitSession(token)).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
  });
});
