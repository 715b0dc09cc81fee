/** Whole boards: out to a file, in from one, and a fingerprint to compare nodes by. */
import { createHash } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { SkeinError } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { allEntries, type Entry, entryPath } from '../board-api.ts';
import type { ControlClient } from '../client.ts';
import { type NodeFlags, type NodeSession, onNode, withNode } from '../context.ts';
import { NodeUnreachable } from '../exit.ts';
import { inputText } from '../input.ts';
import type { Io } from '../io.ts';
import { Progress } from '../progress.ts';
import { count } from '../text.ts';

const FORMAT = 'skein-board/1';
const PAGE = 1_000;
/** A board at its default quota, with room for authors and times. */
const MAX_IMPORT_BYTES = 480 * 1024 * 1024;
/** Writes under way at once: enough for them to share the node's syncs. */
const WRITERS = 16;
/** A file cannot be made there, whatever the disk does: the name is wrong. */
const WRONG_PLACES: ReadonlySet<string> = new Set(
  'EACCES EEXIST EISDIR ENAMETOOLONG ENOENT ENOTDIR EPERM EROFS'.split(' '),
);

interface TransferFlags extends NodeFlags {
  readonly prefix?: string;
  readonly level?: string;
  readonly out?: string;
  readonly agent?: string;
}

interface ExportFile {
  readonly format: string;
  readonly board: string;
  readonly entries: readonly Entry[];
}

export function exportCommand(io: Io): Command {
  const level = new Option('--level <level>', 'eventual: what this node has, also without a quorum');
  level.choices(['eventual', 'strong']);
  return withNode(new Command('export'), io)
    .description('a whole board as one JSON document')
    .argument('<board>')
    .option('--prefix <prefix>', 'only keys that start so')
    .addOption(level)
    .option('--out <file>', 'write to a file, replaced only once all is there; default: standard output')
    .action(
      onNode(io, async (session: NodeSession<TransferFlags>, board: string) => {
        const { flags, out } = session;
        if (flags.out === undefined) {
          await writeExport(session, board, (text) => io.writeOut(text));
          return;
        }
        const entries = await exportTo(flags.out, (write) => writeExport(session, board, write));
        await out.result(
          { board, file: flags.out, entries },
          () => `${count(entries, 'entry', 'entries')} in ${flags.out}`,
        );
      }),
    );
}

/** A whole board as this node has it, into a file; how many entries it has. */
export function exportBoard(
  { client, io, out, flags }: NodeSession<NodeFlags>,
  board: string,
  file: string,
): Promise<number> {
  const session = { client, io, out, flags: { ...flags, level: 'eventual' } };
  return exportTo(file, (write) => writeExport(session, board, write));
}

type Write = (text: string) => Promise<void>;

/** One entry a line, so that a board of any size needs one page of memory. */
async function writeExport(
  session: NodeSession<TransferFlags>,
  board: string,
  write: Write,
): Promise<number> {
  const progress = new Progress(session.io, `Reading ${board}…`);
  let entries = 0;
  try {
    await write(`{"format":${JSON.stringify(FORMAT)},"board":${JSON.stringify(board)},"entries":[`);
    for await (const page of pagesOf(session, board)) {
      const lines = page.map((entry) => `\n${JSON.stringify(entry)}`).join(',');
      if (lines !== '') await write(entries === 0 ? lines : `,${lines}`);
      entries += page.length;
      progress.update(`${count(entries, 'entry', 'entries')} read…`);
    }
    await write('\n]}\n');
  } finally {
    progress.end();
  }
  return entries;
}

function pagesOf({ client, flags, io }: NodeSession<TransferFlags>, board: string) {
  const { prefix, level } = flags;
  return allEntries(client, board, { prefix, level, pageSize: PAGE, signal: io.signal });
}

async function exportTo(file: string, produce: (write: Write) => Promise<number>): Promise<number> {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      const entries = await produce((text) => handle.appendFile(text));
      await handle.sync();
      await rename(temporary, file);
      return entries;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof SkeinError || code === undefined) throw error;
    throw SkeinError.of(
      WRONG_PLACES.has(code) ? 'INVALID_ARGUMENT' : 'INTERNAL',
      `${file} cannot be written: ${(error as Error).message}.`,
      'Name a file in a directory that this user may write; what was there before is untouched.',
    );
  }
}

export function importCommand(io: Io): Command {
  return withNode(new Command('import'), io)
    .description('write the entries of an export into a board; "-" reads standard input')
    .argument('<board>')
    .argument('<file>')
    .option('--agent <name>', 'agent that writes')
    .action(
      onNode(io, async (session: NodeSession<TransferFlags>, board: string, file: string) => {
        const text = await inputText(io, file, MAX_IMPORT_BYTES);
        // Importing what has expired meanwhile would bring it back to life.
        const entries = entriesOf(text, file).filter((entry) => (ttlOf(entry) ?? 1) > 0);
        await importAll(session, board, entries);
        await session.out.result(
          { board, imported: entries.length },
          () => `${count(entries.length, 'entry', 'entries')} written to ${board}.`,
        );
      }),
    );
}

