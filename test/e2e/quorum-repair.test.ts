/** What a person does when a majority is lost for good, and when two stores meet. */
import { readFileSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { command, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const world = new WholeNodes('quorum-repair');
afterAll(() => world.end());

async function written(on: NodeProcess, key: string, value: string): Promise<void> {
  await eventually(
    `${key} is written`,
    async () => (await command(on, 'board', 'set', 'tasks', key, value, '--json')).code === 0 || undefined,
    20_000,
  );
}

async function voters(on: NodeProcess) {
  const { json } = await command(on, 'voters', 'list', '--json');
  return json as { voters: { name: string; role: string; nodeId: string }[]; storeId: string | null };
}

async function reads(on: NodeProcess, key: string): Promise<unknown> {
  const { code, json } = await command(on, 'board', 'get', 'tasks', key, '--json');
  return code === 0 ? (json as { value: unknown }).value : undefined;
}

it('a node goes on alone after its voters are lost for good, and only when that is confirmed', {
  timeout: 90_000,
}, async () => {
  const a = await world.start('a');
  const b = await world.start('b', { peers: [a] });
  const c = await world.start('c', { peers: [a] });
  await written(a, 'kept', 'before');
  await eventually(
    'three voters',
    async () => (await voters(a)).voters.filter(({ role }) => role !== 'learner').length === 3 || undefined,
    25_000,
  );
  const { json } = await command(a, 'board', 'get', 'tasks', 'kept', '--json');
  const { session } = json as { session: string };
  await b.end('SIGKILL');
  await c.end('SIGKILL');
  await eventually(
    'the loss is noticed',
    async () => (await problemsOf(a)).some(({ code }) => code === 'QUORUM_LOST') || undefined,
  );
  const unconfirmed = await command(a, 'voters', 'recover', '--json');
  expect([unconfirmed.code, unconfirmed.json]).toMatchObject([2, { error: { code: 'INVALID_ARGUMENT' } }]);
  const { storeId } = await voters(a);
  await eventually(
    'it has no leader any more',
    async () =>
      (await command(a, 'voters', 'recover', '--confirm', storeId as string, '--json')).code === 0 ||
      undefined,
  );
  expect(await reads(a, 'kept')).toBe('before');
  await written(a, 'kept', 'after');
  expect((await voters(a)).storeId).not.toBe(storeId);
  const old = await command(a, 'board', 'get', 'tasks', 'kept', '--session', session, '--json');
  expect(old.json).toMatchObject({ error: { code: 'SESSION_NOT_SATISFIED' } });
  expect((await problemsOf(a)).map(({ code }) => code)).not.toContain('QUORUM_LOST');
});

it('two stores with data touch nothing, say so, and are merged by a person', {
  timeout: 90_000,
}, async () => {
  const x = await world.start('x');
  const first = await world.start('y');
  await written(x, 'of-x', 'x');
  await written(first, 'of-y', 'y');
  await first.end();
  const y = world.own(
    await first.again({
      args: [...(first.setting.args ?? []), '--peer', x.ready.meshAddresses[0] as string],
    }),
  );
  const problem = await eventually(
    'both notice',
    async () => {
      const found = await Promise.all([problemsOf(x), problemsOf(y)]);
      const both = found.every((problems) => problems.some(({ code }) => code === 'TWO_QUORUM_STORES'));
      return both ? found[0].find(({ code }) => code === 'TWO_QUORUM_STORES') : undefined;
    },
    20_000,
  );
  const [keep, given] = [(await voters(x)).storeId as string, (await voters(y)).storeId as string];
  expect(problem.hint).toContain(`--keep ${given}`);
  expect(await reads(x, 'of-x')).toBe('x');
  expect(await reads(y, 'of-y')).toBe('y');
  const wrong = await command(x, 'voters', 'merge', '--keep', keep, '--json');
  expect([wrong.code, wrong.json]).toMatchObject([1, { error: { code: 'CONFLICT' } }]);
  const merged = await command(y, 'voters', 'merge', '--keep', keep, '--export', world.path(), '--json');
  expect([merged.code, merged.error]).toEqual([0, '']);
  const file = world.path(`tasks-${given}.json`);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ entries: [{ key: 'of-y', value: 'y' }] });
  await eventually(
    'y carries the store of x',
    async () => (await reads(y, 'of-x')) === 'x' || undefined,
    20_000,
  );
  expect(await reads(y, 'of-y')).toBeUndefined();
  const imported = await command(y, 'board', 'import', 'tasks', file, '--json');
  expect(imported.code).toBe(0);
  expect(await reads(x, 'of-y')).toBe('y');
  expect((await problemsOf(x)).map(({ code }) => code)).not.toContain('TWO_QUORUM_STORES');
});
