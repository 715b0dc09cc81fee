/** Tools of budgets. */
import { z } from 'zod';
import type { CreateBudget } from '../budget/api.ts';
import { EXPIRIES, UNITS } from '../budget/definition.ts';
import { WINDOWS } from '../budget/period.ts';
import { ok } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import { agentId, integer, list, text, textOrNull } from './board-arguments.ts';
import {
  amount,
  askBudgets,
  noBudgets,
  requestId,
  spendingOf,
  spentTokens,
  taskId,
  usage,
  usageExplained,
} from './budget-arguments.ts';
import { budgetListing, budgetResult, isoTime } from './budget-results.ts';
import type { NodeFaces } from './faces.ts';
import { actingAgent } from './principal.ts';
import { defineTool, type JsonSchema, type Tool } from './tool.ts';

/** What of a budget the schemas name; the results say more. */
const budget: Readonly<Record<string, JsonSchema>> = {
  task_id: text,
  limit: integer,
  reserve: integer,
  allocated: integer,
  held: integer,
  spent: integer,
  remaining: integer,
  machines: list,
};

export function budgetTools(faces: NodeFaces): Tool[] {
  return [
    budgetCreate(faces),
    budgetRequest(faces),
    budgetReserve(faces),
    budgetSettle(faces),
    budgetReport(faces),
    budgetStatus(faces),
  ];
}

function budgetCreate(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'budget_create',
      title: 'Create a budget',
      description:
        'Create a limit that the whole swarm shares and never exceeds. What is spent counts in the parent too; a window gives each hour, day or month (UTC) a limit of its own.',
      effect: 'add',
      idempotent: false,
      input: {
        task_id: taskId,
        limit: amount(1),
        unit: z.enum(UNITS).optional(),
        parent: taskId.optional(),
        window: z.enum(WINDOWS).optional(),
        expiry: z
          .enum(EXPIRIES)
          .optional()
          .describe('What becomes of reservations that nobody settled: spent, or given back.'),
        thresholds: z
          .array(z.number())
          .max(16)
          .optional()
          .describe('Percentages of the limit to be told of, ascending.'),
      },
      output: { task_id: text, limit: integer },
      run: (input, { signal }) => {
        const { task_id, limit, unit, parent, window, expiry, thresholds } = input;
        const call: CreateBudget = {
          op: 'create',
          budget: task_id,
          limit,
          ...(unit === undefined ? {} : { unit }),
          ...(parent === undefined ? {} : { parent }),
          ...(window === undefined ? {} : { window }),
          ...(expiry === undefined ? {} : { expiry }),
          ...(thresholds === undefined ? {} : { thresholds }),
        };
        return askBudgets(faces, call, signal, budgetResult);
      },
    },
    faces,
  );
}

function budgetRequest(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'budget_request',
      title: 'Bring budget to this machine',
      description:
        'Bring rights to spend to this machine, so that budget_reserve needs no network, even when cut off. Not needed otherwise. granted may be less than asked for.',
      effect: 'add',
      idempotent: false,
      input: { task_id: taskId, tokens: amount(1) },
      output: { granted: integer, rights: integer },
      run: ({ task_id, tokens }, { signal }) =>
        askBudgets(faces, { op: 'request', budget: task_id, amount: tokens }, signal, (answer) => ({
          ...answer,
        })),
    },
    faces,
  );
}

