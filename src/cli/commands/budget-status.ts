import { Command } from 'commander';
import { type Budget, budgetPath, grouped, type MachineShare } from '../budget-api.ts';
import { type NodeFlags, type NodeSession, onNode, wholeNumber, withNode } from '../context.ts';
import type { Io } from '../io.ts';
import { printable, table } from '../text.ts';

/** Agents in debt that the text names. */
const NAMED = 8;

interface StatusFlags extends NodeFlags {
  readonly limit?: number;
  readonly cursor?: string;
}

export function statusCommand(io: Io): Command {
  return withNode(new Command('status'), io)
    .description('a budget by machine: allocated, held, spent, what remains; without NAME all budgets')
    .argument('[name]')
    .option('--limit <n>', 'at most so many budgets (default 100)', wholeNumber(1, 1_000))
    .option('--cursor <cursor>', 'continue where an earlier answer ended')
    .action(
      onNode(io, async (session: NodeSession<StatusFlags>, name: string | undefined) => {
        if (name === undefined) await showAll(session);
        else await showBudget(session, await session.client.call('GET', budgetPath(name)));
      }),
    );
}

async function showAll({ client, out, flags }: NodeSession<StatusFlags>): Promise<void> {
  const { limit, cursor } = flags;
  const answer = await client.call<{ budgets: readonly Budget[]; cursor?: string }>('GET', '/v1/budgets', {
    query: { limit, cursor },
  });
  await out.result(answer, () => (answer.budgets.length === 0 ? '' : listText(answer.budgets)));
  if (answer.budgets.length === 0) out.note('No budgets. Create one: skein budget create NAME --limit N');
  if (answer.cursor !== undefined) out.note(`There are more: --cursor ${answer.cursor}`);
}

function listText(budgets: readonly Budget[]): string {
  return table(
    ['BUDGET', 'LIMIT', 'UNIT', 'SPENT', 'HELD', 'LEFT', 'STRANDED', 'BURN/S', 'ENDS'],
    budgets.map((budget) => [
      budget.task_id,
      grouped(budget.limit),
      budget.unit,
      `${grouped(budget.spent + budget.overrun)} (${share(budget)})`,
      grouped(budget.held),
      grouped(budget.remaining),
      grouped(budget.stranded),
      grouped(budget.burnPerSecond),
      budget.projectedEnd ?? '-',
    ]),
  );
}

/** A budget with its machines, and what to do about what is wrong with it. */
export async function showBudget({ out }: NodeSession<NodeFlags>, budget: Budget): Promise<void> {
  await out.result(budget, () => budgetText(budget));
  if (budget.stranded > 0) {
    const machine = budget.machines.find(({ stranded }) => stranded > 0);
    const isAmbiguous = budget.machines.filter(({ name }) => name === machine?.name).length > 1;
    const gone = (isAmbiguous ? machine?.machine_id : machine?.name) ?? 'MACHINE';
    const what =
      machine?.state === 'alive'
        ? 'come back only with the data that their machine had before. If that'
        : 'come back with their machine. If it';
    out.note(
      printable(`Stranded rights ${what} is gone for good: skein budget write-off ${budget.task_id} ${gone}`),
    );
  }
  for (const problem of budget.problems) out.note(printable(`Wrong: ${problem}`));
}

function budgetText(budget: Budget): string {
  const { unit, task_id, limit, spent, overrun, held, remaining, machines } = budget;
  const head = `${task_id}: ${grouped(spent + overrun)} of ${grouped(limit)} ${unit} spent (${share(budget)}), ${grouped(held)} held, ${grouped(remaining)} left`;
  return [
    ...[head, ...factLines(budget)].map((line) => printable(line)),
    ...(machines.length === 0 ? [] : [machinesText(machines)]),
  ].join('\n');
}

function limitedText({ limitedBy }: Budget): string | undefined {
  const isLimited = limitedBy !== undefined && limitedBy !== null;
  return isLimited ? `by ${limitedBy}, which has no more left` : undefined;
}

function factLines(budget: Budget): string[] {
  const { window, periodEnd, burnPerSecond, projectedEnd, thresholdsPassed } = budget;
  const facts: readonly (readonly [string, string | undefined])[] = [
    ['parent', budget.parent ?? undefined],
    ['limited', limitedText(budget)],
    ['window', window === 'none' ? undefined : `${window}, until ${periodEnd ?? 'its end'}`],
    ['reserve', `${grouped(budget.reserve)} not allocated${someText(budget.onTheWay, ', %s on the way')}`],
    [
      'burn',
      `${grouped(burnPerSecond)} a second${projectedEnd === null ? '' : `, at this pace gone ${projectedEnd}`}`,
    ],
    [
      'passed',
      thresholdsPassed.length === 0 ? undefined : thresholdsPassed.map((mark) => `${mark} %`).join(', '),
    ],
    ['owed', someText(budget.owed, '%s granted beyond the lowered limit')],
    ['overrun', someText(budget.overrun, '%s of it beyond the rights')],
    ['debts', debtsText(budget)],
    ['stranded', someText(budget.stranded, '%s cannot be reached')],
  ];
  return facts.flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [`  ${name.padEnd(9)}${value}`],
  );
}

/** Who may not spend on this machine until that is paid. */
function debtsText({ debts }: Budget): string {
  const named = debts.slice(0, NAMED).map(({ agent_id, tokens }) => `${agent_id} ${grouped(tokens)}`);
  return [...named, ...(debts.length > NAMED ? [`${debts.length - NAMED} more`] : [])].join(', ');
}

function machinesText(machines: readonly MachineShare[]): string {
  return table(
    ['MACHINE', 'STATE', 'ALLOCATED', 'RIGHTS', 'HELD', 'SPENT', 'BURN/S', 'STRANDED', 'NODE'],
    machines.map((machine) => [
      machine.name,
      machine.state,
      grouped(machine.allocated),
      grouped(machine.rights),
      grouped(machine.held),
      `${grouped(machine.spent)}${someText(machine.overrun, ' (%s over)')}`,
      grouped(machine.burnPerSecond),
      grouped(machine.stranded),
      machine.machine_id,
    ]),
  );
}

/** Of the limit, by all that was spent, within rights or not. */
function share({ spent, overrun, limit }: Budget): string {
  return `${Math.floor((100 * (spent + overrun)) / limit)} %`;
}

/** Nothing for 0. */
function someText(amount: number, text: string): string {
  return amount === 0 ? '' : text.replace('%s', grouped(amount));
}
