/** A swarm in which every node was told of others, as in `configs/wan.yaml`. */
import { afterAll, expect, it } from 'vitest';
import { eventually } from '../support/node-process.ts';
import { command, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const world = new WholeNodes('quorum-founding');
afterAll(() => world.end());

const SOON = ['--quorum-found-after', '1s'];
const NOBODY = '/ip4/127.0.0.1/tcp/9';

it('where all were given peers none founds a quorum store; doctor says what to do, and that does it', {
  timeout: 120_000,
}, async () => {
  const a = await world.start('a', { flags: [...SOON, '--peer', NOBODY], readyMs: 60_000 });
  const b = await world.start('b', { flags: SOON, peers: [a], readyMs: 60_000 });
  for (const node of [a, b]) {
    const problem = await eventually(
      'the lack is noticed',
      async () => (await problemsOf(node)).find(({ code }) => code === 'NO_QUORUM_STORE'),
      40_000,
    );
    expect(problem.hint).toMatch(/skein voters found/);
  }
  expect((await command(b, 'board', 'set', 'tasks', 'k', '1')).code).toBe(4);

  const port = /tcp\/(\d+)/.exec(a.ready.meshAddresses[0] ?? '')?.[1] ?? '';
  await a.end('SIGTERM');
  const founder = await world.start('a', { flags: [...SOON, '--mesh-port', port], readyMs: 60_000 });
  await eventually(
    'the other takes part',
    async () => (await command(b, 'board', 'set', 'tasks', 'k', '1')).code === 0 || undefined,
    40_000,
  );
  for (const node of [founder, b])
    expect((await problemsOf(node)).map(({ code }) => code)).not.toContain('NO_QUORUM_STORE');
});

it('skein voters found begins a store on one of them, which the others join; there is no second', {
  timeout: 120_000,
}, async () => {
  const c = await world.start('c', { flags: [...SOON, '--peer', NOBODY], readyMs: 60_000 });
  const d = await world.start('d', { flags: SOON, peers: [c], readyMs: 60_000 });
  const { code, json } = await command(c, 'voters', 'found', '--json');
  expect(code).toBe(0);
  const { storeId } = json as { readonly storeId: string };
  await eventually(
    'the other takes part',
    async () => (await command(d, 'board', 'set', 'tasks', 'k', '1')).code === 0 || undefined,
    40_000,
  );
  expect((await command(d, 'voters', 'list', '--json')).json).toMatchObject({ storeId });
  for (const node of [c, d]) {
    const { code: refused, error } = await command(node, 'voters', 'found');
    expect(refused).toBe(1);
    expect(error).toMatch(/carries a store already/);
  }
});
