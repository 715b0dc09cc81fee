/** Section 6.3 of the dissertation: a request takes effect once, and a client that was forgotten is refused. */
import { describe, expect, it } from 'vitest';
import type { RegisterBounds } from '../../../src/quorum/register/register.ts';
import { CLIENT, put, restored, Told, transactCommand } from './support.ts';
import { text } from './twin.ts';

const SMALL: Partial<RegisterBounds> = { quorumClients: 3, quorumClientRequests: 4 };

describe('register: requests take effect once', () => {
  it('a counter read and written by a repeated command grows once, also after a snapshot (K30, K40)', () => {
    const told = new Told();
    const command = transactCommand(1, {
      compares: [{ target: 'version', key: 'counter', is: '=', than: 0 }],
      then: [put('counter', '1'), { op: 'get', key: 'counter' }],
      otherwise: [{ op: 'get', key: 'counter' }],
    });
    const first = told.tell(command);
    told.transact({ then: [put('other')] });
    const again = told.tell(command);
    expect(again).toMatchObject({ repeated: true, result: first.result, changes: [] });
    const register = restored(told.register.capture());
    expect(register?.digest()).toBe(told.register.digest());
    if (register !== undefined) told.register = register;
    expect(told.tell(command)).toMatchObject({ repeated: true, result: first.result, changes: [] });
    expect(told.register.get('counter')).toMatchObject({ version: 1 });
  });

  it('a compare that failed goes on failing for its request, even where it would hold by now', () => {
    const told = new Told();
    const command = transactCommand(1, {
      compares: [{ target: 'version', key: 'k', is: '>', than: 0 }],
      then: [put('k', 'late')],
    });
    expect(told.tell(command).result).toMatchObject({ answer: { succeeded: false } });
    told.tell(transactCommand(2, { then: [put('k', 'early')] }, 1));
    expect(told.tell(command).result).toMatchObject({ answer: { succeeded: false } });
    expect(text(told.register.get('k')?.value ?? new Uint8Array())).toBe('early');
  });

  it('an answer is forgotten once the client has it, and the request is not carried out again', () => {
    const told = new Told();
    const command = transactCommand(1, { then: [put('k', '1')] });
    told.tell(command);
    told.tell(transactCommand(2, { then: [put('k', '2')] }, 2));
    expect(told.tell(command)).toMatchObject({ result: { kind: 'refused', why: 'stale' }, changes: [] });
    expect(told.register.get('k')?.version).toBe(2);
  });

  it('a client that never opened, closed, or was silent longest of too many is refused', () => {
    const told = new Told(SMALL);
    const refused = { result: { kind: 'refused', why: 'unknownClient' }, changes: [] };
    expect(told.tell(transactCommand(1, { then: [put('k')] }, 1, 99))).toMatchObject(refused);
    told.tell({ kind: 'openClient', client: 99 });
    told.tell({ kind: 'closeClient', client: 99 });
    expect(told.tell(transactCommand(1, { then: [put('k')] }, 1, 99))).toMatchObject(refused);
    told.put('k', 'mine');
    for (const client of [100, 101, 102]) told.tell({ kind: 'openClient', client });
    expect(told.register.isOpen(CLIENT)).toBe(false);
    expect(told.put('k', 'late')).toMatchObject(refused);
    expect(told.register.usage.clients).toBe(3);
  });

  it('to open a client twice forgets nothing of it', () => {
    const told = new Told();
    const command = transactCommand(1, { then: [put('k')] });
    told.tell(command);
    told.tell({ kind: 'openClient', client: CLIENT });
    expect(told.tell(command)).toMatchObject({ repeated: true });
    expect(told.register.get('k')?.version).toBe(1);
  });

  it('a client that acknowledges nothing is told to wait and may ask again with the same sequence', () => {
    const told = new Told(SMALL);
    for (let sequence = 1; sequence <= 4; sequence++) {
      told.tell(transactCommand(sequence, { then: [put(`k${sequence}`)] }, 1));
    }
    const fifth = transactCommand(5, { then: [put('k5')] }, 1);
    expect(told.tell(fifth)).toMatchObject({ result: { kind: 'refused', why: 'busy' }, changes: [] });
    expect(told.tell(transactCommand(5, { then: [put('k5')] }, 3)).result.kind).toBe('transacted');
  });

  it('answers of all clients together are bounded: the longest silent is forgotten first', () => {
    const told = new Told({ quorumAnswersBytes: 1000, quorumClientBytes: 10_000 });
    told.tell({ kind: 'openClient', client: 8 });
    told.put('k', 'x'.repeat(400));
    const read = { then: [{ op: 'get', key: 'k' } as const] };
    told.tell(transactCommand(2, read, 1));
    told.tell(transactCommand(1, read, 1, 8));
    expect([told.register.isOpen(CLIENT), told.register.isOpen(8)]).toEqual([false, true]);
  });

  it('leases are granted and revoked once', () => {
    const told = new Told();
    const grant = {
      kind: 'grantLease',
      client: CLIENT,
      sequence: 1,
      lowestOutstanding: 1,
      id: 5,
      ttlMs: 1000,
    } as const;
    expect(told.tell(grant).leaseChanges).toHaveLength(1);
    expect(told.tell(grant)).toMatchObject({ repeated: true, leaseChanges: [], result: { kind: 'granted' } });
    const revoke = { kind: 'revokeLease', client: CLIENT, sequence: 2, lowestOutstanding: 2, id: 5 } as const;
    expect(told.tell(revoke).leaseChanges).toEqual([{ kind: 'ended', id: 5 }]);
    told.tell({ ...grant, sequence: 3, lowestOutstanding: 2 });
    expect(told.tell(revoke)).toMatchObject({ repeated: true, leaseChanges: [] });
    expect(told.register.lease(5)).toBeDefined();
  });
});
