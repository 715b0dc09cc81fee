/**
 * A process that appends numbered records to a journal, tells each acknowledged number on stdout, writes a checkpoint
 * now and then, and dies at the crash point that its environment names (or goes on until it is killed).
 * Arguments: directory, number of batches, "fault" to make one sync fail on the way.
 */
import { writeSync } from 'node:fs';
import { Journal } from '../../src/adapters/node/journal.ts';
import { DiskError } from '../../src/kernel/ports.ts';
import { checkpointOf, FaultyFiles, syncOf } from './journal-support.ts';

const [directory = '', batches = '100', mode = ''] = process.argv.slice(2);
const faulty = new FaultyFiles();
const journal = new Journal({ directory, files: faulty.files });

const record = (number: number) =>
  new Uint8Array(Buffer.from(JSON.stringify({ number, filling: 'x'.repeat((number * 37) % 400) })));
const numberOf = (bytes: Uint8Array): number => JSON.parse(Buffer.from(bytes).toString()).number;

const { records } = await journal.load();
const held = new Set(records.map(numberOf));
let next = Math.max(-1, ...held) + 1;
let syncs = 0;
// One of the journal's own, before the first checkpoint: the syncs of checkpoints come in between as the disk pleases.
const forcing = process.platform === 'linux' ? 'writeThrough' : 'sync';
if (mode === 'fault')
  faulty.fault = (operation) =>
    operation === forcing && ++syncs === 3 ? new DiskError('a sync that fails', false) : undefined;

async function appendBatch(): Promise<void> {
  const numbers = [next, next + 1, next + 2];
  next += 3;
  journal.append(numbers.map(record));
  const error = await syncOf(journal);
  for (const number of numbers) held.add(number);
  if (error === undefined) writeSync(1, `${numbers.join('\n')}\n`);
}

for (let batch = 0; batch < Number(batches); batch++) {
  await Promise.all([appendBatch(), appendBatch()]);
  if (batch % 7 === 3) {
    const during = checkpointOf(journal, [...held].sort((left, right) => left - right).map(record));
    await appendBatch();
    await during;
  }
}
await journal.close();
