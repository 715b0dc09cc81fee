import { Command, Option } from 'commander';
import { SkeinError } from '../../kernel/errors.ts';
import { checkJson } from '../../kernel/json.ts';
import { limits } from '../../kernel/limits.ts';
import type { Board, CallFlags, Change, EntryPage, ReadAnswer, WriteAnswer } from '../board-api.ts';
import { boardPath, documentPath, entryPath, sharedOf } from '../board-api.ts';
import type { ControlClient } from '../client.ts';
import { type NodeFlags, type NodeSession, onNode, refuse, wholeNumber, withNode } from '../context.ts';
import { EXIT, NodeUnreachable, Reported, UsageError } from '../exit.ts';
import { inputText } from '../input.ts';
import type { Io } from '../io.ts';
import { brief, bytesText, printable, table } from '../text.ts';
import { exportCommand, hashCommand, importCommand } from './board-transfer.ts';

interface BoardFlags extends NodeFlags, CallFlags {}
interface ListFlags extends BoardFlags {
  readonly prefix?: string;
  readonly limit?: number;
  readonly cursor?: string;
  readonly documents?: boolean;
}
interface SetFlags extends BoardFlags {
  readonly ttl?: number;
  readonly text?: boolean;
}
interface DeleteFlags extends BoardFlags {
  readonly document?: string;
}
interface CasFlags extends SetFlags {
  readonly ifRevision: number;
}
interface WatchFlags extends NodeFlags {
  readonly prefix?: string;
  readonly after?: number;
  readonly count?: number;
  readonly timeout?: number;
}

export function boardCommand(io: Io): Command {
  const command = new Command('board');
  for (const make of [
    listCommand,
    getCommand,
    setCommand,
    deleteCommand,
    appendCommand,
    watchCommand,
    casCommand,
    exportCommand,
    importCommand,
    hashCommand,
  ])
    command.addCommand(make(io));
  return command;
}

function withLevel(command: Command): Command {
  const level = new Option(
    '--level <level>',
    'consistency; default: strong on a quorum board, else session with --session and eventual without',
  );
  return command
    .addOption(level.choices(['eventual', 'session', 'strong']))
    .option('--session <token>', 'token of an earlier answer: see at least what that one saw');
}

function withAgent(command: Command): Command {
  return command.option('--agent <name>', 'agent that writes');
}

function listCommand(io: Io): Command {
  return withLevel(withNode(new Command('list'), io))
    .description('the entries of a board; without BOARD, the boards')
    .argument('[board]')
    .option('--prefix <prefix>', 'only keys that start so')
    .option('--limit <n>', 'at most so many (default 100)', wholeNumber(1, 1_000))
    .option('--cursor <cursor>', 'continue where an earlier answer ended')
    .option('--documents', 'the names of its free documents, in place of its entries')
    .action(
      onNode(io, async (session: NodeSession<ListFlags>, board: string | undefined) => {
        const { flags, out } = session;
        const { limit, cursor } = flags;
        const next = await listed(session, board, { limit, cursor });
        if (next !== undefined) out.note(`There are more: --cursor ${next}`);
      }),
    );
}

/** A page; gives what continues it. */
function listed(
  session: NodeSession<ListFlags>,
  board: string | undefined,
  query: ListQuery,
): Promise<string | undefined> {
  const { flags } = session;
  if (board !== undefined && flags.documents === true) return listDocuments(session, board, query);
  if (flags.documents === true)
    throw new UsageError('Whose documents is not said.', 'Name a board: skein board list BOARD --documents');
  if (board === undefined) return listBoards(session, query);
  return listEntries(session, board, { ...query, prefix: flags.prefix, ...sharedOf(flags) });
}

type ListQuery = Readonly<Record<string, string | number | undefined>>;

async function listBoards(
  { client, out }: NodeSession<ListFlags>,
  query: ListQuery,
): Promise<string | undefined> {
  const answer = await client.call<{ boards: readonly Board[]; cursor?: string }>('GET', '/v1/boards', {
    query,
  });
  await out.result(answer, () =>
    answer.boards.length === 0
      ? ''
      : table(
          ['BOARD', 'MODE', 'KEYS', 'SIZE'],
          answer.boards.map(({ name, mode, keys, bytes }) => [name, mode, String(keys), bytesText(bytes)]),
        ),
  );
  if (answer.boards.length === 0) out.note('No boards.');
  return answer.cursor;
}

async function listDocuments(
  { client, out }: NodeSession<ListFlags>,
  board: string,
  query: ListQuery,
): Promise<string | undefined> {
  const page = await client.call<{ documents: readonly string[]; cursor?: string }>(
    'GET',
    boardPath(board, '/documents'),
    { query },
  );
  await out.result({ board, ...page }, () => page.documents.map((each) => printable(each)).join('\n'));
  if (page.documents.length === 0) out.note('No documents.');
  return page.cursor;
}

