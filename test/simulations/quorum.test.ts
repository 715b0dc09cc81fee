/** The quorum store alone under faults: what failed once, 200 seeds, and a few planted bugs; `npm run simulate -- quorum --seeds N` runs as many as one likes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plantedBugs } from '../../simulations/planted/bugs.ts';
import { brokenFiles, edited, plant } from '../../simulations/planted/run.ts';
import { type QuorumRunOptions, type QuorumRunReport, runQuorum } from '../../simulations/quorum/run.ts';
import { describeQuorumSeries, shrinkQuorum } from '../../simulations/quorum/series.ts';
import { describeFailure, simulate } from '../../simulations/run.ts';

const regressions = join(import.meta.dirname, '../../simulations/regressions/quorum');

describe('quorum world: what failed once', () => {
  for (const file of readdirSync(regressions)) {
    it(`${file} holds`, { timeout: 60_000 }, ({ skip }) => {
      const kept = JSON.parse(readFileSync(join(regressions, file), 'utf8')) as QuorumRunOptions & {
        about: string;
        /** Why it does not hold yet. */
        open?: string;
      };
      const { about, open, ...options } = kept;
      expect(about.length).toBeGreaterThan(20);
      const report = runQuorum(options);
      if (open !== undefined && report.violations.length > 0) skip(`not mended yet: ${open}`);
      expect(report.violations, describeFailure(report)).toEqual([]);
    });
  }
});

const SEEDS = 200;
const AT_ONCE = 10;

describe('quorum world: seeds (K20 to K42, K45 to K47)', () => {
  const reports: QuorumRunReport[] = [];
  for (let first = 1; first <= SEEDS; first += AT_ONCE) {
    it(`seeds ${first} to ${first + AT_ONCE - 1} keep every promise`, { timeout: 60_000 }, () => {
      for (let seed = first; seed < first + AT_ONCE; seed++) {
        const report = runQuorum({ seed });
        expect(report.violations, describeFailure(report)).toEqual([]);
        reports.push(report);
      }
    });
  }

  it('together they struck with every kind of fault, and did enough to be told from silence', () => {
    const kinds = new Set(reports.flatMap(({ struck }) => Object.keys(struck)));
    expect([...kinds].sort()).toEqual([
      'askedAgain',
      'bitFlips',
      'breakLink',
      'bridge',
      'clockStep',
      'crash',
      'crashAll',
      'cut',
      'disk',
      'drift',
      'failingDisk',
      'flapping',
      'forge',
      'isolate',
      'leftBehind',
      'leftTogether',
      'noise',
      'partition',
      'pause',
      'ring',
      'slowDisk',
      'transfer',
      'version',
      'wish',
    ]);
    expect(reports.reduce((sum, { operations }) => sum + operations.ok, 0)).toBeGreaterThan(20_000);
    expect(reports.reduce((sum, { leaders }) => sum + leaders, 0)).toBeGreaterThan(400);
    expect(describeQuorumSeries(reports)).toContain('every promise held');
  });

  it('the same seed gives the same trace, another seed another', () => {
    const [first, again] = [runQuorum({ seed: 8 }), runQuorum({ seed: 8 })];
    expect(again).toEqual(first);
    expect(runQuorum({ seed: 9 }).traceHash).not.toBe(first.traceHash);
  });

  it('is run by simulate, a number of nodes of one’s own choice included', async () => {
    const result = await simulate({ scenario: 'quorum', seed: 3, seeds: 2, nodes: 3 });
    expect(result).toMatchObject({ kind: 'done', failed: [], reports: [{ nodes: 3 }, { nodes: 3 }] });
  });

  it('a failing seed is cut down to the faults that it needs, and says how to replay it', () => {
    const real = runQuorum({ seed: 12 });
    const planted = { atMs: 0, check: 'liveness', what: 'planted' };
    const report = shrinkQuorum({ ...real, violations: [planted] });
    // Nothing fails really, so nothing can be left out.
    expect(report.faults).toEqual(real.faults);
    expect(describeFailure(report)).toContain('npm run simulate -- quorum --seed 12');
  });
});

describe('planted bugs', () => {
  it('every edit fits the source: its text is there exactly once', () => {
    for (const bug of plantedBugs) expect(brokenFiles(bug).size, bug.name).toBeGreaterThan(0);
    expect(new Set(plantedBugs.map(({ name }) => name)).size).toBe(plantedBugs.length);
    expect(plantedBugs.length).toBeGreaterThanOrEqual(12);
  });

  it('an edit whose text is not there, or twice, is told loudly', () => {
    const edit = { file: 'a.ts', find: 'x = 1', replace: 'x = 2' };
    expect(edited('let x = 1;', edit)).toBe('let x = 2;');
    expect(() => edited('let y = 1;', edit)).toThrow(/0 times/);
    expect(() => edited('x = 1; x = 1', edit)).toThrow(/2 times/);
  });

  for (const name of ['vote-forgotten', 'commit-before-majority', 'snapshot-without-clients']) {
    const bug = plantedBugs.find((each) => each.name === name);
    it(`${name} is found: ${bug?.about}`, { timeout: 120_000 }, async () => {
      expect(bug).toBeDefined();
      const { found } = await plant(bug!, 100);
      expect(found).toBeDefined();
    });
  }
});