function budgetReserve(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'budget_reserve',
      title: 'Reserve budget',
      description:
        'Reserve before you spend, such as before a call to a model, as much as it may cost at most; then budget_settle. BUDGET_EXHAUSTED says what is left and when to try again. An unsettled reservation is charged when its time is up.',
      effect: 'add',
      idempotent: false,
      input: {
        task_id: taskId,
        tokens: spentTokens.describe('In the unit of the budget.'),
        usage: usageExplained,
        ttl_seconds: z
          .int()
          .min(1)
          .max(limits.budgetTtlMs / 1_000)
          .optional(),
        reservation_id: requestId.optional().describe('Your own, unique: a retry under it reserves once.'),
        agent_id: agentId,
      },
      output: { reservation_id: text, tokens: integer, expiresAt: textOrNull },
      run: (input, { principal, signal }) => {
        const spent = spendingOf(input);
        if (!spent.ok) return spent;
        const agent = actingAgent(principal, input.agent_id);
        if (!agent.ok) return agent;
        const { task_id, reservation_id, ttl_seconds } = input;
        return askBudgets(
          faces,
          {
            op: 'reserve',
            budget: task_id,
            agent: agent.value,
            ...spent.value,
            ...(reservation_id === undefined ? {} : { id: reservation_id }),
            ...(ttl_seconds === undefined ? {} : { ttlMs: ttl_seconds * 1_000 }),
          },
          signal,
          (answer) => ({
            reservation_id: answer.reservationId,
            tokens: answer.amount,
            expiresAt: isoTime(answer.expiresAt),
          }),
        );
      },
    },
    faces,
  );
}

function budgetSettle(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'budget_settle',
      title: 'Settle a reservation',
      description:
        'Say what was really spent of a reservation, 0 for nothing; the rest is freed. What exceeds it is taken from what is left, or is your debt (overrun). Safe to repeat.',
      effect: 'add',
      idempotent: true,
      input: { reservation_id: requestId, tokens: amount(0).optional(), usage },
      output: { reservation_id: text, tokens: integer, freed: integer, overrun: integer, ending: text },
      run: (input, { signal }) => {
        const spent = spendingOf(input);
        if (!spent.ok) return spent;
        return askBudgets(
          faces,
          { op: 'settle', id: input.reservation_id, ...spent.value },
          signal,
          ({ reservationId, amount: tokens, ...answer }) => ({
            reservation_id: reservationId,
            tokens,
            ...answer,
          }),
        );
      },
    },
    faces,
  );
}

function budgetReport(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'budget_report',
      title: 'Report spending',
      description:
        'Count spending that happened without a reservation. It is never refused for lack of money: what exceeds it is your debt (overrun).',
      effect: 'add',
      idempotent: false,
      input: {
        task_id: taskId,
        tokens: spentTokens,
        usage,
        report_id: requestId.optional().describe('Your own, unique: a retry under it counts once.'),
        agent_id: agentId,
      },
      output: { report_id: text, tokens: integer, overrun: integer },
      run: (input, { principal, signal }) => {
        const spent = spendingOf(input);
        if (!spent.ok) return spent;
        const agent = actingAgent(principal, input.agent_id);
        if (!agent.ok) return agent;
        const { task_id, report_id } = input;
        return askBudgets(
          faces,
          {
            op: 'report',
            budget: task_id,
            agent: agent.value,
            ...spent.value,
            ...(report_id === undefined ? {} : { id: report_id }),
          },
          signal,
          ({ id, amount: tokens, overrun }) => ({ report_id: id, tokens, overrun }),
        );
      },
    },
    faces,
  );
}

function budgetStatus(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'budget_status',
      title: 'Show budgets',
      description:
        'Show a budget: what is allocated, held and spent by machine, what remains (of a part: no more than its parents have), how fast it burns and when it will end. asOf is how old the news of others may be, if no frames are lost; each machine has its own, which is certain. Without task_id all budgets.',
      effect: 'read',
      idempotent: true,
      input: {
        task_id: taskId.optional(),
        limit: z.int().min(1).max(limits.listPage).optional(),
        cursor: z.string().optional(),
      },
      output: { ...budget, budgets: list, cursor: text },
      always: ['task_id'],
      orAlways: ['budgets'],
      run({ task_id, ...page }) {
        const { budgets } = faces;
        if (budgets === undefined) return noBudgets();
        if (task_id === undefined) return budgetListing(budgets, page);
        const status = budgets.status(task_id);
        return status.ok ? ok(budgetResult(status.value)) : status;
      },
    },
    faces,
  );
}