async function listEntries(
  { client, out }: NodeSession<ListFlags>,
  board: string,
  query: ListQuery,
): Promise<string | undefined> {
  const page = await client.call<EntryPage>('GET', boardPath(board, '/entries'), { query });
  await out.result(page, () =>
    page.entries.length === 0
      ? ''
      : table(
          ['KEY', 'VALUE', 'AUTHOR', 'WRITTEN', 'REVISION'],
          page.entries.map(({ key, value, author, writtenAt, revision }) => [
            key,
            brief(value),
            author,
            writtenAt,
            String(revision),
          ]),
        ),
  );
  if (page.entries.length === 0) out.note('Nothing there.');
  return page.cursor;
}

function getCommand(io: Io): Command {
  return withLevel(withNode(new Command('get'), io))
    .description('one entry: its value on standard output')
    .argument('<board>')
    .argument('<key>')
    .action(
      onNode(io, async ({ client, out, flags }: NodeSession<BoardFlags>, board: string, key: string) => {
        const answer = await read(client, board, key, flags);
        await out.result(answer, () => (answer.found ? valueText(answer.value) : ''));
        if (answer.found) {
          out.note(printable(`by ${answer.author}, ${answer.writtenAt}, revision ${answer.revision}`));
          return;
        }
        out.note(printable(`Board ${board} has no key ${key}.`));
        throw new Reported(EXIT.refused);
      }),
    );
}

/** An entry that is not there is an answer with a session, like any other. */
async function read(
  client: ControlClient,
  board: string,
  key: string,
  flags: BoardFlags,
): Promise<ReadAnswer> {
  const { level, session } = flags;
  try {
    return await client.call<ReadAnswer>('GET', entryPath(board, key), { query: { level, session } });
  } catch (error) {
    const details =
      error instanceof SkeinError && error.body.code === 'NOT_FOUND' ? error.body.details : undefined;
    if (typeof details?.session !== 'string') throw error;
    return { found: false, key, value: null, revision: Number(details.revision), session: details.session };
  }
}

/** Text as it is, so that it can be piped on; other values as JSON. */
function valueText(value: unknown): string {
  return printable(typeof value === 'string' ? value : JSON.stringify(value, null, 2), { lines: true });
}

function setCommand(io: Io): Command {
  return withAgent(withLevel(withNode(new Command('set'), io)))
    .description(
      'write an entry; VALUE is JSON, or text where it does not parse; "-" reads it from standard input',
    )
    .argument('<board>')
    .argument('<key>')
    .argument('<value>')
    .option('--ttl <seconds>', 'the entry vanishes after this time', wholeNumber(1, 365 * 24 * 3600))
    .option('--text', 'take VALUE as text even where it is JSON')
    .action(
      onNode(io, async (session: NodeSession<SetFlags>, board: string, key: string, given: string) => {
        const { client, flags } = session;
        const text = given === '-' ? await inputText(io, '-', limits.httpBodyBytes) : given;
        const value = parsedValue(text, flags.text === true);
        const body = { value, ttl_seconds: flags.ttl, ...sharedOf(flags) };
        await wrote(session, await client.call('PUT', entryPath(board, key), { body }));
      }),
    );
}

function casCommand(io: Io): Command {
  return withAgent(withNode(new Command('cas'), io))
    .description(
      'write an entry of a quorum board only if it still has the revision that you read: of several, one wins',
    )
    .argument('<board>')
    .argument('<key>')
    .argument('<value>')
    .requiredOption(
      '--if-revision <n>',
      'the revision that it must have; 0: it must not exist',
      wholeNumber(0, Number.MAX_SAFE_INTEGER),
    )
    .option('--session <token>', 'token of an earlier answer: see at least what that one saw')
    .option('--ttl <seconds>', 'the entry vanishes after this time', wholeNumber(1, 365 * 24 * 3600))
    .option('--text', 'take VALUE as text even where it is JSON')
    .action(
      onNode(io, async (session: NodeSession<CasFlags>, board: string, key: string, given: string) => {
        const { client, flags } = session;
        const text = given === '-' ? await inputText(io, '-', limits.httpBodyBytes) : given;
        const value = parsedValue(text, flags.text === true);
        const answer = await client
          .call<WriteAnswer>('PUT', entryPath(board, key), {
            query: { expected_revision: flags.ifRevision },
            body: { value, ttl_seconds: flags.ttl, ...sharedOf(flags) },
          })
          .catch((error: unknown) => lost(session, error));
        await wrote(session, answer);
      }),
    );
}

/** Another was quicker: with what is there now. */
function lost({ out }: NodeSession<CasFlags>, error: unknown): Promise<never> {
  const entry = error instanceof SkeinError ? error.body.details?.entry : undefined;
  if (!(error instanceof SkeinError) || entry === undefined || entry === null) throw error;
  return refuse(out, error, [`It is now: ${brief((entry as { readonly value?: unknown }).value)}`]);
}

