/** A small set of seeds on every run; `npm run simulate` runs as many as one likes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type RunOptions, runScenario } from '../../simulations/lib/scenario.ts';
import { shrink } from '../../simulations/lib/shrink.ts';
import { describeFailure, simulate } from '../../simulations/run.ts';
import { type ScenarioName, scenarios } from '../../simulations/scenarios.ts';

const regressions = join(import.meta.dirname, '../../simulations/regressions');

describe('simulations: what failed once', () => {
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

describe('simulations', () => {
  for (const scenario of Object.keys(scenarios) as ScenarioName[]) {
    const seeds = scenario === 'storm' ? [1, 2, 3] : [1];
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

describe('simulations: a failing seed', () => {
  it('is cut down to the faults that it needs, and says how to replay it', () => {
    // Ten faults, of which only losing every disk at once breaks the promise, there being nobody left to heal from.
    const when = { forMs: 2_000, how: 'kill', disk: 'lose' } as const;
    const faults = [
      ...Array.from(
        { length: 8 },
        (_, at) => ({ kind: 'breakLink', from: 0, to: 1, atMs: 1_000 * (at + 1), forMs: 10 }) as const,
      ),
      { kind: 'crash', node: 0, atMs: 30_000, ...when } as const,
      { kind: 'crash', node: 1, atMs: 30_000, ...when } as const,
    ];
    const report = runScenario({ scenario: 'calm', seed: 3, nodes: 2, faults });
    expect(report.violations.map(({ check }) => check)).toContain('durability');
    const { report: shrunk } = shrink(report);
    expect(shrunk.faults.map(({ kind }) => kind)).toEqual(['crash', 'crash']);
    expect(describeFailure(shrunk)).toContain('npm run simulate -- calm --seed 3 --nodes 2');
  });
});
