import { Command, Option } from 'commander';
import { SkeinError } from '../../kernel/errors.ts';
import {
  amountText,
  type Budget,
  budgetPath,
  grouped,
  neededAmount,
  type SpendFlags,
  spendingBody,
  withSpending,
} from '../budget-api.ts';
import { type NodeFlags, type NodeSession, onNode, refuse, wholeNumber, withNode } from '../context.ts';
import type { Io } from '../io.ts';
import { printable } from '../text.ts';
import { limitCommand, rebalanceCommand, transferCommand, writeOffCommand } from './budget-operator.ts';
import { showBudget, statusCommand } from './budget-status.ts';

interface CreateFlags extends NodeFlags {
  readonly limit: number;
  readonly unit?: string;
  readonly parent?: string;
  readonly window?: string;
  readonly expiry?: string;
  readonly threshold?: readonly number[];
}
interface RequestFlags extends NodeFlags {
  readonly tokens?: number;
}
interface AgentFlags extends SpendFlags {
  readonly agent?: string;
  readonly id?: string;
}
interface ReserveFlags extends AgentFlags {
  readonly ttl?: number;
}

export function budgetCommand(io: Io): Command {
  const command = new Command('budget');
  for (const make of [
    createCommand,
    statusCommand,
    requestCommand,
    reserveCommand,
    settleCommand,
    reportCommand,
    limitCommand,
    transferCommand,
    rebalanceCommand,
    writeOffCommand,
  ])
    command.addCommand(make(io));
  return command;
}

function createCommand(io: Io): Command {
  const percent = wholeNumber(1, 100);
  return withNode(new Command('create'), io)
    .description('create a limit that the whole swarm shares and never exceeds')
    .argument('<name>', 'the task id by which agents spend from it')
    .requiredOption('--limit <n>', 'most that may be spent, or in each period of the window', amountText(1))
    .addOption(
      new Option('--unit <unit>', 'what is counted (default tokens)').choices(['tokens', 'microusd']),
    )
    .option('--parent <name>', 'budget in which all of this counts too')
    .addOption(
      new Option('--window <window>', 'begin anew every hour, day or month in UTC (default none)').choices([
        'none',
        'hour',
        'day',
        'month',
      ]),
    )
    .addOption(
      new Option('--expiry <what>', 'count unsettled reservations as spent, or free them').choices([
        'charge',
        'free',
      ]),
    )
    .option(
      '--threshold <percent>',
      'tell when so much is spent; may be repeated, ascending',
      (text: string, before: readonly number[] = []) => [...before, percent(text)],
    )
    .action(
      onNode(io, async (session: NodeSession<CreateFlags>, name: string) => {
        const { limit, unit, parent, window, expiry, threshold } = session.flags;
        const body = { task_id: name, limit, unit, parent, window, expiry, thresholds: threshold };
        await showBudget(session, await session.client.call<Budget>('POST', '/v1/budgets', { body }));
        session.out.note(printable(`Spend from it: skein budget reserve ${name} AMOUNT`));
      }),
    );
}

function requestCommand(io: Io): Command {
  return withNode(new Command('request'), io)
    .description('bring rights to this node, so that it can spend them even when cut off')
    .argument('<name>')
    .argument('[tokens]', "amount in the budget's unit", amountText(1))
    .option('--tokens <n>', 'the same as a flag', amountText(1))
    .action(
      onNode(io, async (session: NodeSession<RequestFlags>, name: string, given: number | undefined) => {
        const { client, flags, out } = session;
        const body = { tokens: neededAmount(given, flags.tokens) };
        const path = budgetPath(name, '/requests');
        const answer = await client
          .call<{ granted: number; rights: number }>('POST', path, { body })
          .catch((error: unknown) => refused(session, error));
        await out.result(answer, () => `${grouped(answer.granted)} granted`);
        out.note(`This node now has rights to ${grouped(answer.rights)}.`);
      }),
    );
}

function withAgent(command: Command, about: string): Command {
  return command
    .option('--agent <name>', 'agent that spends')
    .option('--id <id>', `${about}; under the same one it counts once`);
}

