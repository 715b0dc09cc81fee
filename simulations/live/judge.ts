/** The end of a live run: all is put right, and what the nodes have then is held against what clients were told. */
import { setTimeout as delay } from 'node:timers/promises';
import { checkLinearizability, describeVerdict } from '../lib/checkers/linearizability.ts';
import { BOARD, PREFIX, type Recorder } from './agents.ts';
import { type Client, RestClient } from './clients.ts';
import { type Holding, leaseViolations } from './holders.ts';
import type { Machine, Machines } from './machines.ts';
import { type Watched, type Watcher, watchViolations } from './watchers.ts';

const CONVERGENCE_MS = 90_000;
const POLL_MS = 100;

interface Voters {
  readonly voters: readonly { readonly nodeId: string; readonly role: string; readonly state: string }[];
  readonly leader: string | null;
}

export async function votersOf({ control }: Machine): Promise<Voters | undefined> {
  const signal = AbortSignal.timeout(2_000);
  return control.call<Voters>('GET', '/v1/voters', { signal }).catch(() => undefined);
}

/** Waits for a condition; throws with what it waited for. */
export async function until(
  what: string,
  condition: () => Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  const endMs = performance.now() + CONVERGENCE_MS;
  while (!(await condition())) {
    signal.throwIfAborted();
    if (performance.now() > endMs) throw new Error(`not within ${CONVERGENCE_MS / 1000} s: ${what}`);
    await delay(POLL_MS, undefined, { signal });
  }
}

/** All nodes see as many voters as are wanted, all of them there, and the same leader. */
export async function isWhole(machines: Machines, wanted: number): Promise<boolean> {
  const views = await Promise.all(machines.all.map(votersOf));
  const leaders = new Set(views.map((view) => view?.leader));
  return (
    leaders.size === 1 &&
    !leaders.has(null) &&
    views.every((view) => view !== undefined && isComplete(view, wanted))
  );
}

function isComplete({ voters }: Voters, wanted: number): boolean {
  const voting = voters.filter(({ role }) => role !== 'learner');
  // A node that lost its disk is alive, but what voted on that disk is not: the node learns until it takes that place.
  const isReplacing = voters.some(
    ({ role, nodeId }) => role === 'learner' && voting.some((voter) => voter.nodeId === nodeId),
  );
  return !isReplacing && voting.length === wanted && voting.every(({ state }) => state === 'alive');
}

/** The board as a node answers it, a line for each entry; `undefined` where it did not answer. */
async function listed(client: Client, level: 'strong' | 'eventual'): Promise<readonly string[] | undefined> {
  const lines: string[] = [];
  let cursor: string | undefined;
  do {
    const page = cursor === undefined ? {} : { cursor };
    const told = await client.call('board_list', {
      board: BOARD,
      prefix: PREFIX,
      level,
      limit: 500,
      ...page,
    });
    if (told.kind !== 'done') return undefined;
    for (const { key, value, revision } of told.value.entries as Record<string, unknown>[])
      lines.push(JSON.stringify([key, value, revision]));
    cursor = told.value.cursor as string | undefined;
  } while (cursor !== undefined);
  return lines;
}

/** Writes the last entry, has every node list strongly into the history, and waits until all copies are equal to it. */
export async function settle(
  machines: Machines,
  recorder: Recorder,
  watchers: readonly Watcher[],
  signal: AbortSignal,
): Promise<void> {
  const clients = machines.all.map(({ control }) => new RestClient(control));
  const end = `${PREFIX}the-end`;
  await until(
    'a write succeeds after the healing',
    async () => {
      const start = recorder.now();
      const told = await (clients[0] as Client).call('board_write', {
        board: BOARD,
        key: end,
        value: `end-${start}`,
      });
      const output = told.kind === 'done' ? { output: { at: told.value.revision as number } } : {};
      recorder.add('end', end, start, told, { kind: 'put', input: { value: `end-${start}` }, ...output });
      return told.kind === 'done';
    },
    signal,
  );
  for (const [place, client] of clients.entries())
    await recordAll(client, `end-${place + 1}`, recorder, signal);
  const strong = await listed(clients[0] as Client, 'strong');
  for (const [place, client] of clients.entries())
    await until(
      `the copy of m${place + 1} equals what is decided`,
      async () => JSON.stringify(await listed(client, 'eventual')) === JSON.stringify(strong),
      signal,
    );
  await until('all watchers saw the end', async () => watchers.every((each) => each.hasSeen(end)), signal);
}

/** A strong list is recorded as a read of every key that the history knows: each has its moment within the call. */
async function recordAll(
  client: Client,
  name: string,
  recorder: Recorder,
  signal: AbortSignal,
): Promise<void> {
  const keys = new Set(recorder.operations.map(({ key }) => key));
  let start = 0;
  let entries: readonly string[] | undefined;
  await until(
    `${name} lists strongly`,
    async () => {
      start = recorder.now();
      entries = await listed(client, 'strong');
      return entries !== undefined;
    },
    signal,
  );
  const found = new Map(
    (entries ?? []).map((line) => {
      const [key, value, revision] = JSON.parse(line) as [string, string, number];
      return [key, { key, value, revision }] as const;
    }),
  );
  const done = { kind: 'done', value: {} } as const;
  for (const key of new Set([...keys, ...found.keys()]))
    recorder.add(name, key, start, done, { kind: 'get', output: { found: found.get(key) ?? null } });
}

/** What is wrong, in words; empty where every promise held. */
export function judge(
  recorder: Recorder,
  watched: readonly Watched[],
  holdings: readonly Holding[],
): readonly string[] {
  const verdict = checkLinearizability(recorder.operations);
  return [
    ...(verdict.kind === 'linearizable' ? [] : [describeVerdict(verdict)]),
    ...watchViolations(watched, recorder.operations),
    ...leaseViolations(holdings),
  ];
}
