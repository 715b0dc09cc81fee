/** The calls of one node, and what becomes of them where its store or its disk does not stay. */
import { describe, expect, it } from 'vitest';
import type { Result } from '../../../src/kernel/errors.ts';
import { Calls } from '../../../src/quorum/calls/calls.ts';
import type { Replica } from '../../../src/quorum/store/replica.ts';
import { put } from '../clusters.ts';
import { serverNumber } from '../names.ts';

const NOW = { monoMs: 1_000, wallMs: 0 };
const CLIENT = 1;

/** A node that leads; what it was handed is in `handed`. */
function leading() {
  const handed: number[] = [];
  const answers = new Map<number, Result<unknown>>();
  let lastId = 0;
  const calls = new Calls(
    () => ++lastId,
    (id, result) => answers.set(id, result),
  );
  const replica = {
    isLeader: true,
    raft: { leader: serverNumber(0) },
    propose: (asked: readonly { readonly token: number }[]) => {
      handed.push(...asked.map(({ token }) => token));
      return [];
    },
  } as unknown as Replica;
  calls.ask(7, put('k', 'v') as Parameters<Calls['ask']>[1], replica, NOW);
  return { calls, replica, handed, answers };
}

describe('calls', () => {
  it('a node whose disk fails hands out nothing: it could not learn the answers', () => {
    const { calls, replica, handed } = leading();
    calls.propose(replica, true, NOW);
    expect(handed).toEqual([]);
    calls.wake();
    calls.propose(replica, false, NOW);
    expect(handed).toEqual([0, 1]);
  });

  it.each([
    [true, 'not-done'],
    [false, 'unknown'],
  ])(
    'one that came too late in a store that went (took no effect: %s) is %s: what goes on may hold a copy of it',
    (tookNoEffect, outcome) => {
      const { calls, replica, answers } = leading();
      calls.propose(replica, false, NOW);
      calls.outdated(CLIENT, 1, 99);
      expect(answers.size).toBe(0);
      calls.restart(tookNoEffect, NOW);
      expect(answers.get(7)).toMatchObject({ ok: false, error: { details: { outcome } } });
      expect(calls.isIdle).toBe(true);
    },
  );

  it.each([
    ['write', put('k', 'v'), /^Nothing was changed\. Try again/],
    ['strong read', { op: 'get', key: 'k', level: 'strong' }, /^Try again/],
  ])(
    'a %s for which no quorum was there says what to do, of changes only where one was asked for',
    (_, call, hint) => {
      const { answers } = leading();
      const calls = new Calls(
        () => 1,
        (id, result) => answers.set(id, result),
      );
      calls.ask(8, call as Parameters<Calls['ask']>[1], undefined, NOW);
      calls.giveUpLate({ monoMs: 1_000_000, wallMs: 0 }, () => ({ what: 'Nobody leads.', details: {} }));
      expect(answers.get(8)).toMatchObject({
        ok: false,
        error: {
          code: 'QUORUM_UNAVAILABLE',
          hint: expect.stringMatching(hint),
          details: { outcome: 'not-done' },
        },
      });
    },
  );
});
