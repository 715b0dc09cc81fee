import { execFileSync } from 'node:child_process';
import { mkdir, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Journal } from '../../src/adapters/node/journal.ts';
import { DiskError } from '../../src/kernel/ports.ts';
import { bytes, text } from '../contracts/disk.contract.ts';
import {
  checkpointOf,
  contentsOf,
  FaultyFiles,
  fileImage,
  lastSegment,
  syncOf,
  temporaryDirectory,
  WAYS,
} from './journal-support.ts';

let directory: { path: string; dispose: () => Promise<void> };
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.dispose());

async function opened(faulty?: FaultyFiles): Promise<Journal> {
  const journal = new Journal({
    directory: directory.path,
    ...(faulty === undefined ? {} : { files: faulty.files }),
  });
  await journal.load();
  return journal;
}

async function written(records: readonly string[]): Promise<void> {
  const journal = await opened();
  journal.append(records.map(bytes));
  expect(await syncOf(journal)).toBeUndefined();
  await journal.close();
}

const framed = (record: string) => 8 + Buffer.byteLength(record);

describe('journal: group commit', () => {
  it('syncs asked for while one runs share the next (syncs=100, at most 3 writes)', async () => {
    const faulty = new FaultyFiles();
    const journal = await opened(faulty);
    let writes = 0;
    faulty.fault = (operation) => {
      if (operation === 'writeThrough' || operation === 'write') writes += 1;
      return undefined;
    };
    journal.append([bytes('first')]);
    const first = syncOf(journal);
    await Promise.resolve();
    const rest = Array.from({ length: 100 }, (_, index) => {
      journal.append([bytes(`record ${index}`)]);
      return syncOf(journal);
    });
    await Promise.all([first, ...rest]);
    expect(writes).toBeLessThanOrEqual(3);
    await journal.close();
  });

  it('appends that nobody syncs are written once they are many, so that memory stays bounded', async () => {
    const journal = await opened();
    const record = new Uint8Array(64 * 1024).fill(1);
    for (let index = 0; index < 64; index++) journal.append([record]);
    await new Promise((resolve) => setImmediate(resolve));
    await syncOf(journal);
    expect(journal.size().logBytes).toBe(64 * (record.length + 8));
    await journal.close();
  });

  it('the size is the size of the files to the byte', async () => {
    const journal = await opened();
    journal.append(['one', 'two'].map(bytes));
    await syncOf(journal);
    await checkpointOf(journal, [bytes('state')]);
    journal.append([bytes('three')]);
    await syncOf(journal);
    const sizes = new Map<string, number>();
    for (const name of await readdir(directory.path))
      sizes.set(name, (await stat(join(directory.path, name))).size);
    const { logBytes, checkpointBytes } = journal.size();
    expect([...sizes.values()].reduce((sum, size) => sum + size, 0)).toBe(logBytes + checkpointBytes);
    expect(sizes.size).toBe(2);
    await journal.close();
  });

  it.each([
    ['what fits one write goes to the disk in one step', 1_000_000, ['writeThrough']],
    [
      'more is written in pieces, and forced to the disk once',
      2_500_000,
      ['write', 'write', 'write', 'sync'],
    ],
  ] as const)('%s (bytes=%d)', async (_, size, expected) => {
    const faulty = new FaultyFiles();
    const journal = await opened(faulty);
    const operations: string[] = [];
    faulty.fault = (operation) => {
      operations.push(operation);
      return undefined;
    };
    journal.append(Array.from({ length: size / 500_000 }, () => new Uint8Array(500_000).fill(1)));
    expect(await syncOf(journal)).toBeUndefined();
    expect(operations).toEqual(expected);
    await journal.close();
    expect((await contentsOf(directory.path)).records.length).toBe(size / 500_000);
  });

  it('a record that spans many blocks is read back (5 MB between small ones)', async () => {
    const large = 'z'.repeat(5_000_000);
    await written(['small', large, 'small again']);
    expect((await contentsOf(directory.path)).records.map(text)).toEqual(['small', large, 'small again']);
  });

  it('reads back what fast-check writes, over restarts and checkpoints', async () => {
    const batch = fc.array(fc.uint8Array({ minLength: 1, maxLength: 3000 }), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 5 }), fc.nat(5), async (batches, at) => {
        await rm(directory.path, { recursive: true });
        await mkdir(directory.path);
        const all: Uint8Array[] = [];
        for (const [index, records] of batches.entries()) {
          const journal = await opened();
          journal.append(records);
          all.push(...records);
          if (index === at) expect(await checkpointOf(journal, all)).toBeUndefined();
          await journal.close();
        }
        expect((await contentsOf(directory.path)).records.map(text)).toEqual(all.map(text));
      }),
      { numRuns: 25, seed: 7 },
    );
  });
});

