import { describe, expect, it } from 'vitest';
import { Fuzz, type FuzzResult } from './fuzz.ts';

const SEEDS = Number(process.env.RAFT_SEEDS ?? 300);
const FIRST = Number(process.env.RAFT_SEED ?? 1);

describe('raft: safety in every step, progress once healed', () => {
  it(`K21, K23 to K25, K27, K29, K31, K33 to K36, K42, K46: ${SEEDS} seeds of loss, doubling, reordering, cuts, crashes, failing disks, changes of voters, transfers and snapshots`, () => {
    const totals: Record<string, number> = {};
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      const result = run(seed);
      for (const [name, value] of Object.entries(result)) totals[name] = (totals[name] ?? 0) + value;
    }
    console.log(`raft fuzz: ${SEEDS} seeds, ${JSON.stringify(totals)}`);
    // A run in which nothing happened proves nothing.
    for (const [name, value] of Object.entries(totals)) {
      expect(value, name).toBeGreaterThan(SEEDS / 20);
    }
  }, 60_000);
});

function run(seed: number): FuzzResult {
  try {
    return new Fuzz(seed).run(3_000);
  } catch (error) {
    throw new Error(`seed ${seed} (RAFT_SEED=${seed} RAFT_SEEDS=1 replays it): ${error}`, { cause: error });
  }
}
