/** A small set of seeds on every run; `npm run simulate` runs as many as one likes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Fault } from '../../simulations/lib/faults.ts';
import { type RunOptions, type RunReport, runScenario } from '../../simulations/lib/scenario.ts';
import { shrink } from '../../simulations/lib/shrink.ts';
import { describeFailure, simulate } from '../../simulations/run.ts';
import { type ScenarioName, scenarios } from '../../simulations/scenarios.ts';

const regressions = join(import.meta.dirname, '../../simulations/regressions');

/** A run is a minute or two of whole nodes: a second of processor time or a few, of which others may leave little. */
const RUN = { timeout: 120_000 };

describe('simulations: what failed once', RUN, () => {
  const files = readdirSync(regressions).filter((name) => name.endsWith('.json'));
  for (const file of files) {
    it(`${file} holds`, () => {
      const { about: _about, ...options } = JSON.parse(
        readFileSync(join(regressions, file), 'utf8'),
      ) as RunOptions & {
        about: string;
      };
      const report = runScenario(options);
      expect(report.violations, describeFailure(report)).toEqual([]);
    });
  }

  it('every kept case names a scenario that there is, and says what it is about', () => {
    for (const file of files) {
      const kept = JSON.parse(readFileSync(join(regressions, file), 'utf8')) as {
        scenario: string;
        about: string;
      };
      expect(Object.keys(scenarios)).toContain(kept.scenario);
      expect(kept.about.length).toBeGreaterThan(20);
    }
  });
});

describe('simulations', RUN, () => {
  for (const scenario of Object.keys(scenarios) as ScenarioName[]) {
    const seeds = Array.from({ length: scenario === 'storm' ? 30 : 5 }, (_, index) => index + 1);
    for (const seed of seeds) {
      it(`${scenario}: ${scenarios[scenario].about} (seed=${seed}, nodes=${scenarios[scenario].nodes})`, () => {
        const report = runScenario({ scenario, seed });
        expect(report.violations, describeFailure(report)).toEqual([]);
        expect(report.operations.ok).toBeGreaterThan(500);
        expect(report.sessionChecks).toBeGreaterThan(200);
      });
    }
  }

  it('the same seed gives the same trace, another seed another (scenario=storm)', () => {
    const [first, again] = [
      runScenario({ scenario: 'storm', seed: 7 }),
      runScenario({ scenario: 'storm', seed: 7 }),
    ];
    expect(again).toEqual(first);
    expect(runScenario({ scenario: 'storm', seed: 8 }).traceHash).not.toBe(first.traceHash);
  });

  it('a scenario that there is not is told with those that there are', async () => {
    const result = await simulate({ scenario: 'clam' });
    expect(result).toMatchObject({ kind: 'unknownScenario', scenarios: expect.arrayContaining(['calm']) });
  });
});

describe('simulations: a failing seed', RUN, () => {
  const link = (at: number): Fault => ({ kind: 'breakLink', from: 0, to: 1, atMs: 1_000 * at, forMs: 10 });
  const crash = (node: number): Fault => ({
    kind: 'crash',
    node,
    atMs: 9_500,
    forMs: 1_000,
    how: 'kill',
    disk: 'keep',
  });

  for (const [places, faults] of [
    ['first and last', [crash(0), ...Array.from({ length: 20 }, (_, at) => link(at)), crash(1)]],
    [
      'in the middle',
      [...Array.from({ length: 9 }, (_, at) => link(at)), crash(0), crash(1), link(9), link(10)],
    ],
    ['alone', [crash(0), crash(1)]],
  ] as const) {
    it(`is cut down to the faults that it needs, and says how to replay it (they are ${places})`, () => {
      const real = runScenario({ scenario: 'calm', seed: 3, nodes: 2, faults: [] });
      // Fails if and only if both crashes are among the faults.
      const run = (options: RunOptions): RunReport => {
        const crashes = options.faults?.filter(({ kind }) => kind === 'crash').length ?? 0;
        const violations = crashes === 2 ? [{ atMs: 0, check: 'durability', what: 'planted' }] : [];
        return { ...real, faults: options.faults ?? [], violations };
      };
      const { report, runs } = shrink(run({ scenario: 'calm', seed: 3, faults }), 100, run);
      expect(report.faults).toEqual([crash(0), crash(1)]);
      expect(runs).toBeLessThanOrEqual(100);
      expect(describeFailure(report)).toContain('npm run simulate -- calm --seed 3 --nodes 2');
    });
  }
});