describe('journal: damage', () => {
  it('a tail torn at any byte of the last record is cut, reported and written over (K07)', async () => {
    const kept = ['first record', 'second record'];
    const last = 'the last record, torn';
    const start = kept.reduce((sum, record) => sum + framed(record), 0);
    for (let length = start; length < start + framed(last); length++) {
      await rm(directory.path, { recursive: true });
      await mkdir(directory.path);
      await written([...kept, last]);
      await truncate(await lastSegment(directory.path), length);
      const contents = await contentsOf(directory.path);
      expect(contents.records.map(text)).toEqual(kept);
      expect(contents.tornBytes).toBe(length - start);
      expect(contents.quarantined).toEqual([]);
      await written(['after']);
      expect((await contentsOf(directory.path)).records.map(text)).toEqual([...kept, 'after']);
    }
  });

  it('a tail of zeros, as blocks that never reached the disk leave it, is cut', async () => {
    await written(['first', 'second']);
    const segment = await lastSegment(directory.path);
    const size = (await stat(segment)).size;
    await truncate(segment, size - 3);
    await truncate(segment, size + 4096);
    const contents = await contentsOf(directory.path);
    expect(contents.records.map(text)).toEqual(['first']);
    expect(contents.tornBytes).toBeGreaterThan(4096);
    expect(contents.quarantined).toEqual([]);
  });

  it('one flipped bit anywhere costs at most the record that it hit, and is never silent (property)', async () => {
    const records = Array.from({ length: 40 }, (_, index) => `record ${index} ${'.'.repeat(index * 11)}`);
    await fc.assert(
      fc.asyncProperty(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.nat(7), async (where, bit) => {
        await rm(directory.path, { recursive: true });
        await mkdir(directory.path);
        await written(records);
        const segment = await lastSegment(directory.path);
        const image = await fileImage(segment);
        const at = Math.floor(where * image.length);
        image[at] = (image[at] as number) ^ (1 << bit);
        await writeFile(segment, image);
        const contents = await contentsOf(directory.path);
        const found = contents.records.map(text);
        const hit = hitRecord(records, at);
        expect(found).toEqual(records.filter((_, index) => index !== hit));
        expect(contents.quarantined.length === 1 || (contents.tornBytes > 0 && hit === 39)).toBe(true);
        expect((await contentsOf(directory.path)).records.map(text), 'and a second start agrees').toEqual(
          found,
        );
      }),
      { numRuns: 60, seed: 11 },
    );
  });

  it('several flipped bits and lost pieces never stop the load, and give no record that was not written (property)', async () => {
    const records = Array.from({ length: 60 }, (_, index) => `record ${index} ${'.'.repeat(index * 5)}`);
    const known = new Set(records);
    const damage = fc.record({ where: fc.double({ min: 0, max: 0.999, noNaN: true }), value: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(damage, { minLength: 1, maxLength: 12 }),
        fc.nat(40),
        async (damages, cut) => {
          await rm(directory.path, { recursive: true });
          await mkdir(directory.path);
          await written(records);
          const segment = await lastSegment(directory.path);
          const image = await fileImage(segment);
          for (const { where, value } of damages) image[Math.floor(where * image.length)] = value;
          await writeFile(segment, image.subarray(0, image.length - cut));
          const { records: found } = await contentsOf(directory.path);
          expect(found.filter((record) => !known.has(text(record)))).toEqual([]);
          expect(found.length).toBeGreaterThanOrEqual(records.length - damages.length - 2);
        },
      ),
      { numRuns: 40, seed: 13 },
    );
  });

  it('a corrupt segment is kept aside under a new name, byte for byte (K38)', async () => {
    await written(['one', 'two', 'three']);
    const segment = await lastSegment(directory.path);
    const image = await fileImage(segment);
    image[framed('one') + 9] = 0xff;
    await writeFile(segment, image);
    const { records, quarantined } = await contentsOf(directory.path);
    expect(records.map(text)).toEqual(['one', 'three']);
    expect(quarantined).toEqual([expect.stringMatching(/^journal-1\.log\.corrupt-\d{8}T\d{6}Z$/)]);
    expect(await fileImage(join(directory.path, quarantined[0] as string))).toEqual(image);
    expect((await contentsOf(directory.path)).quarantined, 'told once').toEqual([]);
  });

  it('a corrupt checkpoint is kept aside, and its readable records and the log are returned (K38)', async () => {
    const journal = await opened();
    await checkpointOf(journal, ['state 1', 'state 2', 'state 3'].map(bytes));
    journal.append([bytes('logged')]);
    await journal.close();
    const name = (await readdir(directory.path)).find((file) => file.startsWith('checkpoint-')) as string;
    const path = join(directory.path, name);
    const image = await fileImage(path);
    image[framed('state 1') + 10] = 0;
    await writeFile(path, image);
    const { records, quarantined } = await contentsOf(directory.path);
    expect(records.map(text)).toEqual(['state 1', 'state 3', 'logged']);
    expect(quarantined).toEqual([expect.stringContaining(`${name}.corrupt-`)]);
    expect((await contentsOf(directory.path)).records.map(text)).toEqual(['state 1', 'state 3', 'logged']);
  });

  it('a checkpoint cut at a record boundary is noticed', async () => {
    const journal = await opened();
    await checkpointOf(journal, ['state 1', 'state 2'].map(bytes));
    await journal.close();
    const name = (await readdir(directory.path)).find((file) => file.startsWith('checkpoint-')) as string;
    await truncate(join(directory.path, name), framed('state 1'));
    const { records, quarantined } = await contentsOf(directory.path);
    expect(records.map(text)).toEqual(['state 1']);
    expect(quarantined.length).toBe(1);
  });

  it('a segment that is gone is reported', async () => {
    await written(['one']);
    const faulty = new FaultyFiles();
    const journal = await opened(faulty);
    faulty.fault = () => new DiskError('a failure between two segments', false);
    await syncOf(journal);
    journal.append([bytes('two')]);
    await syncOf(journal);
    faulty.fault = undefined;
    expect(await syncOf(journal)).toBeUndefined();
    await journal.close();
    await rm(join(directory.path, 'journal-1.log'));
    expect(await contentsOf(directory.path)).toMatchObject({ quarantined: ['journal-1.log (missing)'] });
  });

  it('rubbish in place of a file is kept aside and costs nothing else', async () => {
    await written(['one']);
    await writeFile(join(directory.path, 'journal-2.log'), Buffer.alloc(100_000, 'rubbish '));
    const { records, quarantined } = await contentsOf(directory.path);
    expect(records.map(text)).toEqual(['one']);
    expect(quarantined.length).toBe(1);
  });
});

