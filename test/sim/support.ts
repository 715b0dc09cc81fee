import { seededRng } from '../../src/kernel/rng.ts';
import { type DiskConditions, DiskImage, SimulatedDisk } from '../../src/sim/disk.ts';
import { SimulatedProcess } from '../../src/sim/process.ts';
import { Scheduler } from '../../src/sim/scheduler.ts';
import type { DiskHarness } from '../contracts/disk.contract.ts';

/** Steps virtual time until the condition holds; what promises do in between is let through. */
export async function until(scheduler: Scheduler, condition: () => boolean): Promise<void> {
  const endMs = scheduler.nowMs + 3_600_000;
  while (!condition()) {
    await Promise.resolve();
    if (condition()) return;
    if (!scheduler.step(endMs)) throw new Error('nothing is left to happen, and the condition does not hold');
  }
}

export interface SimulatedDiskHarness extends DiskHarness {
  readonly scheduler: Scheduler;
  readonly image: DiskImage;
  readonly conditions: DiskConditions;
}

export async function simulatedDiskHarness(seed = 1): Promise<SimulatedDiskHarness> {
  const scheduler = new Scheduler();
  const image = new DiskImage();
  const rng = seededRng(seed);
  const conditions: DiskConditions = { minSyncMs: 0.1, maxSyncMs: 3, failing: undefined };
  const processes = new Map<SimulatedDisk, SimulatedProcess>();
  return {
    scheduler,
    image,
    conditions,
    open: () => {
      const process = new SimulatedProcess();
      const disk = new SimulatedDisk({ scheduler, process, rng, image, conditions });
      processes.set(disk, process);
      return disk;
    },
    crash: async (disk) => {
      (disk as SimulatedDisk).crash();
      processes.get(disk as SimulatedDisk)?.kill();
    },
    until: (condition) => until(scheduler, condition),
    breakWrites: (full) => {
      conditions.failing = full ? 'full' : 'broken';
    },
    repair: () => {
      conditions.failing = undefined;
    },
    tear: async (bytes) => image.tear(bytes),
    dispose: async () => {},
  };
}
