import { join } from 'node:path';
import { Command } from 'commander';
import { SkeinError } from '../../kernel/errors.ts';
import type { Board } from '../board-api.ts';
import { type Budget, grouped } from '../budget-api.ts';
import { type NodeFlags, type NodeSession, onNode, wholeNumber, withNode } from '../context.ts';
import type { Io } from '../io.ts';
import { count, printable, table } from '../text.ts';
import { exportBoard } from './board-transfer.ts';

interface ListFlags extends NodeFlags {
  readonly limit?: number;
  readonly cursor?: string;
}
interface RecoverFlags extends NodeFlags {
  readonly confirm?: string;
}
interface MergeFlags extends NodeFlags {
  readonly keep: string;
  readonly export: string;
}

interface Voter {
  readonly nodeId: string;
  readonly name: string;
  readonly serverId: string;
  readonly role: string;
  readonly state: string;
  readonly isTooOld?: boolean;
}

interface Voters {
  readonly voters: readonly Voter[];
  readonly storeId: string | null;
  readonly leader: string | null;
  readonly cursor?: string;
}

export function votersCommand(io: Io): Command {
  return new Command('voters')
    .addCommand(listCommand(io))
    .addCommand(changeCommand(io, 'add', 'PUT', 'give a member a vote, beyond the wanted number if need be'))
    .addCommand(changeCommand(io, 'remove', 'DELETE', 'take the vote of a member away for good'))
    .addCommand(foundCommand(io))
    .addCommand(recoverCommand(io))
    .addCommand(mergeCommand(io));
}

function listCommand(io: Io): Command {
  return withNode(new Command('list'), io)
    .description('who votes on the quorum store, who leads, and who only has a copy')
    .option('--limit <n>', 'at most so many', wholeNumber(1, 1_000))
    .option('--cursor <cursor>', 'continue where an earlier answer ended')
    .action(
      onNode(io, async (session: NodeSession<ListFlags>) => {
        const { limit, cursor } = session.flags;
        const query = { limit, cursor };
        const answer = await session.client.call<Voters>('GET', '/v1/voters', { query });
        await shown(session, answer);
        if (answer.cursor !== undefined) session.out.note(`There are more: --cursor ${answer.cursor}`);
      }),
    );
}

async function shown({ out }: NodeSession<NodeFlags>, answer: Voters): Promise<void> {
  await out.result(answer, () =>
    answer.voters.length === 0
      ? ''
      : table(
          ['NAME', 'ROLE', 'STATE', 'NODE', 'SERVER'],
          answer.voters.map(({ name, role, state, isTooOld, nodeId, serverId }) => [
            name,
            role,
            isTooOld === true ? `${state}, version too old` : state,
            nodeId,
            serverId,
          ]),
        ),
  );
  if (answer.storeId !== null) out.note(`Store ${answer.storeId}.`);
  else if (answer.voters.length === 0)
    out.note('No store with voters of its own: none was found yet, or etcd keeps it.');
}

function changeCommand(io: Io, name: 'add' | 'remove', method: 'PUT' | 'DELETE', about: string): Command {
  return withNode(new Command(name), io)
    .description(about)
    .argument('<node>', 'node id, or the name of a machine')
    .action(
      onNode(io, async (session: NodeSession<NodeFlags>, node: string) => {
        const path = `/v1/voters/${encodeURIComponent(node)}`;
        await shown(session, await session.client.call(method, path));
        session.out.note('The leader changes one voter at a time, when it is safe: see skein voters list.');
      }),
    );
}

function foundCommand(io: Io): Command {
  return withNode(new Command('found'), io)
    .description('there is no store to join, and no node founds one by itself: begin one here')
    .action(
      onNode(io, async (session: NodeSession<NodeFlags>) => {
        await shown(session, await session.client.call('POST', '/v1/voters/found'));
        session.out.note('This node founded it and votes alone; members that carry no store join it.');
      }),
    );
}