describe('journal: a failing disk', () => {
  it.each(WAYS)(
    'a failed sync is never made good by a later one: the records are written again in a fresh segment (%s) (B29, K32)',
    async (way) => {
      const faulty = new FaultyFiles(way);
      const journal = await opened(faulty);
      journal.append([bytes('good')]);
      expect(await syncOf(journal)).toBeUndefined();
      let failures = 1;
      faulty.fault = (operation) =>
        ['sync', 'writeThrough'].includes(operation) && failures-- > 0
          ? new DiskError('EIO', false)
          : undefined;
      journal.append([bytes('doubtful')]);
      expect(await syncOf(journal)).toMatchObject({ full: false });
      faulty.fault = undefined;
      expect(await syncOf(journal)).toBeUndefined();
      await journal.close();
      expect((await fileImage(join(directory.path, 'journal-1.log'))).length).toBe(framed('good'));
      expect((await fileImage(join(directory.path, 'journal-2.log'))).length).toBe(framed('doubtful'));
      expect((await contentsOf(directory.path)).records.map(text)).toEqual(['good', 'doubtful']);
    },
  );

  it('any operation may fail at any time: acknowledged records stay, in order (property)', async () => {
    const step = fc.record({ failing: fc.boolean(), full: fc.boolean(), checkpoint: fc.nat(9) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), fc.nat(1000), async (steps, salt) => {
        await rm(directory.path, { recursive: true });
        await mkdir(directory.path);
        const faulty = new FaultyFiles();
        const journal = await opened(faulty);
        const acknowledged: string[] = [];
        const all: string[] = [];
        let calls = salt;
        for (const [index, { failing, full, checkpoint }] of steps.entries()) {
          faulty.fault = () =>
            failing && ++calls % 3 === 0 ? new DiskError('now and then', full) : undefined;
          all.push(`record ${index}`);
          journal.append([bytes(`record ${index}`)]);
          if ((await syncOf(journal)) === undefined) acknowledged.splice(0, Infinity, ...all);
          if (checkpoint === 0) await checkpointOf(journal, all.map(bytes));
        }
        faulty.fault = undefined;
        await journal.close();
        const { records, quarantined } = await contentsOf(directory.path);
        const found = [...new Set(records.map(text))];
        expect(quarantined).toEqual([]);
        expect(found).toEqual(all);
        expect(acknowledged).toEqual(all.slice(0, acknowledged.length));
      }),
      { numRuns: 60, seed: 17 },
    );
  });

  const root = process.getuid?.() === 0;
  if (!root) console.log('skipped: a full disk on a real file system needs root, to mount a small tmpfs');
  it.runIf(root)(
    'a full file system gives errors, not lies, and recovers once there is room (tmpfs, 2 MiB)',
    async () => {
      const mount = join(directory.path, 'small');
      await mkdir(mount);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', mount]);
      try {
        await fillAndRecover(mount);
      } finally {
        execFileSync('umount', [mount]);
      }
    },
  );
});

