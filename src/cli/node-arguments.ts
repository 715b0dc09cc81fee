/** What a node says of an argument, in the words of the command line. */
import type { ErrorBody } from '../kernel/errors.ts';

/** As the help of the commands has them. */
const NAMES: Readonly<Record<string, string>> = {
  task_id: 'NAME',
  name: 'NAME',
  board: 'BOARD',
  key: 'KEY',
  value: 'VALUE',
  items: 'ITEMS',
  tokens: 'TOKENS',
  agent_id: 'the name of the agent',
  reservation_id: 'the id of the reservation',
  report_id: '--id',
  usage: '--model, --input, --output or --cached',
  limit: '--limit',
  parent: '--parent',
  prefix: '--prefix',
  cursor: '--cursor',
  thresholds: '--threshold',
  ttl_seconds: '--ttl',
  capabilities: '--capability',
  expected_revision: '--if-revision',
  after_revision: '--after',
};

/** The error of a node about one argument of the call; `undefined` for any other. */
export function wrongArgument({ code, details = {} }: ErrorBody): { readonly message: string } | undefined {
  const { argument, problem } = details;
  if (code !== 'INVALID_ARGUMENT' || typeof argument !== 'string' || typeof problem !== 'string')
    return undefined;
  const [name = ''] = argument.split('.', 1);
  return { message: `${NAMES[name] ?? argument} ${problem}.` };
}