function reserveCommand(io: Io): Command {
  return withAgent(
    withSpending(withNode(new Command('reserve'), io).argument('<name>'), 1),
    'id of the reservation',
  )
    .description('reserve before you spend; prints the id of the reservation')
    .option('--ttl <seconds>', 'time to settle it (default 600)', wholeNumber(1, 24 * 3600))
    .action(
      onNode(io, async (session: NodeSession<ReserveFlags>, name: string, given: number | undefined) => {
        const { client, flags, out } = session;
        const body = {
          ...spendingBody(given, flags),
          ttl_seconds: flags.ttl,
          agent_id: flags.agent,
          reservation_id: flags.id,
        };
        const path = budgetPath(name, '/reservations');
        const answer = await client
          .call<{ reservation_id: string; tokens: number; expiresAt: string }>('POST', path, { body })
          .catch((error: unknown) => refused(session, error));
        await out.result(answer, () => printable(answer.reservation_id));
        out.note(
          printable(
            `${grouped(answer.tokens)} reserved until ${answer.expiresAt}; then settle: skein budget settle ${answer.reservation_id} AMOUNT`,
          ),
        );
      }),
    );
}

/** For lack of money: with where something is left, and when to try again, as far as the error knows. */
function refused({ out }: NodeSession<NodeFlags>, error: unknown): Promise<never> {
  if (!(error instanceof SkeinError) || error.body.code !== 'BUDGET_EXHAUSTED') throw error;
  const { details = {}, retryAfterMs } = error.body;
  const machines = Array.isArray(details.machines) ? (details.machines as readonly unknown[]) : [];
  const places = machines.flatMap((machine) => {
    const { name, rights } = machine as { readonly name?: unknown; readonly rights?: unknown };
    return typeof name === 'string' && typeof rights === 'number' ? [`${grouped(rights)} on ${name}`] : [];
  });
  if (typeof details.reserve === 'number' && details.reserve > 0)
    places.push(`${grouped(details.reserve)} in the reserve`);
  return refuse(out, error, [
    ...(places.length > 0 ? [`Left: ${places.join(', ')}.`] : []),
    ...(retryAfterMs === undefined ? [] : [`Worth another try in ${Math.ceil(retryAfterMs / 1_000)} s.`]),
  ]);
}

function settleCommand(io: Io): Command {
  return withSpending(
    withNode(new Command('settle'), io).argument('<reservation>', 'id that reserve printed'),
    0,
  )
    .description('say what was really spent of a reservation; the rest is freed; safe to repeat')
    .action(
      onNode(
        io,
        async ({ client, flags, out }: NodeSession<SpendFlags>, id: string, given: number | undefined) => {
          const answer = await client.call<{
            tokens: number;
            freed: number;
            overrun: number;
            ending: string;
          }>('POST', `/v1/reservations/${encodeURIComponent(id)}/settle`, {
            body: spendingBody(given, flags),
          });
          await out.result(answer, () => `${grouped(answer.tokens)} spent, ${grouped(answer.freed)} freed`);
          if (answer.ending !== 'settled')
            out.note(
              `Its time had run out before: it was ${answer.ending} then. Reserve with a longer --ttl.`,
            );
          tellOverrun(out, answer.overrun);
        },
      ),
    );
}

function reportCommand(io: Io): Command {
  return withAgent(
    withSpending(withNode(new Command('report'), io).argument('<name>'), 1),
    'id of the report',
  )
    .description('count spending that happened without a reservation')
    .action(
      onNode(
        io,
        async ({ client, flags, out }: NodeSession<AgentFlags>, name: string, given: number | undefined) => {
          const body = { ...spendingBody(given, flags), agent_id: flags.agent, report_id: flags.id };
          const path = budgetPath(name, '/reports');
          const answer = await client.call<{ report_id: string; tokens: number; overrun: number }>(
            'POST',
            path,
            { body },
          );
          await out.result(answer, () => `${grouped(answer.tokens)} counted`);
          tellOverrun(out, answer.overrun);
        },
      ),
    );
}

function tellOverrun(out: NodeSession<NodeFlags>['out'], overrun: number): void {
  if (overrun === 0) return;
  out.note(
    `${grouped(overrun)} of it exceeded the rights and is the agent's debt: it may spend again once that is paid.`,
  );
}
