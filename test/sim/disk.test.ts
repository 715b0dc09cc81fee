import { describe, expect, it } from 'vitest';
import { seededRng } from '../../src/kernel/rng.ts';
import { bytes, diskContract, text } from '../contracts/disk.contract.ts';
import { simulatedDiskHarness, until } from './support.ts';

diskContract('simulated disk', () => simulatedDiskHarness());

describe('simulated disk: what can happen to it', () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    it(`a crash in the middle of a write keeps a first part of it, never less than was acknowledged (seed=${seed})`, async () => {
      const harness = await simulatedDiskHarness(seed);
      const disk = harness.open();
      await disk.load();
      let synced = false;
      disk.append(['a', 'b'].map(bytes));
      disk.sync(() => {
        synced = true;
      });
      await until(harness.scheduler, () => synced);
      disk.append(['c', 'd', 'e', 'f'].map(bytes));
      disk.sync(() => expect.unreachable('the process is dead'));
      harness.scheduler.runUntil(harness.scheduler.nowMs + 0.05);
      await harness.crash(disk);
      harness.scheduler.runUntil(harness.scheduler.nowMs + 1_000);
      const { records } = await harness.open().load();
      expect(records.length).toBeGreaterThanOrEqual(2);
      expect(records.map(text)).toEqual(['a', 'b', 'c', 'd', 'e', 'f'].slice(0, records.length));
    });
  }

  it('a lost disk is empty, an old image holds what it held', async () => {
    const harness = await simulatedDiskHarness();
    harness.image.write(['one', 'two'].map(bytes));
    const old = harness.image.snapshot();
    harness.image.write([bytes('three')]);
    expect((await harness.open().load()).records.length).toBe(3);
    harness.image.lose();
    expect((await harness.open().load()).records.length).toBe(0);
    harness.image.restore(old);
    expect((await harness.open().load()).records.map(text)).toEqual(['one', 'two']);
  });

  it('a spoilt record is missing, and the load says that a file was set aside', async () => {
    const harness = await simulatedDiskHarness();
    harness.image.write(['one', 'two', 'three'].map(bytes));
    harness.image.spoil(seededRng(5));
    const { records, quarantined } = await harness.open().load();
    expect(records.length).toBe(2);
    expect(text(records.at(-1) as Uint8Array)).toBe('three');
    expect(quarantined.length).toBe(1);
  });

  it('a slow disk answers late, in virtual time only', async () => {
    const harness = await simulatedDiskHarness();
    harness.conditions.minSyncMs = 60_000;
    harness.conditions.maxSyncMs = 60_001;
    const disk = harness.open();
    await disk.load();
    let done = false;
    disk.append([bytes('x')]);
    disk.sync(() => {
      done = true;
    });
    await until(harness.scheduler, () => done);
    expect(harness.scheduler.nowMs).toBeGreaterThanOrEqual(60_000);
  });
});
