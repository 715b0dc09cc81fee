/**
 * What operators do to budgets. These are checked like tools and no tools of agents: HTTP and the command line offer them, to who
 * is on the machine of a node.
 */
import { z } from 'zod';
import type { Budgets, MachineShare } from '../budget/api.ts';
import { parseAccountId } from '../budget/names.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type NodeId, parseNodeId } from '../kernel/ids.ts';
import type { MeshView } from '../mesh/view.ts';
import { amount, askBudgets, noBudgets, taskId } from './budget-arguments.ts';
import { budgetResult } from './budget-results.ts';
import type { NodeFaces } from './faces.ts';
import type { Principal } from './principal.ts';
import { defineTool, type Tool } from './tool.ts';

const machine = z.string().min(1).max(256);

export function budgetOperations(faces: NodeFaces): ReadonlyMap<string, Tool> {
  const operations = [changeLimit(faces), transfer(faces), writeOff(faces), rebalance(faces)];
  return new Map(operations.map((operation) => [operation.name, operation]));
}

/** They are in no list of tools. */
const UNLISTED = { description: '', effect: 'write', idempotent: false, output: {} } as const;

function changeLimit(faces: NodeFaces): Tool {
  return defineTool(
    {
      ...UNLISTED,
      name: 'budget_limit',
      title: 'Change a limit',
      input: { task_id: taskId, limit: amount(1) },
      async run({ task_id, limit }, { principal, signal }) {
        const refused = refusal(principal);
        return refused ?? askBudgets(faces, { op: 'setLimit', budget: task_id, limit }, signal, budgetResult);
      },
    },
    faces,
  );
}

function transfer(faces: NodeFaces): Tool {
  return defineTool(
    {
      ...UNLISTED,
      name: 'budget_transfer',
      title: 'Pass rights to another machine',
      input: { task_id: taskId, to: machine, tokens: amount(1) },
      async run({ task_id, to, tokens }, { principal, signal }) {
        const refused = refusal(principal);
        if (refused !== undefined) return refused;
        const node = nodeNamed(faces.mesh, to);
        if (!node.ok) return node;
        return askBudgets(
          faces,
          { op: 'transfer', budget: task_id, to: node.value, amount: tokens },
          signal,
          (answer) => ({ ...answer, machine_id: node.value }),
        );
      },
    },
    faces,
  );
}

function writeOff(faces: NodeFaces): Tool {
  return defineTool(
    {
      ...UNLISTED,
      name: 'budget_write_off',
      title: 'Write off what a lost machine had',
      input: { task_id: taskId, account: machine },
      async run({ task_id, account }, { principal, signal }) {
        const refused = refusal(principal);
        if (refused !== undefined) return refused;
        if (faces.budgets === undefined) return noBudgets();
        const known = accountNamed(faces.budgets, task_id, account);
        if (!known.ok) return known;
        return askBudgets(
          faces,
          { op: 'writeOff', budget: task_id, account: known.value },
          signal,
          (answer, budgets) => ({
            ...answer,
            account: known.value,
            alsoStranded: alsoStranded(budgets, task_id, known.value),
          }),
        );
      },
    },
    faces,
  );
}

/** Budgets, but for this one, of which nobody can reach what the machine, or that of the account, had. */
function alsoStranded(budgets: Budgets, budget: string, account: string): readonly string[] {
  const isOf = ({ nodeId, accounts }: MachineShare) => nodeId === account || accounts.includes(account);
  return budgets
    .list()
    .filter((status) => status.budget !== budget)
    .filter(({ machines }) => machines.some((machine) => machine.stranded > 0 && isOf(machine)))
    .map((status) => status.budget);
}

function rebalance(faces: NodeFaces): Tool {
  return defineTool(
    {
      ...UNLISTED,
      name: 'budget_rebalance',
      title: 'Even out the rights now',
      input: { task_id: taskId },
      async run({ task_id }, { principal, signal }) {
        const refused = refusal(principal);
        return (
          refused ??
          askBudgets(faces, { op: 'rebalance', budget: task_id }, signal, (answer) => ({ ...answer }))
        );
      },
    },
    faces,
  );
}

function refusal(principal: Principal): Result<never> | undefined {
  if (principal.zone === 'local') return undefined;
  return failWith(
    'DENIED',
    'Only an operator on the machine of a node may change a limit, move rights or write them off.',
    'Run skein budget on that machine.',
  );
}

/** By its id, or by a name that one member alone has. */
function nodeNamed(mesh: MeshView, text: string): Result<NodeId> {
  const id = parseNodeId(text);
  if (id !== undefined) return ok(id);
  const [peer, ...others] = mesh.peers().filter(({ name }) => name === text);
  if (peer !== undefined && others.length === 0) return ok(peer.nodeId);
  return failWith(
    peer === undefined ? 'NOT_FOUND' : 'CONFLICT',
    `${peer === undefined ? 'No member is' : 'Several members are'} called ${JSON.stringify(text)}.`,
    'skein peers --json lists them with their ids.',
  );
}

/** An account or a node as it is, or the node that has this name in the status of the budget: it may have left the mesh. */
function accountNamed(budgets: Budgets, budget: string, text: string): Result<string> {
  if (parseAccountId(text) !== undefined || parseNodeId(text) !== undefined) return ok(text);
  const status = budgets.status(budget);
  if (!status.ok) return status;
  const [share, ...others] = status.value.machines.filter(({ name }) => name === text);
  if (share !== undefined && others.length === 0) return ok(share.nodeId);
  return failWith(
    share === undefined ? 'NOT_FOUND' : 'CONFLICT',
    `${share === undefined ? 'No machine' : 'More than one machine'} with a part of this budget is called ${JSON.stringify(text)}.`,
    'skein budget status TASK_ID --json lists them with their ids and accounts.',
  );
}