function parsedValue(given: string, asText: boolean): unknown {
  if (asText) return given;
  let value: unknown;
  try {
    value = JSON.parse(given);
  } catch {
    return given;
  }
  // Looked at before it is sent: on its way it would be changed (1e999 to null), or be too deep to be written at all.
  const checked = checkJson(value, 'The value');
  if (!checked.ok) throw new SkeinError(checked.error);
  return checked.value;
}

async function wrote({ out }: NodeSession<BoardFlags>, answer: WriteAnswer): Promise<void> {
  await out.result(answer, () => `revision ${answer.revision}`);
}

function deleteCommand(io: Io): Command {
  return withAgent(withLevel(withNode(new Command('delete'), io)))
    .description('delete an entry, or a free document')
    .argument('<board>')
    .argument('[key]')
    .option('--document <name>', 'delete this document, in place of an entry')
    .action(
      onNode(io, async (session: NodeSession<DeleteFlags>, board: string, key: string | undefined) => {
        const { client, out, flags } = session;
        const { document } = flags;
        if ((key === undefined) === (document === undefined))
          throw new UsageError(
            'What to delete is not clear.',
            'Name a key, or a document (--document NAME).',
          );
        const path = document === undefined ? entryPath(board, key ?? '') : documentPath(board, document);
        const answer = await client.call<WriteAnswer>('DELETE', path, { query: { ...sharedOf(flags) } });
        const what = document === undefined ? 'entry' : 'document';
        await out.result(answer, () =>
          answer.deleted === false ? `There was no such ${what}.` : `Deleted; revision ${answer.revision}.`,
        );
      }),
    );
}

function appendCommand(io: Io): Command {
  return withAgent(withLevel(withNode(new Command('append'), io)))
    .description('append items to a log key, oldest first; each is JSON, or text where it does not parse')
    .argument('<board>')
    .argument('<key>')
    .argument('<items...>')
    .option('--text', 'take the items as text even where they are JSON')
    .action(
      onNode(
        io,
        async (session: NodeSession<SetFlags>, board: string, key: string, given: readonly string[]) => {
          const items = given.map((item) => parsedValue(item, session.flags.text === true));
          const path = entryPath(board, key, '/items');
          await wrote(
            session,
            await session.client.call('POST', path, { body: { items, ...sharedOf(session.flags) } }),
          );
        },
      ),
    );
}

function watchCommand(io: Io): Command {
  return withNode(new Command('watch'), io)
    .description('changes as they come, until interrupted; with --json one document a line')
    .argument('<board>')
    .argument('[key]')
    .option('--prefix <prefix>', 'only keys that start so')
    .option(
      '--after <revision>',
      'also changes so far with a higher revision; 0: begin with the entries that are there',
      wholeNumber(0, Number.MAX_SAFE_INTEGER),
    )
    .option('--count <n>', 'end after so many changes', wholeNumber(1, 1_000_000_000))
    .option('--timeout <seconds>', 'end after this time', wholeNumber(1, 365 * 24 * 3600))
    .action(
      onNode(io, async (session: NodeSession<WatchFlags>, board: string, key: string | undefined) => {
        const { flags } = session;
        if (key !== undefined && flags.prefix !== undefined)
          throw new UsageError(
            'KEY and --prefix are both given.',
            'Give one of them, or neither for the whole board.',
          );
        await watch(session, board, key === undefined ? { prefix: flags.prefix ?? '' } : { key });
      }),
    );
}

async function watch(
  { client, io, out, flags }: NodeSession<WatchFlags>,
  board: string,
  query: ListQuery,
): Promise<void> {
  const signals = [
    io.signal,
    ...(flags.timeout === undefined ? [] : [AbortSignal.timeout(flags.timeout * 1000)]),
  ];
  let left = flags.count ?? Number.POSITIVE_INFINITY;
  const signal = AbortSignal.any(signals);
  const changes = client.events(boardPath(board, '/watch'), {
    query: { ...query, after_revision: flags.after },
    signal,
    onOpen: () => out.note('Watching; Ctrl-C ends it.'),
  });
  for await (const event of changes) {
    const change = event as Change;
    await out.result(change, () => changeText(change));
    if (--left <= 0) return;
  }
  if (!signal.aborted)
    throw new NodeUnreachable(
      'The node ended the watch: it stops.',
      'Start it again, then watch again with --after.',
    );
}

function changeText(change: Change): string {
  const what = change.deleted ? '(deleted)' : brief(change.value, 100);
  return printable(
    `${change.revision}  ${change.key}  ${what}${change.author === undefined ? '' : `  by ${change.author}`}`,
  );
}
