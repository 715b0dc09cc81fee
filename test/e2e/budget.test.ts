/** One limit on three machines: through real MCP clients of both eras, the command line, HTTP and the library. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/adapters/node/log.ts';
import { configWith, type RunningNode, startNode } from '../../src/index.ts';
import type { CallOutcome, TestClient } from '../support/mcp-clients.ts';
import { eventually, type NodeProcess, SECRET } from '../support/node-process.ts';
import { jsonRequest } from '../support/raw-http.ts';
import { command, controlOf, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const world = new WholeNodes('budget');
let nodes: readonly [NodeProcess, NodeProcess, NodeProcess];
/** v1 and v2 clients, of both eras. */
let clients: readonly [TestClient, TestClient, TestClient];
let library: RunningNode;

beforeAll(async () => {
  mkdirSync(world.path(), { recursive: true });
  const file = world.path('prices.yaml');
  writeFileSync(
    file,
    'budgets:\n  prices:\n    model-1: { input: 3000000, output: 15000000, cached: 300000 }\n',
  );
  const flags = ['--config', file];
  const a = await world.start('a', { flags });
  const [b, c] = await Promise.all([
    world.start('b', { peers: [a], flags }),
    world.start('c', { peers: [a], flags }),
  ]);
  nodes = [a, b, c];
  clients = [
    await world.client(a, 'v1 (2025-11-25)'),
    await world.client(b, 'v2 (2026-07-28)'),
    await world.client(c, 'v2 (2025-11-25)'),
  ];
  library = await startNode(
    configWith({
      node: { name: 'library', data: world.path('library'), roles: ['observer'] },
      swarm: { secret: SECRET },
      mesh: {
        listen: ['127.0.0.1'],
        port: 0,
        mdns: false,
        peers: [a.ready.meshAddresses[0] as string],
      },
      http: { enabled: false },
    }),
    { logger: createLogger({ level: 'error', base: {} }) },
  );
  await eventually('three members are three voters', threeVoters, 25_000);
}, 60_000);
afterAll(async () => {
  await library?.stop();
  await world.end();
});

async function threeVoters(): Promise<true | undefined> {
  for (const client of clients) {
    const { voters, leader } = (await client.call('mesh_status')).structured as {
      voters: unknown[];
      leader: string | null;
    };
    if (voters.length !== 3 || leader === null) return undefined;
  }
  return true;
}

interface Failed {
  readonly code: string;
  readonly hint: string;
  readonly retryAfterMs?: number;
  readonly details?: Readonly<Record<string, unknown>>;
}
const errorOf = ({ structured }: CallOutcome) => structured.error as Failed;

/** Known on every machine, so that each may spend from it at once. */
async function create(task_id: string, terms: Readonly<Record<string, unknown>>): Promise<void> {
  const created = await clients[0].call('budget_create', { task_id, ...terms });
  expect(created.structured).toMatchObject({ task_id, limit: terms.limit });
  await eventually(`${task_id} is known everywhere`, async () => {
    for (const client of clients)
      if ((await client.call('budget_status', { task_id })).isError) return undefined;
    return library.budgets.status(task_id).ok ? true : undefined;
  });
}

const statusOf = async (client: TestClient, task_id: string) =>
  (await client.call('budget_status', { task_id })).structured as {
    limit: number;
    spent: number;
    overrun: number;
    held: number;
    reserve: number;
    remaining: number;
    debts: { agent_id: string; tokens: number }[];
    machines: {
      name: string;
      spent: number;
      overrun: number;
      rights: number;
      stranded: number;
      state: string;
    }[];
    thresholdsPassed: number[];
    problems: string[];
  };

const json = async (on: NodeProcess, ...argv: string[]) => {
  const { code, json } = await command(on, 'budget', ...argv, '--json');
  return { code, body: json as Record<string, unknown> & { error?: Failed } };
};

/** On another machine than the first. */
async function settleElsewhere(
  way: 'MCP' | 'HTTP' | 'the command line',
  reservation_id: string,
  tokens: number,
): Promise<unknown> {
  const [, b] = nodes;
  if (way === 'MCP') return (await clients[1].call('budget_settle', { reservation_id, tokens })).structured;
  if (way === 'the command line') return (await json(b, 'settle', reservation_id, String(tokens))).body;
  const path = `/v1/reservations/${encodeURIComponent(reservation_id)}/settle`;
  return (await jsonRequest(controlOf(b), 'POST', path, { tokens })).json;
}

