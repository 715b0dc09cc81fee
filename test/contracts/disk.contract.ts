/** What every `Disk` must do: run on the real journal and on the simulated disk, so that the simulator cannot lie. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/kernel/limits.ts';
import type { Disk, DiskError } from '../../src/kernel/ports.ts';

export interface DiskHarness {
  /** A disk over the storage as it is now. */
  open(): Disk;
  /** The process dies: what this disk had not synced may be lost, and nothing of it answers any more. */
  crash(disk: Disk): Promise<void>;
  /** Lets time pass until the condition holds. */
  until(condition: () => boolean): Promise<void>;
  /** From now on every write fails, for want of space or otherwise. */
  breakWrites(full: boolean): void;
  repair(): void;
  /** Cuts the last `bytes` of what is on disk. */
  tear(bytes: number): Promise<void>;
  dispose(): Promise<void>;
}

export function text(record: Uint8Array): string {
  return Buffer.from(record).toString();
}

export function bytes(value: string): Uint8Array {
  return new Uint8Array(Buffer.from(value));
}

type Outcome = DiskError | undefined;

class Story {
  readonly harness: DiskHarness;
  constructor(harness: DiskHarness) {
    this.harness = harness;
  }

  async answer(call: (done: (error?: DiskError) => void) => void): Promise<Outcome> {
    let outcome: { error: Outcome } | undefined;
    call((error) => {
      expect(outcome, 'answered twice').toBeUndefined();
      outcome = { error };
    });
    expect(outcome, 'answered within the call').toBeUndefined();
    await this.harness.until(() => outcome !== undefined);
    return outcome?.error;
  }

  sync(disk: Disk): Promise<Outcome> {
    return this.answer((done) => disk.sync(done));
  }

  async write(disk: Disk, ...records: string[]): Promise<Outcome> {
    disk.append(records.map(bytes));
    return this.sync(disk);
  }

  async checkpoint(disk: Disk, ...records: string[]): Promise<void> {
    expect(await this.answer((done) => disk.beginCheckpoint(done))).toBeUndefined();
    expect(await this.answer((done) => disk.writeCheckpoint(records.map(bytes), done))).toBeUndefined();
    expect(await this.answer((done) => disk.commitCheckpoint(done))).toBeUndefined();
  }

  async reopened(): Promise<{ disk: Disk; records: string[]; tornBytes: number; quarantined: number }> {
    const disk = this.harness.open();
    const { records, tornBytes, quarantined } = await disk.load();
    return { disk, records: records.map(text), tornBytes, quarantined: quarantined.length };
  }
}

