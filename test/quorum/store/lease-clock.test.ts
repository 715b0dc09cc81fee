/** When leases run out: never early, soon after, and not because the leader changed. */
import { describe, expect, it } from 'vitest';
import { seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import { LeaseClock } from '../../../src/quorum/store/lease-clock.ts';
import { LeaseKeeper } from '../../../src/quorum/store/lease-keeper.ts';
import type { Replica } from '../../../src/quorum/store/replica.ts';
import { Told } from '../register/support.ts';

/** A lease runs out at most this much late where the clock is asked in time. */
const LATE_MS = 100;
const RETRY_MS = 2_000;

function at(monoMs: number): Instant {
  return { monoMs, wallMs: 0 };
}

describe('the clock of leases', () => {
  it.each([1, 30, 250, 7_000])(
    'none runs out early, and none over 100 ms late, asked every %i ms (100 seeds)',
    (stepMs) => {
      for (let seed = 0; seed < 100; seed++) {
        const rng = seededRng(seed);
        const clock = new LeaseClock();
        const due = new Map<number, number>();
        let nowMs = rng.below(100_000);
        for (let steps = 0; steps < 100; steps++) {
          nowMs += rng.below(stepMs) + 1;
          const id = 1 + rng.below(8);
          if (rng.chance(0.3)) {
            const ttlMs = 1_000 + rng.below(20_000);
            clock.renew(id, ttlMs, at(nowMs));
            due.set(id, nowMs + ttlMs);
          } else if (rng.chance(0.1)) {
            clock.forget(id);
            due.delete(id);
          } else if (rng.chance(0.02)) {
            clock.clear();
            due.clear();
          }
          const taken = new Set(clock.takeDue(at(nowMs)));
          for (const [lease, dueMs] of due) {
            if (taken.has(lease)) {
              expect(dueMs).toBeLessThanOrEqual(nowMs);
              due.set(lease, nowMs + RETRY_MS);
            } else {
              expect(dueMs + LATE_MS).toBeGreaterThan(nowMs);
            }
          }
          for (const lease of taken) expect(due.has(lease)).toBe(true);
          expect(clock.deadline === undefined).toBe(due.size === 0);
          if (clock.deadline !== undefined) expect(clock.deadline.atMs).toBeLessThanOrEqual(nowMs + LATE_MS);
        }
      }
    },
  );
});

describe('the leader’s part in leases', () => {
  function led(told: Told, isLeader = true): Replica {
    return { isLeader, register: told.register } as unknown as Replica;
  }

  function granted(): Told {
    const told = new Told();
    told.grant(5, 5_000);
    told.put('held', 'x', 5);
    return told;
  }

  it('a new leader gives each its whole time again: a change of leader prolongs and never shortens', () => {
    const told = granted();
    const [first, second] = [new LeaseKeeper(), new LeaseKeeper()];
    first.led(led(told), at(0));
    second.led(led(told), at(4_999));
    expect(first.takeDue(led(told), at(4_999))).toEqual([]);
    expect(second.takeDue(led(told), at(9_998))).toEqual([]);
    expect(second.takeDue(led(told), at(10_200))).toEqual([{ id: 5, renewals: 0 }]);
  });

  it('who does not lead any more ends none, and keeps none for when it leads again', () => {
    const told = granted();
    const keeper = new LeaseKeeper();
    keeper.led(led(told), at(0));
    expect(keeper.takeDue(led(told, false), at(5_200))).toEqual([]);
    keeper.led(led(told, false), at(5_300));
    expect(keeper.deadline).toBeUndefined();
    keeper.led(led(told), at(6_000));
    expect(keeper.takeDue(led(told), at(10_900))).toEqual([]);
  });

  it('what changes in its log while it leads counts from then, also what another leader began', () => {
    const told = granted();
    const keeper = new LeaseKeeper();
    keeper.led(led(told), at(0));
    keeper.changed(led(told), told.renew(5).leaseChanges, at(4_000));
    keeper.changed(led(told), told.grant(6, 1_000).leaseChanges, at(4_000));
    expect(keeper.takeDue(led(told), at(5_200))).toEqual([{ id: 6, renewals: 0 }]);
    expect(keeper.takeDue(led(told), at(9_200))).toContainEqual({ id: 5, renewals: 1 });
    keeper.changed(
      led(told),
      told.tell({ kind: 'expireLeases', leases: [{ id: 5, renewals: 1 }] }).leaseChanges,
      at(9_300),
    );
    keeper.changed(
      led(told),
      told.tell({ kind: 'expireLeases', leases: [{ id: 6, renewals: 0 }] }).leaseChanges,
      at(9_300),
    );
    expect(keeper.deadline).toBeUndefined();
  });

  it('a renewal that gets into the log before the end beats it, and one behind it finds nothing', () => {
    for (const isRenewalFirst of [true, false]) {
      const told = granted();
      const keeper = new LeaseKeeper();
      keeper.led(led(told), at(0));
      const leases = keeper.takeDue(led(told), at(5_200));
      const end = () => told.tell({ kind: 'expireLeases', leases });
      if (!isRenewalFirst) end();
      const { result } = told.renew(5);
      if (isRenewalFirst) end();
      expect(result.kind === 'granted').toBe(isRenewalFirst);
      expect(told.register.get('held') !== undefined).toBe(isRenewalFirst);
    }
  });

  it('an end that was lost with a leadership is proposed again', () => {
    const told = granted();
    const keeper = new LeaseKeeper();
    keeper.led(led(told), at(0));
    expect(keeper.takeDue(led(told), at(5_200))).toHaveLength(1);
    expect(keeper.takeDue(led(told), at(5_400))).toHaveLength(0);
    expect(keeper.takeDue(led(told), at(7_400))).toHaveLength(1);
  });
});