describe('a budget on three machines', { timeout: 60_000 }, () => {
  it('agents that spend as fast as they can on all of them get all of it, and never more', async () => {
    await create('race', { limit: 10_000 });
    const served = await Promise.all(
      clients.flatMap((client, machine) =>
        Array.from({ length: 4 }, async (_, agent) => {
          let tokens = 0;
          for (;;) {
            const reserved = await client.call('budget_reserve', {
              task_id: 'race',
              tokens: 97,
              agent_id: `agent-${machine}-${agent}`,
            });
            if (reserved.isError) {
              expect(errorOf(reserved).code).toBe('BUDGET_EXHAUSTED');
              return tokens;
            }
            const { reservation_id } = reserved.structured;
            const settled = await client.call('budget_settle', { reservation_id, tokens: 97 });
            expect(settled.structured).toMatchObject({ tokens: 97, overrun: 0, ending: 'settled' });
            tokens += 97;
          }
        }),
      ),
    );
    const total = served.reduce((sum, tokens) => sum + tokens, 0);
    expect(total).toBeLessThanOrEqual(10_000);
    // Less than one reservation may be left on each machine.
    expect(total).toBeGreaterThan(10_000 - 97 * (clients.length + 1));
    const seen = await eventually('every machine knows what was spent', async () => {
      const all = await Promise.all(clients.map((client) => statusOf(client, 'race')));
      return all.every(({ spent, held }) => spent === total && held === 0) ? all : undefined;
    });
    for (const { machines, problems, limit, remaining } of seen) {
      expect(machines.reduce((sum, { spent }) => sum + spent, 0)).toBe(total);
      expect(limit - remaining).toBe(total);
      expect(problems).toEqual([]);
    }
  });

  it('a refusal says how much is left, where, and when to try again', async () => {
    await create('small', { limit: 100 });
    const refused = await clients[1].call('budget_reserve', { task_id: 'small', tokens: 101 });
    expect(refused.isError).toBe(true);
    const error = errorOf(refused);
    expect(error).toMatchObject({ code: 'BUDGET_EXHAUSTED', details: { outcome: 'not-done' } });
    expect(JSON.stringify(error)).toContain('100');
    expect(error.hint.length).toBeGreaterThan(10);
  });

  it('a repeated call reserves, settles and reports once (B21)', async () => {
    await create('twice', { limit: 1_000 });
    const [client] = clients;
    const reserve = { task_id: 'twice', tokens: 100, reservation_id: 'my-own' };
    const first = await client.call('budget_reserve', reserve);
    expect((await client.call('budget_reserve', reserve)).structured).toEqual(first.structured);
    const other = await client.call('budget_reserve', { ...reserve, tokens: 101 });
    expect(errorOf(other).code).toBe('CONFLICT');
    const { reservation_id } = first.structured;
    const settle = { reservation_id, tokens: 60 };
    const settled = await client.call('budget_settle', settle);
    expect(settled.structured).toMatchObject({ tokens: 60, freed: 40, overrun: 0 });
    expect((await client.call('budget_settle', settle)).structured).toEqual(settled.structured);
    expect(errorOf(await client.call('budget_settle', { ...settle, tokens: 61 })).code).toBe('CONFLICT');
    await client.call('budget_request', { task_id: 'twice', tokens: 50 });
    const report = { task_id: 'twice', tokens: 30, report_id: 'my-report' };
    for (let time = 0; time < 3; time++)
      expect((await client.call('budget_report', report)).structured).toMatchObject({ tokens: 30 });
    expect(await statusOf(client, 'twice')).toMatchObject({ spent: 90, held: 0 });
  });

  it('spending without a reservation is paid out of what the budget has left; only what exceeds that is a debt (B20)', async () => {
    await create('reported', { limit: 1_000 });
    const [client, other] = clients;
    const report = (tokens: number) =>
      client.call('budget_report', { task_id: 'reported', tokens, agent_id: 'spender' });
    expect((await report(300)).structured).toMatchObject({ tokens: 300, overrun: 0 });
    const reserve = { task_id: 'reported', tokens: 100, agent_id: 'spender' };
    const reserved = await client.call('budget_reserve', reserve);
    expect(reserved.isError).toBe(false);
    expect((await report(900)).structured).toMatchObject({ tokens: 900, overrun: 300 });
    expect(errorOf(await client.call('budget_reserve', reserve))).toMatchObject({ code: 'DENIED' });
    await eventually('all know that everything is spent', async () => {
      const { spent, overrun, remaining } = await statusOf(other, 'reported');
      return spent + overrun === 1_200 && remaining === 0 ? true : undefined;
    });
    const refused = await other.call('budget_reserve', { task_id: 'reported', tokens: 1 });
    expect(errorOf(refused).code).toBe('BUDGET_EXHAUSTED');
  });

  it('what another machine holds idle comes to whoever requests it, or spends without a reservation', async () => {
    await create('idle', { limit: 1_000 });
    const [holder, client] = clients;
    await holder.call('budget_request', { task_id: 'idle', tokens: 1_000 });
    await eventually('the reserve is empty, as all know', async () => {
      const { reserve, remaining } = await statusOf(client, 'idle');
      return reserve === 0 && remaining === 1_000 ? true : undefined;
    });
    const requested = await client.call('budget_request', { task_id: 'idle', tokens: 400 });
    expect(requested.structured).toMatchObject({ granted: 400 });
    const reported = await client.call('budget_report', { task_id: 'idle', tokens: 900 });
    expect(reported.structured).toMatchObject({ tokens: 900, overrun: 0 });
    const reserve = { task_id: 'idle', tokens: 100 };
    expect((await client.call('budget_reserve', reserve)).isError).toBe(false);
  });

  it('a call repeated on another machine counts there anew, never too little (B21)', async () => {
    await create('elsewhere', { limit: 1_000 });
    const report = { task_id: 'elsewhere', tokens: 30, report_id: 'the-same' };
    for (const client of clients) {
      await client.call('budget_request', { task_id: 'elsewhere', tokens: 50 });
      expect((await client.call('budget_report', report)).structured).toMatchObject({ overrun: 0 });
    }
    await eventually('all have heard of all', async () => {
      const all = await Promise.all(clients.map((client) => statusOf(client, 'elsewhere')));
      return all.every(({ spent }) => spent === 90) ? true : undefined;
    });
  });

  it('a reservation of one machine is settled through another, once', async () => {
    await create('forwarded', { limit: 1_000 });
    const reserved = await clients[0].call('budget_reserve', { task_id: 'forwarded', tokens: 100 });
    const settle = { reservation_id: reserved.structured.reservation_id, tokens: 70 };
    for (const client of [clients[1], clients[2], clients[0]])
      expect((await client.call('budget_settle', settle)).structured).toMatchObject({
        tokens: 70,
        freed: 30,
        overrun: 0,
        ending: 'settled',
      });
    expect(await statusOf(clients[0], 'forwarded')).toMatchObject({ spent: 70, held: 0, remaining: 930 });
  });

  it.each(['MCP', 'HTTP', 'the command line'] as const)(
    'what is settled beyond a reservation and all rights through %s, on another machine, is a debt of the agent that reserved: shown, denied and paid (B20)',
    async (way) => {
      const task_id = `debt-${way.length}`;
      await create(task_id, { limit: 1_000 });
      const [client, other] = clients;
      const agent_id = `debtor-${way.length}`;
      const reserve = { task_id, tokens: 600, agent_id };
      const { reservation_id } = (await client.call('budget_reserve', reserve)).structured;
      const settled = await settleElsewhere(way, String(reservation_id), 1_300);
      expect(settled).toMatchObject({ tokens: 1_300, freed: 0, ending: 'settled' });
      // It has taken all that is left within a moment, what is short of it is a debt.
      await eventually('only what exceeds the limit is owed', async () => {
        const { spent, overrun, debts } = await statusOf(client, task_id);
        return spent === 1_000 && overrun === 300 && debts.length === 1 ? true : undefined;
      });
      expect(await statusOf(client, task_id)).toMatchObject({ debts: [{ agent_id, tokens: 300 }] });
      expect((await command(nodes[0], 'budget', 'status', task_id)).out).toContain(`${agent_id} 300`);
      const denied = await client.call('budget_reserve', { ...reserve, tokens: 1 });
      expect(errorOf(denied)).toMatchObject({ code: 'DENIED', details: { debt: 300 } });
      await eventually('the other machine shows whose it is', async () => {
        const { machines } = await statusOf(other, task_id);
        return machines.some(({ overrun, name }) => name === 'a' && overrun === 300) ? true : undefined;
      });
      expect((await json(nodes[1], 'limit', task_id, '2000')).code).toBe(0);
      await eventually('it is paid, and the agent spends again', async () => {
        const again = await client.call('budget_reserve', { ...reserve, tokens: 1 });
        return again.isError ? undefined : true;
      });
      expect(await statusOf(client, task_id)).toMatchObject({ spent: 1_300, overrun: 0, debts: [] });
    },
  );

  it('of 100 reservations at once on one machine as many succeed as there is money for (B22)', async () => {
    await create('crowd', { limit: 500 });
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => clients[2].call('budget_reserve', { task_id: 'crowd', tokens: 10 })),
    );
    expect(answers.filter(({ isError }) => !isError)).toHaveLength(50);
    const ids = answers.filter(({ isError }) => !isError).map(({ structured }) => structured.reservation_id);
    expect(new Set(ids).size).toBe(50);
    expect(await statusOf(clients[2], 'crowd')).toMatchObject({ held: 500, remaining: 0 });
  });

  it('a budget in micro-dollars prices the tokens of a model, and counts in its parent', async () => {
    await create('money', { limit: 1_000_000, unit: 'microusd' });
    await create('money.task', { limit: 1_000_000, unit: 'microusd', parent: 'money' });
    const usage = { model: 'model-1', input: 1_000, output: 100, cached: 10 };
    const cost = 3 * 1_000 + 15 * 100 + 3;
    const client = clients[1];
    const reserved = await client.call('budget_reserve', { task_id: 'money.task', usage });
    expect(reserved.structured).toMatchObject({ tokens: cost });
    const { reservation_id } = reserved.structured;
    const settled = await client.call('budget_settle', {
      reservation_id,
      usage: { model: 'model-1', input: 1 },
    });
    expect(settled.structured).toMatchObject({ tokens: 3, freed: cost - 3 });
    for (const task_id of ['money', 'money.task'])
      expect(await statusOf(client, task_id)).toMatchObject({ spent: 3, held: 0 });
    const unpriced = await client.call('budget_reserve', {
      task_id: 'money.task',
      usage: { model: 'model-2', input: 1 },
    });
    expect(errorOf(unpriced)).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('who is subscribed to a budget on one machine hears of spending on another', async () => {
    await create('watched', { limit: 100_000, thresholds: [1] });
    const uri = 'budget://watched';
    const heard = clients.map(() => 0);
    const ends = await Promise.all(
      clients.map((client, at) =>
        client.subscribe(uri, () => {
          heard[at] = (heard[at] ?? 0) + 1;
        }),
      ),
    );
    const spender = clients[2];
    await eventually('all are told', async () => {
      const { structured } = await spender.call('budget_reserve', { task_id: 'watched', tokens: 1_000 });
      await spender.call('budget_settle', { reservation_id: structured.reservation_id, tokens: 1_000 });
      return heard.every((count) => count > 0) ? true : undefined;
    });
    for (const client of clients) {
      const { resources } = await client.raw.listResources();
      expect(resources.map((resource) => resource.uri)).toContain(uri);
      const { contents } = await client.raw.readResource({ uri });
      expect(JSON.parse((contents[0] as { text: string }).text)).toMatchObject({ task_id: 'watched' });
      await eventually('the passed threshold is shown', async () =>
        (await statusOf(client, 'watched')).thresholdsPassed.includes(1) ? true : undefined,
      );
    }
    for (const end of ends) await end();
    const on = nodes[2];
    await eventually('the log tells it', () => (/budget\.thresholdPassed/.test(on.log) ? true : undefined));
    const problem = (await problemsOf(on)).find(({ message }) => message.includes('"watched"'));
    expect(problem).toMatchObject({ code: 'BUDGET_THRESHOLD' });
  });
});

