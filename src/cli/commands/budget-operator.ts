/** Commands of budgets that only operators give. */
import { Command } from 'commander';
import { errorBody, SkeinError } from '../../kernel/errors.ts';
import {
  amountText,
  type Budget,
  budgetPath,
  grouped,
  type MachineShare,
  neededAmount,
} from '../budget-api.ts';
import type { ControlClient } from '../client.ts';
import { type NodeFlags, type NodeSession, onNode, withNode } from '../context.ts';
import { UsageError } from '../exit.ts';
import type { Io } from '../io.ts';
import { count, printable } from '../text.ts';
import { showBudget } from './budget-status.ts';

interface TransferFlags extends NodeFlags {
  readonly tokens?: number;
}
interface WriteOffFlags extends NodeFlags {
  readonly all?: boolean;
  readonly yes?: boolean;
}

export function limitCommand(io: Io): Command {
  return withNode(new Command('limit'), io)
    .description('change the limit, from the period that runs on')
    .argument('<name>')
    .argument('<limit>', 'the new limit', amountText(1))
    .action(
      onNode(io, async (session: NodeSession<NodeFlags>, name: string, limit: number) => {
        const budget = await session.client.call<Budget>('PATCH', budgetPath(name), { body: { limit } });
        await showBudget(session, budget);
        if (budget.owed > 0)
          session.out.note(
            `${grouped(budget.owed)} more than that was granted before and may still be spent; nothing is granted until so much came back.`,
          );
      }),
    );
}

export function transferCommand(io: Io): Command {
  return withNode(new Command('transfer'), io)
    .description('pass rights of this node to another machine')
    .argument('<name>')
    .argument('<machine>', 'node id, or the name of a machine')
    .argument('[tokens]', "amount in the budget's unit", amountText(1))
    .option('--tokens <n>', 'the same as a flag', amountText(1))
    .action(
      onNode(
        io,
        async (
          { client, flags, out }: NodeSession<TransferFlags>,
          name: string,
          to: string,
          given: number | undefined,
        ) => {
          const tokens = neededAmount(given, flags.tokens);
          const answer = await client.call<{ moved: number; rights: number }>(
            'POST',
            budgetPath(name, '/transfers'),
            { body: { to, tokens } },
          );
          await out.result(answer, () => `${grouped(answer.moved)} passed on`);
          out.note(printable(`${grouped(answer.rights)} are left on this node.`));
        },
      ),
    );
}

export function rebalanceCommand(io: Io): Command {
  return withNode(new Command('rebalance'), io)
    .description('move rights now to machines that will run short of them, as happens by itself in time')
    .argument('<name>')
    .action(
      onNode(io, async ({ client, out }: NodeSession<NodeFlags>, name: string) => {
        const answer = await client.call<{ moves: number; amount: number }>(
          'POST',
          budgetPath(name, '/rebalance'),
          { body: {} },
        );
        await out.result(
          answer,
          () => `${count(answer.moves, 'move')} ordered, ${grouped(answer.amount)} in all`,
        );
        if (answer.moves === 0)
          out.note(
            printable(
              `No machine runs short of them soon, at its pace. By hand: skein budget transfer ${name} MACHINE N`,
            ),
          );
      }),
    );
}

export function writeOffCommand(io: Io): Command {
  return withNode(new Command('write-off'), io)
    .description('give back to the reserve what a machine that is gone for good had not spent')
    .argument('<name>')
    .argument('<account>', 'machine, node id or account, as skein budget status shows them')
    .option('--all', 'the same of all other budgets of which it has something that nobody can reach')
    .option('--yes', 'do it; without it, only say what would happen')
    .action(
      onNode(io, async (session: NodeSession<WriteOffFlags>, name: string, account: string) => {
        const { client, flags, out } = session;
        if (flags.yes !== true) {
          throw explained(await client.call('GET', budgetPath(name)), account, flags.all === true);
        }
        const answer = await writeOff(client, name, account);
        // It is done, whatever becomes of the others.
        const rest = flags.all === true ? await writeOffOthers(client, answer) : NO_OTHERS;
        const whole =
          flags.all === true ? { ...answer, budgets: rest.done, alsoStranded: rest.left } : answer;
        await out.result(whole, () =>
          [
            outcomeText(answer),
            ...rest.done.map((each) => printable(`${each.task_id}: ${outcomeText(each)}`)),
          ].join('\n'),
        );
        out.note('Never start that machine again with its old data.');
        const { alsoStranded = [] } = whole;
        if (alsoStranded.length > 0)
          out.note(
            printable(
              `What it had of other budgets is stranded until that is written off too (--all): ${alsoStranded.join(', ')}`,
            ),
          );
        if (rest.error !== undefined) throw rest.error;
      }),
    );
}