export function diskContract(name: string, makeHarness: () => Promise<DiskHarness>): void {
  const story = (title: string, tell: (story: Story) => Promise<void>) =>
    it(title, async () => {
      const harness = await makeHarness();
      try {
        await tell(new Story(harness));
      } finally {
        await harness.dispose();
      }
    });

  describe(`${name}: appends`, () => {
    story('an empty disk holds nothing', async (told) => {
      const { disk, records, tornBytes, quarantined } = await told.reopened();
      expect({ records, tornBytes, quarantined }).toEqual({ records: [], tornBytes: 0, quarantined: 0 });
      expect(disk.size()).toEqual({ logBytes: 0, checkpointBytes: 0 });
      await disk.close();
    });

    story('what a sync acknowledged survives a crash, in order (n=300)', async (told) => {
      const { disk } = await told.reopened();
      const written = Array.from({ length: 300 }, (_, index) => `record ${index}`);
      for (let from = 0; from < 300; from += 50)
        expect(await told.write(disk, ...written.slice(from, from + 50))).toBeUndefined();
      await told.harness.crash(disk);
      const { disk: again, records } = await told.reopened();
      expect(records).toEqual(written);
      await again.close();
    });

    story('without a sync nothing is promised, and no half record comes back', async (told) => {
      const { disk } = await told.reopened();
      await told.write(disk, 'kept');
      disk.append([bytes('perhaps'), bytes('perhaps too')]);
      await told.harness.crash(disk);
      const { disk: again, records } = await told.reopened();
      expect(records[0]).toBe('kept');
      expect(['kept', 'perhaps', 'perhaps too'].slice(0, records.length)).toEqual(records);
      await again.close();
    });

    story('syncs are answered in the order asked, each once', async (told) => {
      const { disk } = await told.reopened();
      const order: number[] = [];
      for (let index = 0; index < 20; index++) {
        disk.append([bytes(`r${index}`)]);
        disk.sync(() => order.push(index));
      }
      await told.harness.until(() => order.length === 20);
      expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
      await disk.close();
    });

    story('a sync with nothing to write succeeds', async (told) => {
      const { disk } = await told.reopened();
      expect(await told.sync(disk)).toBeUndefined();
      await disk.close();
    });

    story('close keeps what was appended', async (told) => {
      const { disk } = await told.reopened();
      disk.append([bytes('last words')]);
      await disk.close();
      const { disk: again, records } = await told.reopened();
      expect(records).toEqual(['last words']);
      await again.close();
    });

    story('the size grows by what is written and is the same after a restart', async (told) => {
      const { disk } = await told.reopened();
      await told.write(disk, 'one', 'two');
      const before = disk.size();
      expect(before.logBytes).toBeGreaterThanOrEqual(6);
      await disk.close();
      const { disk: again } = await told.reopened();
      expect(again.size()).toEqual(before);
      await again.close();
    });

    for (const cut of [1, 3, 7]) {
      story(`a torn last record is cut and reported, the rest stays (cut=${cut} B)`, async (told) => {
        const { disk } = await told.reopened();
        await told.write(disk, 'first', 'second');
        await told.write(disk, 'third and last');
        await told.harness.crash(disk);
        await told.harness.tear(cut);
        const { disk: again, records, tornBytes, quarantined } = await told.reopened();
        expect(records).toEqual(['first', 'second']);
        expect(tornBytes).toBeGreaterThan(0);
        expect(quarantined).toBe(0);
        await told.write(again, 'fourth');
        await told.harness.crash(again);
        const { disk: third, records: after } = await told.reopened();
        expect(after).toEqual(['first', 'second', 'fourth']);
        await third.close();
      });
    }
  });

  describe(`${name}: bounds and failures`, () => {
    story('appends beyond the buffer fail the next sync, and later syncs work again', async (told) => {
      const { disk } = await told.reopened();
      const large = new Uint8Array(limits.journalRecordBytes).fill(7);
      disk.append([large, large, large]);
      expect((await told.sync(disk))?.full).toBe(false);
      expect(await told.write(disk, 'after')).toBeUndefined();
      await disk.close();
    });

    story('an empty or oversized record fails the next sync', async (told) => {
      const { disk } = await told.reopened();
      disk.append([new Uint8Array(0)]);
      expect(await told.sync(disk)).toBeDefined();
      disk.append([new Uint8Array(limits.journalRecordBytes + 1)]);
      expect(await told.sync(disk)).toBeDefined();
      expect(await told.sync(disk)).toBeUndefined();
      await disk.close();
    });

    for (const full of [true, false]) {
      story(
        `a failed sync is an error, again and again, until the disk is repaired (full=${full})`,
        async (told) => {
          const { disk } = await told.reopened();
          await told.write(disk, 'before');
          told.harness.breakWrites(full);
          expect(await told.write(disk, 'during')).toMatchObject({ full });
          expect(await told.sync(disk), 'nothing new to write, still broken').toMatchObject({ full });
          told.harness.repair();
          expect(await told.write(disk, 'after')).toBeUndefined();
          await told.harness.crash(disk);
          const { disk: again, records } = await told.reopened();
          expect(records.filter((record) => record !== 'during')).toEqual(['before', 'after']);
          await again.close();
        },
      );
    }

    story('what is appended while the disk fails keeps its order once it recovers', async (told) => {
      const { disk } = await told.reopened();
      told.harness.breakWrites(true);
      await told.write(disk, '1');
      await told.write(disk, '2', '3');
      told.harness.repair();
      expect(await told.write(disk, '4')).toBeUndefined();
      await told.harness.crash(disk);
      const { disk: again, records } = await told.reopened();
      expect(records).toEqual(['1', '2', '3', '4']);
      await again.close();
    });
  });

  checkpointContract(name, story);
}