describe('budgets from the command line, over HTTP and in a program', { timeout: 60_000 }, () => {
  it('the command line creates, reserves on one machine, settles, and shows it on another', async () => {
    const [a, b] = nodes;
    expect((await json(a, 'create', 'cli', '--limit', '1000')).code).toBe(0);
    expect(await json(a, 'create', 'cli', '--limit', '1000')).toMatchObject({
      code: 1,
      body: { error: { code: 'CONFLICT' } },
    });
    await eventually('the other machine knows it', async () =>
      (await json(b, 'status', 'cli')).code === 0 ? true : undefined,
    );
    const reserved = await json(b, 'reserve', 'cli', '400', '--agent', 'someone');
    expect(reserved).toMatchObject({ code: 0, body: { tokens: 400 } });
    const id = reserved.body.reservation_id as string;
    expect(await json(b, 'settle', id, '150')).toMatchObject({ code: 0, body: { freed: 250 } });
    expect(await json(b, 'reserve', 'cli', '5000')).toMatchObject({
      code: 1,
      body: { error: { code: 'BUDGET_EXHAUSTED' } },
    });
    await eventually('the spending is seen on the first', async () =>
      (await json(a, 'status', 'cli')).body.spent === 150 ? true : undefined,
    );
    const human = await command(a, 'budget', 'status', 'cli');
    expect(human.out).toMatch(/cli: 150 of 1,000 tokens spent \(15 %\)/);
    expect(human.out).toMatch(/^b +alive/m);
    expect(await json(a, 'limit', 'cli', '2000')).toMatchObject({ code: 0, body: { limit: 2_000 } });
    const all = await json(a, 'status');
    expect((all.body.budgets as { task_id: string }[]).map(({ task_id }) => task_id)).toContain('cli');
    const status = (await command(a, 'status', '--json')).json as { budgets: number };
    expect(status.budgets).toBeGreaterThan(0);
  });

  it('one node shares out the rights: all know which, and even them out when they are asked to', async () => {
    const lead = await eventually('somebody leads, and all know who', async () => {
      const seen = await Promise.all(
        clients.map(async (client) => (await client.call('mesh_status')).structured.orchestrator),
      );
      return seen[0] !== null && new Set(seen).size === 1 ? seen[0] : undefined;
    });
    expect(nodes.map(({ ready }) => ready.nodeId)).toContain(lead);
    expect(library.budgets.orchestrator).toBe(lead);
    await create('even', { limit: 9_000 });
    await clients[0].call('budget_request', { task_id: 'even', tokens: 9_000 });
    for (const on of nodes) {
      const answer = await json(on, 'rebalance', 'even');
      expect(answer).toMatchObject({ code: 0, body: { moves: expect.any(Number) as number } });
    }
    expect(await library.rebalance('even')).toMatchObject({ ok: true });
    expect(await library.rebalance('none')).toMatchObject({ error: { code: 'NOT_FOUND' } });
  });

  it('HTTP reserves and settles with the same errors', async () => {
    const [a] = nodes;
    const at = (method: string, path: string, body?: unknown) =>
      jsonRequest(controlOf(a), method, `/v1/${path}`, body);
    expect((await at('POST', 'budgets', { task_id: 'rest', limit: 100 })).status).toBe(200);
    const reserved = await at('POST', 'budgets/rest/reservations', { tokens: 60 });
    const { reservation_id } = reserved.json as { reservation_id: string };
    const settle = `reservations/${encodeURIComponent(reservation_id)}/settle`;
    expect((await at('POST', settle, { tokens: 50 })).json).toMatchObject({ freed: 10 });
    expect((await at('POST', 'budgets/rest/reservations', { tokens: 60 })).status).toBe(402);
    expect((await at('GET', 'budgets/rest')).json).toMatchObject({ spent: 50, remaining: 50 });
    expect((await at('GET', 'budgets/none')).status).toBe(404);
  });

  it('a program asks for an allocation, reports what it spent, and its hostile amounts are refused (B25)', async () => {
    await create('lib', { limit: 1_000 });
    const allocated = await library.requestAllocation('lib', 300);
    expect(allocated).toMatchObject({ ok: true, value: { granted: 300, rights: 300 } });
    expect(await library.reportSpending('lib', 120)).toMatchObject({
      ok: true,
      value: { amount: 120, overrun: 0 },
    });
    const rows = await eventually('the others hear of it', async () => {
      const { machines } = await statusOf(clients[0], 'lib');
      return machines.find(({ name, spent }) => name === 'library' && spent === 120);
    });
    expect(rows).toMatchObject({ rights: 180 });
    const hostile: unknown[] = [-1, 0, Number.NaN, 1.5, 2 ** 53, 2 ** 53 + 2, '1e9', '5', -0, null];
    for (const amount of hostile as number[]) {
      for (const answer of [
        library.requestAllocation('lib', amount),
        library.reportSpending('lib', amount),
        library.budgets.call({ op: 'create', budget: 'x', limit: amount }),
        library.budgets.call({ op: 'setLimit', budget: 'lib', limit: amount }),
        library.budgets.call({ op: 'reserve', budget: 'lib', agent: 'x' as never, amount }),
        library.budgets.call({ op: 'transfer', budget: 'lib', to: nodes[0].ready.nodeId as never, amount }),
      ])
        expect(await answer, String(amount)).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
    }
    expect(library.budgets.status('lib')).toMatchObject({ ok: true, value: { spent: 120, held: 0 } });
    expect(library.budgets.status('x').ok).toBe(false);
  });
});