/** Checked whole before the first write, so that a broken file changes nothing. */
function entriesOf(text: string, file: string): readonly Entry[] {
  let document: Partial<ExportFile> | null;
  try {
    document = JSON.parse(text) as Partial<ExportFile> | null;
  } catch (error) {
    throw refusal(file, `is not JSON: ${(error as Error).message}`);
  }
  if (document?.format !== FORMAT || !Array.isArray(document.entries))
    throw refusal(file, `is not an export (its "format" must be "${FORMAT}")`);
  for (const [index, entry] of document.entries.entries()) {
    if (typeof entry?.key !== 'string' || entry.value === undefined)
      throw refusal(file, `has no key and value in entry ${index + 1}`);
  }
  return document.entries;
}

function refusal(file: string, problem: string): SkeinError {
  return SkeinError.of(
    'INVALID_ARGUMENT',
    `${file} ${problem}.`,
    'Nothing was written. Use a file made by: skein board export',
  );
}

async function importAll(
  { client, io, flags }: NodeSession<TransferFlags>,
  board: string,
  entries: readonly Entry[],
): Promise<void> {
  const progress = new Progress(io, `Writing to ${board}…`);
  let next = 0;
  let done = 0;
  const writer = async () => {
    for (let entry = entries[next++]; entry !== undefined; entry = entries[next++]) {
      io.signal.throwIfAborted();
      await importEntry(client, board, entry, flags.agent);
      progress.update(`${++done} of ${count(entries.length, 'entry', 'entries')} written…`);
    }
  };
  try {
    await Promise.all(Array.from({ length: WRITERS }, writer));
  } catch (error) {
    next = entries.length;
    if (!(error instanceof SkeinError)) throw error;
    const { message, hint } = error.body;
    const told = `${hint} ${done} of ${entries.length} entries were written; importing again is harmless.`;
    // By its kind the exit code says that there was no node to answer.
    if (error instanceof NodeUnreachable) throw new NodeUnreachable(message, told, 'unknown');
    throw new SkeinError({ ...error.body, hint: told });
  } finally {
    progress.end();
  }
}

/** A log may be larger than one value can be: then it comes back item by item. */
async function importEntry(client: ControlClient, board: string, entry: Entry, agent: string | undefined) {
  const path = entryPath(board, entry.key);
  const { value } = entry;
  if (!Array.isArray(value) || jsonBytes(value) <= limits.valueBytes) {
    await client.call('PUT', path, { body: { value, ttl_seconds: ttlOf(entry), agent_id: agent } });
    return;
  }
  await client.call('DELETE', path, { query: { agent_id: agent } });
  for (const items of batches(value))
    await client.call('POST', `${path}/items`, { body: { items, agent_id: agent } });
}

/** As many items at a time as one append takes. */
export function batches(items: readonly unknown[]): unknown[][] {
  const all: unknown[][] = [];
  let current: unknown[] = [];
  let bytes = 0;
  for (const item of items) {
    const itemBytes = jsonBytes(item) + 1;
    if (
      current.length === limits.appendItems ||
      (current.length > 0 && bytes + itemBytes > limits.valueBytes)
    ) {
      all.push(current);
      current = [];
      bytes = 0;
    }
    current.push(item);
    bytes += itemBytes;
  }
  return current.length === 0 ? all : [...all, current];
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

export function hashCommand(io: Io): Command {
  return withNode(new Command('hash'), io)
    .description('a fingerprint of the entries: equal on nodes that have converged')
    .argument('<board>')
    .option('--prefix <prefix>', 'only keys that start so')
    .action(
      onNode(io, async (session: NodeSession<TransferFlags>, board: string) => {
        const hash = createHash('sha256');
        let entries = 0;
        for await (const page of pagesOf(session, board)) {
          for (const entry of page) hash.update(`${canonical(entry)}\n`);
          entries += page.length;
        }
        const answer = { board, hash: hash.digest('hex'), entries };
        await session.out.result(answer, () => `${answer.hash}  ${count(entries, 'entry', 'entries')}`);
      }),
    );
}

/** What is left of an entry's life; undefined where it has no end. */
function ttlOf(entry: Pick<Entry, 'expiresAt'>, nowMs = Date.now()): number | undefined {
  return entry.expiresAt === undefined ? undefined : Math.ceil((Date.parse(entry.expiresAt) - nowMs) / 1000);
}

/** JSON with sorted keys: two nodes need not have built the same value in the same order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