function checkpointContract(
  name: string,
  story: (title: string, tell: (story: Story) => Promise<void>) => void,
): void {
  describe(`${name}: checkpoints`, () => {
    story('a checkpoint replaces what was logged before it began, not what came after', async (told) => {
      const { disk } = await told.reopened();
      await told.write(disk, 'old 1', 'old 2');
      expect(await told.answer((done) => disk.beginCheckpoint(done))).toBeUndefined();
      await told.write(disk, 'new 1');
      await told.answer((done) => disk.writeCheckpoint([bytes('state a')], done));
      await told.write(disk, 'new 2');
      await told.answer((done) => disk.writeCheckpoint([bytes('state b')], done));
      expect(await told.answer((done) => disk.commitCheckpoint(done))).toBeUndefined();
      await told.write(disk, 'new 3');
      await told.harness.crash(disk);
      const { disk: again, records, quarantined } = await told.reopened();
      expect(records).toEqual(['state a', 'state b', 'new 1', 'new 2', 'new 3']);
      expect(quarantined).toBe(0);
      await again.close();
    });

    story('a checkpoint that was not committed leaves everything as it was (K07)', async (told) => {
      const { disk } = await told.reopened();
      await told.checkpoint(disk, 'first state');
      await told.write(disk, 'logged');
      await told.answer((done) => disk.beginCheckpoint(done));
      await told.answer((done) => disk.writeCheckpoint([bytes('half a state')], done));
      await told.write(disk, 'logged meanwhile');
      await told.harness.crash(disk);
      const { disk: again, records } = await told.reopened();
      expect(records).toEqual(['first state', 'logged', 'logged meanwhile']);
      await told.checkpoint(again, 'second state');
      await again.close();
      const { disk: third, records: after } = await told.reopened();
      expect(after).toEqual(['second state']);
      await third.close();
    });

    story('the log shrinks and the checkpoint is counted', async (told) => {
      const { disk } = await told.reopened();
      await told.write(disk, ...Array.from({ length: 100 }, (_, index) => `record ${index}`));
      const before = disk.size();
      await told.checkpoint(disk, 'all of it');
      expect(disk.size().logBytes).toBe(0);
      expect(disk.size().checkpointBytes).toBeGreaterThan(0);
      expect(disk.size().checkpointBytes).toBeLessThan(before.logBytes);
      const size = disk.size();
      await disk.close();
      const { disk: again } = await told.reopened();
      expect(again.size()).toEqual(size);
      await again.close();
    });

    story('one checkpoint at a time; writing or committing none is an error', async (told) => {
      const { disk } = await told.reopened();
      expect(await told.answer((done) => disk.writeCheckpoint([bytes('x')], done))).toBeDefined();
      expect(await told.answer((done) => disk.commitCheckpoint(done))).toBeDefined();
      expect(await told.answer((done) => disk.beginCheckpoint(done))).toBeUndefined();
      expect(await told.answer((done) => disk.beginCheckpoint(done))).toBeDefined();
      expect(await told.answer((done) => disk.commitCheckpoint(done))).toBeUndefined();
      await disk.close();
    });

    story('a checkpoint that fails loses nothing, and the next one works', async (told) => {
      const { disk } = await told.reopened();
      await told.write(disk, 'logged');
      expect(await told.answer((done) => disk.beginCheckpoint(done))).toBeUndefined();
      told.harness.breakWrites(true);
      expect(await told.answer((done) => disk.writeCheckpoint([bytes('state')], done))).toMatchObject({
        full: true,
      });
      told.harness.repair();
      expect(await told.answer((done) => disk.commitCheckpoint(done)), 'it is off').toBeDefined();
      expect(await told.write(disk, 'logged later')).toBeUndefined();
      await told.harness.crash(disk);
      const { disk: again, records } = await told.reopened();
      expect(records).toEqual(['logged', 'logged later']);
      await told.checkpoint(again, 'state at last');
      await again.close();
      const { disk: third, records: after } = await told.reopened();
      expect(after).toEqual(['state at last']);
      await third.close();
    });

    story('a checkpoint cannot begin before what was logged earlier is on disk', async (told) => {
      const { disk } = await told.reopened();
      told.harness.breakWrites(true);
      disk.append([bytes('logged')]);
      expect(await told.answer((done) => disk.beginCheckpoint(done))).toMatchObject({ full: true });
      told.harness.repair();
      await told.checkpoint(disk, 'state');
      await disk.close();
    });
  });
}