async function fillAndRecover(mount: string): Promise<void> {
  await writeFile(join(mount, 'ballast'), Buffer.alloc(1024 * 1024));
  const journal = new Journal({ directory: mount });
  await journal.load();
  const acknowledged: string[] = [];
  let error: DiskError | undefined;
  for (let index = 0; error === undefined && index < 1000; index++) {
    const record = `${index} ${'.'.repeat(20_000)}`;
    journal.append([bytes(record)]);
    error = await syncOf(journal);
    if (error === undefined) acknowledged.push(record);
  }
  expect(error).toMatchObject({ full: true });
  expect(acknowledged.length).toBeGreaterThan(30);
  expect(await syncOf(journal), 'still full').toMatchObject({ full: true });
  expect(await checkpointOf(journal, [new Uint8Array(1_000_000).fill(1)])).toMatchObject({ full: true });
  await rm(join(mount, 'ballast'));
  journal.append([bytes('there is room again')]);
  expect(await syncOf(journal)).toBeUndefined();
  await journal.close();
  const { records, quarantined } = await contentsOf(mount);
  expect(quarantined).toEqual([]);
  expect(records.slice(0, acknowledged.length).map(text)).toEqual(acknowledged);
  expect(text(records.at(-1) as Uint8Array)).toBe('there is room again');
}

function hitRecord(records: readonly string[], at: number): number {
  let end = 0;
  return records.findIndex((record) => {
    end += framed(record);
    return at < end;
  });
}