describe('what the README shows', { timeout: 60_000 }, () => {
  const section = /^## Budgets\n(.*?)^## /ms.exec(readFileSync(join(ROOT, 'README.md'), 'utf8'))?.[1] ?? '';

  it('its commands work as they stand there', async () => {
    const commands = section
      .split('\n')
      .filter((line) => line.startsWith('    ') && line.includes('skein --'))
      .join('\n');
    expect(commands.split('\n')).toHaveLength(4);
    const { stdout } = await promisify(execFile)('bash', ['-euc', commands], {
      cwd: ROOT,
      env: { ...process.env, SKEIN_NODE_DATA: nodes[0].setting.data },
    });
    expect(stdout).toMatch(/1,450 spent, 550 freed/);
    expect(stdout).toMatch(/report: 1,450 of 100,000 tokens spent \(1 %\)/);
  });

  it('its program is the one that is checked and run here', async () => {
    const file = join(ROOT, 'test/examples/budgets.ts');
    const shown = /```ts\n(.*?)```/s.exec(section)?.[1];
    expect(shown?.replace("'skein'", "'../../src/index.ts'")).toBe(readFileSync(file, 'utf8'));
    const cwd = world.path('example');
    mkdirSync(cwd);
    const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd });
    expect(stdout).toBe('1200 of 10000 spent\n');
  });
});

