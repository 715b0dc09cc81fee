/** Founding races, stores that meet, and a majority that is lost for good; `npm run simulate -- quorum-stores --seeds N` runs as many as one likes. */
import { describe, expect, it } from 'vitest';
import { StoresLedger } from '../../simulations/quorum/stores/ledger.ts';
import { runStores, type StoresRunReport } from '../../simulations/quorum/stores/run.ts';
import { describeStoresSeries, shrinkStores } from '../../simulations/quorum/stores/series.ts';
import { QuorumWorld } from '../../simulations/quorum/world.ts';
import { describeFailure, simulate } from '../../simulations/run.ts';

const SEEDS = 30;
const AT_ONCE = 5;

describe('the world of several quorum stores: seeds (K29, K41, K46)', () => {
  const reports: StoresRunReport[] = [];
  for (let first = 1; first <= SEEDS; first += AT_ONCE) {
    it(`seeds ${first} to ${first + AT_ONCE - 1} keep every promise`, { timeout: 60_000 }, () => {
      for (let seed = first; seed < first + AT_ONCE; seed++) {
        const report = runStores({ seed });
        expect(report.violations, describeFailure(report)).toEqual([]);
        reports.push(report);
      }
    });
  }

  it('together they told every story, and did enough to be told from silence', () => {
    expect([...new Set(reports.map(({ story }) => story))].sort()).toEqual([
      'meet',
      'race',
      'recover',
      'roughRace',
    ]);
    const meetings = reports.filter(({ story }) => story === 'meet');
    // Stores that hold data stay side by side until a person chooses.
    expect(new Set(meetings.map(({ stores }) => stores))).toEqual(new Set([1, 2]));
    expect(reports.reduce((sum, { acknowledged }) => sum + acknowledged, 0)).toBeGreaterThan(3_000);
    expect(describeStoresSeries(reports)).toContain('every promise held');
  });

  it('the same seed gives the same trace, and is run by simulate', { timeout: 60_000 }, async () => {
    const [first, again] = [runStores({ seed: 8 }), runStores({ seed: 8 })];
    expect(again).toEqual(first);
    const result = await simulate({ scenario: 'quorum-stores', seed: 3, seeds: 2 });
    expect(result).toMatchObject({ kind: 'done', failed: [], reports: [{ seed: 3 }, { seed: 4 }] });
  });

  it('a failing seed is cut down to the faults that it needs, and says how to replay it', {
    timeout: 60_000,
  }, () => {
    const real = runStores({ seed: 12 });
    const planted = { atMs: 0, check: 'liveness', what: 'planted' };
    const report = shrinkStores({ ...real, violations: [planted] });
    expect(report.faults).toEqual(real.faults);
    expect(describeFailure(report)).toContain('npm run simulate -- quorum-stores --seed 12');
  });
});

/** A world of one node that leads a store of its own. */
function alone() {
  const world = new QuorumWorld({
    seed: 1,
    nodes: 1,
    breakAfterMs: 2_000,
    maxDelayMs: 1,
    configOf: () => ({
      mayFound: true,
      foundAfterMs: 100,
      mayVote: true,
      voters: { target: 1, stableMs: 200, replaceAfterMs: 5_000 },
      raft: {
        electionTimeoutMs: 300,
        heartbeatMs: 75,
        inFlightBytes: 1e6,
        appendBytes: 1e5,
        uncommittedBytes: 1e6,
        reads: 'index',
        leaseDriftMs: 50,
      },
    }),
  });
  const ledger = new StoresLedger(world);
  const machine = world.machine(0);
  machine.start();
  const until = (isDone: () => boolean) => world.scheduler.runUntilTrue(isDone, world.nowMs + 10_000);
  expect(until(() => machine.isLeader)).toBe(true);
  return { world, ledger, machine, until };
}

describe('the ledger of promises', () => {
  const answer = (revision: number) => ({ succeeded: true, revision, answers: [] });

  it('finds a write that was acknowledged and is not there', () => {
    const { world, ledger, machine } = alone();
    ledger.acknowledge(machine, 'wa', answer(2));
    ledger.check();
    expect(world.violations).toMatchObject([{ check: 'stores', what: expect.stringContaining('wa') }]);
  });

  it('asks for nothing of a store that a person gave up', () => {
    const { world, ledger, machine } = alone();
    ledger.acknowledge(machine, 'wa', answer(2));
    ledger.orderedGivenUp(machine.quorum?.status().store ?? '');
    ledger.check();
    expect(world.violations).toEqual([]);
  });

  it.each([
    ['what the machine had acknowledged itself', true],
    ['what the machine had shown', false],
  ])('finds that a recovery lost %s', (_, isAcknowledged) => {
    const { world, ledger, machine, until } = alone();
    const store = machine.quorum?.status().store as string;
    if (isAcknowledged) ledger.acknowledge(machine, 'wa', answer(2));
    machine.crash('kill');
    machine.image.lose();
    machine.start();
    until(() => machine.isLeader);
    ledger.orderedGoneOn(machine, store, new Set(isAcknowledged ? [] : ['wa']));
    expect(world.violations).toMatchObject([{ check: 'recover', what: expect.stringContaining('wa') }]);
  });

  it('finds a revision that is handed out again by the store that goes on', () => {
    const { world, ledger, machine, until } = alone();
    const store = machine.quorum?.status().store as string;
    machine.crash('kill');
    machine.image.lose();
    machine.start();
    until(() => machine.isLeader);
    const other = { ...machine, quorum: { status: () => ({ store }) } } as never;
    ledger.acknowledge(other, 'wa', answer(9));
    ledger.orderedGoneOn(machine, store, new Set());
    ledger.acknowledge(machine, 'wb', answer(9));
    ledger.check();
    expect(world.violations.map(({ check }) => check)).toContain('tokens');
  });
});