function recoverCommand(io: Io): Command {
  return withNode(new Command('recover'), io)
    .description('a majority of the voters is lost for good: go on with what this node has, alone')
    .option('--confirm <store>', 'id of the store; what only the lost voters knew is gone')
    .action(
      onNode(io, async (session: NodeSession<RecoverFlags>) => {
        const body = { confirm: session.flags.confirm ?? '' };
        await shown(session, await session.client.call('POST', '/v1/voters/recover', { body }));
        session.out.note('This node votes alone now. Never start the lost voters again with their old data.');
      }),
    );
}

function mergeCommand(io: Io): Command {
  return withNode(new Command('merge'), io)
    .description("give up the store that this node's side carries for another, after exporting its boards")
    .requiredOption('--keep <store>', 'id of the store that stays; skein doctor names both')
    .option('--export <dir>', 'where the boards of the store given up are written', '.')
    .action(
      onNode(io, async (session: NodeSession<MergeFlags>) => {
        const { client, flags, out } = session;
        const { storeId } = await client.call<Voters>('GET', '/v1/voters');
        const isOther = storeId !== null && storeId !== flags.keep;
        const exported = isOther ? await exportAll(session, storeId) : [];
        const budgets = isOther ? await spentBudgets(session) : [];
        if (budgets.length > 0) tellBudgets(session, budgets);
        const answer = await client.call<Voters>('POST', '/v1/voters/merge', { body: { keep: flags.keep } });
        await out.result({ ...answer, exported, budgets }, () =>
          exported
            .map(({ file, entries }) => `${count(entries, 'entry', 'entries')} in ${printable(file)}`)
            .join('\n'),
        );
        out.note('Bring them back where they are wanted: skein board import BOARD FILE');
      }),
    );
}

type SpentBudget = Pick<Budget, 'task_id' | 'unit' | 'limit' | 'spent' | 'overrun'>;

/** Those of which something was spent. Where they cannot be listed, the store is given up all the same. */
async function spentBudgets({ client, out }: NodeSession<MergeFlags>): Promise<readonly SpentBudget[]> {
  const found: SpentBudget[] = [];
  let cursor: string | undefined;
  try {
    do {
      const page = await client.call<{ budgets?: readonly Budget[]; cursor?: string }>('GET', '/v1/budgets', {
        query: { limit: 1_000, cursor },
      });
      for (const { task_id, unit, limit, spent, overrun } of page.budgets ?? [])
        if (spent + overrun > 0) found.push({ task_id, unit, limit, spent, overrun });
      cursor = page.cursor;
    } while (cursor !== undefined);
  } catch (error) {
    if (!(error instanceof SkeinError)) throw error;
    out.note(`What was spent of its budgets is not known: ${printable(error.body.message)}`);
  }
  return found;
}

function tellBudgets({ out }: NodeSession<MergeFlags>, budgets: readonly SpentBudget[]): void {
  const spent = ({ task_id, unit, limit, spent, overrun }: SpentBudget) =>
    `  ${printable(task_id)}: ${grouped(spent + overrun)} of ${grouped(limit)} ${unit} spent`;
  out.note(
    ['Where the other store has a budget of the same name, what was spent of this one no longer counts:']
      .concat(budgets.map(spent))
      .join('\n'),
  );
}

async function exportAll(
  session: NodeSession<MergeFlags>,
  storeId: string,
): Promise<readonly { readonly board: string; readonly file: string; readonly entries: number }[]> {
  const { boards } = await session.client.call<{ boards: readonly Board[] }>('GET', '/v1/boards', {
    query: { limit: 1_000 },
  });
  const exported = [];
  for (const { name, mode, keys } of boards) {
    if (mode !== 'quorum' || keys === 0) continue;
    const file = join(session.flags.export, `${name}-${storeId}.json`);
    exported.push({ board: name, file, entries: await exportBoard(session, name, file) });
  }
  return exported;
}