describe('a machine that is gone', { timeout: 60_000 }, () => {
  it('keeps its rights from all others until an operator writes them off; they are spendable then, its reservations are not (B12)', async () => {
    const [a, , c] = nodes;
    await create('lost', { limit: 1_000 });
    const held = await clients[2].call('budget_reserve', { task_id: 'lost', tokens: 100 });
    expect(held.isError).toBe(false);
    await clients[2].call('budget_request', { task_id: 'lost', tokens: 300 });
    const { rights } = await eventually('its rights are known elsewhere', async () => {
      const { machines } = await statusOf(clients[0], 'lost');
      return machines.find((machine) => machine.name === 'c' && machine.rights >= 300);
    });
    await c.end('SIGKILL');
    const stranded = await eventually(
      'they are stranded',
      async () => {
        const status = await statusOf(clients[0], 'lost');
        return status.machines.find(({ name, state }) => name === 'c' && state === 'dead');
      },
      20_000,
    );
    expect(stranded).toMatchObject({ stranded: rights + 100, rights: 0 });
    const stranding = (await problemsOf(a)).filter(({ code }) => code === 'BUDGET_STRANDED');
    expect(stranding.map(({ message }) => message)).toContainEqual(
      expect.stringContaining(`${rights + 100} tokens of the budget "lost"`),
    );
    const tooMuch = await clients[1].call('budget_reserve', { task_id: 'lost', tokens: 901 - rights });
    expect(errorOf(tooMuch).code).toBe('BUDGET_EXHAUSTED');

    const asked = await command(a, 'budget', 'write-off', 'lost', 'c');
    expect(asked.code).toBe(2);
    expect(asked.error).toContain(`${rights} tokens that go back to the reserve, and 100 in reservations`);
    expect((await statusOf(clients[0], 'lost')).remaining).toBe(900 - rights);
    const done = await command(a, 'budget', 'write-off', 'lost', 'c', '--yes', '--json');
    expect(done).toMatchObject({ code: 0, json: { writtenOff: rights, lost: 100 } });
    const again = await command(a, 'budget', 'write-off', 'lost', 'c', '--yes', '--json');
    expect(again).toMatchObject({ code: 1, json: { error: { code: 'CONFLICT' } } });
    expect(a.log).toContain('budget.writtenOff');

    const rest = await clients[1].call('budget_reserve', { task_id: 'lost', tokens: 900 });
    expect(rest.isError).toBe(false);
    const seen = await eventually('all money is accounted for', async () => {
      const status = await statusOf(clients[0], 'lost');
      return status.held === 900 ? status : undefined;
    });
    expect(seen).toMatchObject({ spent: 100, held: 900, reserve: 0, remaining: 0, problems: [] });
  });
});
