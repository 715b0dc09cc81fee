/** Swarms of an even number of nodes, and swarms that were founded apart and meet. */
import { afterAll, expect, it } from 'vitest';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { command, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const world = new WholeNodes('quorum-sizes');
afterAll(() => world.end());

/** Several nodes start at once, and the machine may have other things to do. */
const SLOW = { readyMs: 60_000 };

interface Voters {
  readonly voters: readonly { readonly name: string; readonly role: string; readonly state: string }[];
  readonly storeId: string | null;
  readonly leader: string | null;
}

async function votersOf(on: NodeProcess): Promise<Voters> {
  return (await command(on, 'voters', 'list', '--json')).json as Voters;
}

async function storeOf(on: NodeProcess): Promise<string | undefined> {
  return (await votersOf(on)).storeId ?? undefined;
}

/** Names of those that vote and are there, once there is a leader. */
async function voting(on: NodeProcess): Promise<readonly string[]> {
  const { voters, leader } = await votersOf(on);
  if (leader === null) return [];
  return voters.filter(({ role, state }) => role !== 'learner' && state === 'alive').map(({ name }) => name);
}

function writes(on: NodeProcess, key: string): Promise<true> {
  return eventually(
    `${key} is written`,
    async () => (await command(on, 'board', 'set', 'tasks', key, '1', '--json')).code === 0 || undefined,
    20_000,
  );
}

async function claims(nodes: readonly NodeProcess[], key: string): Promise<readonly number[]> {
  const answers = await Promise.all(
    nodes.map((node) => command(node, 'board', 'cas', 'tasks', key, '1', '--if-revision', '0', '--json')),
  );
  return answers.map(({ code }) => code);
}

it('of two nodes one votes, and both claim against each other; the other may go and come (K46)', {
  timeout: 90_000,
}, async () => {
  const a = await world.start('two-a', SLOW);
  const b = await world.start('two-b', { ...SLOW, peers: [a] });
  await eventually(
    'both carry the store',
    async () => (await storeOf(a)) === (await storeOf(b)) && (await storeOf(b)),
    20_000,
  );
  await writes(b, 'first');
  expect((await claims([a, b], 'task')).toSorted()).toEqual([0, 1]);
  const [voter] = await voting(a);
  expect(await voting(a)).toHaveLength(1);
  const [stays, goes] = voter === 'two-a' ? [a, b] : [b, a];
  await goes.end('SIGKILL');
  await writes(stays, 'alone');
  const back = world.own(await goes.again());
  await eventually(
    'the other reads strongly what was written without it',
    async () => (await command(back, 'board', 'get', 'tasks', 'alone', '--json')).code === 0 || undefined,
    20_000,
  );
});

it('of four nodes three vote; one wins a claim, and with one voter gone all goes on (K46)', {
  timeout: 120_000,
}, async () => {
  const first = await world.start('four-1', SLOW);
  const nodes = [
    first,
    ...(await Promise.all(
      ['four-2', 'four-3', 'four-4'].map((name) => world.start(name, { ...SLOW, peers: [first] })),
    )),
  ];
  await eventually('three vote', async () => (await voting(first)).length === 3 || undefined, 30_000);
  await writes(nodes[3] as NodeProcess, 'first');
  expect((await claims(nodes, 'task')).toSorted()).toEqual([0, 1, 1, 1]);
  const names = await voting(first);
  const gone = nodes.find(({ setting: { name = '' } }) => name !== 'four-1' && names.includes(name));
  await gone?.end('SIGKILL');
  for (const node of nodes.filter((each) => each !== gone)) await writes(node, `by-${node.setting.name}`);
});

it('of two empty stores that meet one goes by itself, and nobody is troubled', {
  timeout: 120_000,
}, async () => {
  const x = await world.start('empty-x', SLOW);
  const y = await world.start('empty-y', SLOW);
  const founded = async (on: NodeProcess) => eventually('it has a store', () => storeOf(on), 20_000);
  expect(await founded(x)).not.toBe(await founded(y));
  await y.end();
  const met = await joined(y, x);
  await eventually('one store', async () => (await storeOf(x)) === (await storeOf(met)) || undefined, 30_000);
  await writes(met, 'of-both');
  const read = await command(x, 'board', 'get', 'tasks', 'of-both', '--json');
  expect([read.code, read.json]).toMatchObject([0, { value: 1 }]);
  for (const node of [x, met])
    expect((await problemsOf(node)).map(({ code }) => code)).not.toContain('TWO_QUORUM_STORES');
});

it('of a store with data and an empty one the data stays, whichever comes to the other', {
  timeout: 120_000,
}, async () => {
  const full = await world.start('full', SLOW);
  const empty = await world.start('bare', SLOW);
  await writes(full, 'kept');
  await eventually('the other has founded too', () => storeOf(empty), 20_000);
  const kept = await storeOf(full);
  await full.end();
  const met = await joined(full, empty);
  await eventually('the empty one went', async () => (await storeOf(empty)) === kept || undefined, 30_000);
  const read = await command(empty, 'board', 'get', 'tasks', 'kept', '--json');
  expect([read.code, read.json]).toMatchObject([0, { value: 1 }]);
  await writes(met, 'more');
});

/** The node again, told of the other. */
async function joined(node: NodeProcess, other: NodeProcess): Promise<NodeProcess> {
  const peer = other.ready.meshAddresses[0] as string;
  return world.own(await node.again({ args: [...(node.setting.args ?? []), '--peer', peer] }));
}
