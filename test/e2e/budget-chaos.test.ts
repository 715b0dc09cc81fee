/** Short runs of live chaos with budgets, as `npm run chaos -- budget` does it; a provider outside counts what it serves. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { judgeBudgets } from '../../simulations/live/budget/judge.ts';
import type { Operation, Served } from '../../simulations/live/budget/operations.ts';
import type { BudgetChaosReport } from '../../simulations/live/budget/report.ts';
import { skein } from '../cli/terminal.ts';
import { canUseNamespaces } from '../support/namespaces.ts';

const scratch = mkdtempSync(join(tmpdir(), 'skein-budget-chaos-test-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function chaos(scenario: string, options: readonly string[]) {
  const file = join(scratch, `${scenario}.jsonl`);
  const { code, json, error } = await skein([
    ...['chaos', scenario, '--seed', '5', '--history', file, '--json'],
    ...options,
  ]);
  const report = json as BudgetChaosReport;
  for (const line of report.leftOut) console.warn(`left out of the chaos run: ${line}`);
  expect(report.violations).toEqual([]);
  expect([code, error]).toEqual([0, '']);
  const history = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Operation);
  return { report, history };
}

function expectWithinLimit(report: BudgetChaosReport, history: readonly Operation[]): void {
  expect(report.reservations.granted).toBeGreaterThan(50);
  expect(report.limit).toBeGreaterThanOrEqual(10_000);
  const served = history.filter((each): each is Served => each.kind === 'serve');
  expect(served).toHaveLength(report.served.calls);
  expect(served.every(({ total, limit }) => total <= limit)).toBe(true);
  expect(served.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(report.served.tokens);
  expect(report.end?.taken).toBe(report.end?.left);
}

const isApart = canUseNamespaces('live chaos of budgets with partitions');

it.skipIf(!isApart)(
  'three processes share 10,000 under kill -9 and a partition: never is more granted or served, and all that is left can be spent (B05, B07, B17, I2, I8)',
  { timeout: 400_000 },
  async () => {
    const { report, history } = await chaos('budget-short', ['--seconds', '20']);
    expect(Object.keys(report.faults)).toEqual(['isolate-leader', 'kill-orchestrator']);
    expectWithinLimit(report, history);
  },
);

it('three processes on loopback share 10,000 under kill -9 of one: never is more granted or served (B07, B19, I2, I8)', {
  timeout: 400_000,
}, async () => {
  const { report, history } = await chaos('budget-kill-follower', ['--loopback', '--seconds', '12']);
  expect(Object.keys(report.faults)).toEqual(['kill-follower']);
  expectWithinLimit(report, history);
});

describe('the judge of these runs', () => {
  const limit = { kind: 'limit', at: 0, budget: 'b', limit: 100, outcome: 'asked' } as const;
  const called = { agent: 'a', machine: 'm', outcome: 'ok' } as const;
  const reserve = (start: number, tokens: number, reservationId: string): Operation => ({
    ...{ kind: 'reserve', ...called, start, end: start + 1, budget: 'b', tokens, reservationId },
  });
  const settle = (start: number, tokens: number, reservationId: string): Operation => ({
    ...{ kind: 'settle', ...called, start, end: start + 1, tokens, reservationId },
  });
  const serve = (at: number, total: number, most = 100): Operation => ({
    ...{ kind: 'serve', at, budget: 'b', reservationId: 'x', tokens: 1, total, limit: most },
  });
  const judged = (...operations: Operation[]) =>
    judgeBudgets([limit, serve(1, 1), ...operations], new Map(), new Map());

  it('finds one token served beyond the limit in force then, though it is raised later', () => {
    expect(judged(serve(5, 101), { ...limit, at: 6, limit: 200 }).violations).toHaveLength(1);
    expect(judged({ ...limit, at: 4, limit: 200 }, serve(5, 101, 200)).violations).toEqual([]);
  });

  it('finds what was granted beyond the limit, counts a repeated answer once, and what was freed not at all', () => {
    const twice = [reserve(2, 60, 'x'), reserve(3, 60, 'x')];
    expect(judged(...twice).violations).toEqual([]);
    expect(judged(...twice, reserve(4, 41, 'y')).violations).toHaveLength(1);
    expect(judged(...twice, settle(4, 59, 'x'), reserve(5, 41, 'y')).violations).toEqual([]);
    expect(judged(...twice, reserve(5, 41, 'y'), settle(9, 59, 'x')).violations).toHaveLength(1);
  });

  it('allows for unheard spending only once something was written off', () => {
    const writeOff = { kind: 'writeOff', at: 3, budget: 'b', account: 'm', writtenOff: 9, lost: 0 } as const;
    const allowed = (...operations: Operation[]) =>
      judgeBudgets([limit, serve(1, 1), writeOff, ...operations], new Map(), new Map([['b', 5]])).violations;
    expect(allowed(reserve(1, 105, 'x'))).toHaveLength(1);
    expect(allowed(reserve(4, 105, 'x'))).toEqual([]);
    expect(allowed(reserve(4, 106, 'x'))).toHaveLength(1);
  });

  it('finds an id that stands for two reservations on one machine, unless the machine forgot', () => {
    const [first, second] = [reserve(2, 1, 'x'), reserve(3, 1, 'y')].map((each) => ({ ...each, id: 'own' }));
    expect(judged(first as Operation, second as Operation).violations).toHaveLength(1);
    const forgot = { kind: 'forgot', machine: 'm', at: 2 } as const;
    expect(judged(first as Operation, forgot, second as Operation).violations).toEqual([]);
  });
});