interface WrittenOff {
  readonly writtenOff: number;
  readonly lost: number;
  readonly account: string;
  /** Absent where the node is older. */
  readonly alsoStranded?: readonly string[];
}

interface Others {
  readonly done: readonly (Pick<WrittenOff, 'writtenOff' | 'lost'> & { readonly task_id: string })[];
  readonly left: readonly string[];
  /** Why the first of those that are left is not done. */
  readonly error?: unknown;
}

const NO_OTHERS: Others = { done: [], left: [] };

function writeOff(client: ControlClient, budget: string, account: string): Promise<WrittenOff> {
  return client.call<WrittenOff>('POST', budgetPath(budget, '/write-offs'), { body: { account } });
}

/** One after the other, by the id of what was written off: of another budget somebody else may have its name. */
async function writeOffOthers(
  client: ControlClient,
  { account, alsoStranded = [] }: WrittenOff,
): Promise<Others> {
  const done: Others['done'][number][] = [];
  const left: string[] = [];
  const errors: unknown[] = [];
  for (const task_id of alsoStranded) {
    try {
      const { writtenOff, lost } = await writeOff(client, task_id, account);
      done.push({ task_id, writtenOff, lost });
    } catch (error) {
      left.push(task_id);
      errors.push(error);
    }
  }
  return { done, left, error: errors[0] };
}

function outcomeText({ writtenOff, lost }: Pick<WrittenOff, 'writtenOff' | 'lost'>): string {
  return `${grouped(writtenOff)} back in the reserve, ${grouped(lost)} counted as spent`;
}

function isOf(machine: MachineShare, account: string): boolean {
  return machine.name === account || machine.machine_id === account || machine.accounts.includes(account);
}

/** Nothing was done, and this would be; or that it would be refused, as the node will. */
function explained(budget: Budget, account: string, isOfAll: boolean): SkeinError {
  const { task_id: id, unit } = budget;
  const command = `skein budget write-off ${id} ${account}${isOfAll ? ' --all' : ''} --yes`;
  const [machine, ...others] = budget.machines.filter((each) => isOf(each, account));
  if (machine === undefined) {
    return new SkeinError(
      errorBody(
        'NOT_FOUND',
        `No machine or account ${account} has a part of the budget ${id}.`,
        `See skein budget status ${id}`,
      ),
    );
  }
  if (others.length > 0) {
    return new SkeinError(
      errorBody(
        'CONFLICT',
        `More than one machine with a part of the budget ${id} is called ${account}.`,
        `Name it by its node id: skein budget status ${id}`,
      ),
    );
  }
  const { name, state, held, stranded, accounts } = machine;
  // Of several accounts of a machine that is alive, the former ones may be written off.
  if (state === 'alive' && accounts.length === 1) {
    return new SkeinError(
      errorBody(
        'CONFLICT',
        `${name} is alive and spends from this account.`,
        'Stop it for good first, or move its rights with skein budget transfer.',
      ),
    );
  }
  if (state === 'alive') {
    return new UsageError(
      `This ends the former accounts of ${name} for good; it goes on under another one. As far as was heard, they have ${grouped(stranded)} ${unit}: what is in reservations counts as spent, the rest goes back to the reserve. Nothing may run on the data of before, or it spends that once more.`,
      `To do it: ${command}`,
    );
  }
  // Rights that cannot be reached are no rights to spend, and come under what is stranded.
  const rights = machine.rights + Math.max(0, stranded - held);
  return new UsageError(
    `This ends the account of ${name} (${state}) for good. As far as was heard, it has ${grouped(rights)} ${unit} that go back to the reserve, and ${grouped(held)} in reservations that nobody settled: they will be counted as spent. What it spent and nobody heard of would be spent twice, so it must never run again with its old data.`,
    `To do it: ${command}`,
  );
}
