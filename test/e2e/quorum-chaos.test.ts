/** A short run of live chaos, as `npm run chaos` does it; and that nothing is left of one that is interrupted. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, expect, it } from 'vitest';
import { checkLinearizability } from '../../simulations/lib/checkers/linearizability.ts';
import { readHistory } from '../../simulations/lib/quorum-history.ts';
import type { ChaosReport } from '../../simulations/live/chaos.ts';
import { skein } from '../cli/terminal.ts';
import { canUseNamespaces } from '../support/namespaces.ts';

const scratch = mkdtempSync(join(tmpdir(), 'skein-chaos-test-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const MAIN = resolve(import.meta.dirname, '../../src/cli/main.js');

it('three nodes under kill -9, pauses and partitions keep every promise, and the history says so (K21, K23, K24, K27)', {
  timeout: 300_000,
}, async () => {
  const file = join(scratch, 'history.jsonl');
  const { code, json, error } = await skein([
    ...['chaos', 'short', '--seconds', '32', '--seed', '3'],
    ...['--history', file, '--json'],
  ]);
  const report = json as ChaosReport;
  for (const line of report.leftOut) console.warn(`left out of the chaos run: ${line}`);
  expect(report.violations).toEqual([]);
  expect([code, error]).toEqual([0, '']);
  const cut = canUseNamespaces('partitions in live chaos') ? ['isolate-leader', 'one-way'] : [];
  expect(Object.keys(report.faults)).toEqual([...cut, 'kill-leader', 'pause-leader'].sort());
  expect(report.operations.ok).toBeGreaterThan(100);
  expect(report.acquisitions).toBeGreaterThan(0);
  expect(report.changesWatched).toBeGreaterThan(100);
  const history = readHistory(file);
  expect(history.filter(({ outcome }) => outcome === 'ok')).toHaveLength(report.operations.ok);
  expect(checkLinearizability(history).kind).toBe('linearizable');
  const lines = (name: string) => readFileSync(`${file}.${name}`, 'utf8').trimEnd().split('\n');
  expect(lines('watches')).toHaveLength(3);
  expect(lines('leases')).toHaveLength(report.acquisitions);
});

it('a run that is interrupted leaves no process, not even a stopped one, no namespace and no file', {
  timeout: 120_000,
}, async () => {
  const args = [MAIN, 'chaos', 'pauses', '--nodes', '2', '--seconds', '600'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    for await (const line of createInterface({ input: child.stderr })) if (/SIGSTOP/.test(line)) break;
    const mine = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`skein-chaos-${child.pid}-`));
    const [directory = 'none'] = mine();
    expect(nodesIn(directory)).not.toEqual([]);
    const ended = once(child, 'exit');
    child.kill('SIGINT');
    expect(await ended).toEqual([130, null]);
    expect(mine()).toEqual([]);
    expect(nodesIn(directory)).toEqual([]);
    const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
    expect(namespaces.filter((name) => name.startsWith(`skein-${child.pid}-`))).toEqual([]);
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(directory);
  } finally {
    // It cannot clean up after SIGKILL.
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGINT');
      await once(child, 'exit');
    }
  }
});

/** Processes whose arguments name the directory. */
function nodesIn(directory: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory);
      } catch {
        return false;
      }
    });
}
