/** One way to spend within a limit: take an amount before a call, and say afterwards what it came to. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { AgentId, BudgetCall, RunningNode } from '../../../src/index.ts';

import { freePorts } from '../../adapters/etcd-server.ts';
import { sleep } from './clock.ts';
import { diskFloor } from './disk-floor.ts';
import { start, stop } from './scratch.ts';

export type Purse = 'disk' | 'redis' | 'redis, pipelined' | 'skein';

export interface MoneyClient {
  /** Gives what settles it. */
  reserve(amount: number): Promise<string>;
  settle(id: string, amount: number): Promise<void>;
  close(): Promise<void>;
}

export const BUDGET = 'bench';
const AGENT = 'bench' as AgentId;

/** `disk`: one write and sync for each of the two, shared by calls that wait meanwhile. */
export function diskMoney(directory: string): MoneyClient {
  const floor = diskFloor(directory);
  return {
    reserve: async () => {
      await floor.call('', {});
      return '';
    },
    settle: () => floor.call('', {}),
    close: () => floor.close(),
  };
}

/** What is left under one key, a hash of what is held under another: as gateways keep it. */
const RESERVE = `
local left = tonumber(redis.call('GET', KEYS[1]))
local amount = tonumber(ARGV[2])
if left < amount then return 0 end
redis.call('DECRBY', KEYS[1], amount)
redis.call('HSET', KEYS[2], ARGV[1], amount)
return 1`;
const SETTLE = `
local held = redis.call('HGET', KEYS[2], ARGV[1])
if not held then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('INCRBY', KEYS[1], tonumber(held) - tonumber(ARGV[2]))
return 1`;

type Scripts = Redis & Record<'reserve' | 'settle', (...args: (string | number)[]) => Promise<number>>;

export async function redisMoney(directory: string, isPipelined: boolean): Promise<MoneyClient> {
  const [port = 0] = await freePorts(1);
  const server = redisServer(join(directory, 'redis'), port);
  const client = new Redis({
    host: '127.0.0.1',
    port,
    enableAutoPipelining: isPipelined,
    retryStrategy: () => 50,
  }) as Scripts;
  client.on('error', () => undefined);
  client.defineCommand('reserve', { numberOfKeys: 2, lua: RESERVE });
  client.defineCommand('settle', { numberOfKeys: 2, lua: SETTLE });
  await client.set('left', 1e15);
  let next = 0;
  return {
    reserve: async (amount) => {
      const id = `r${next++}`;
      if ((await client.reserve('left', 'held', id, amount)) !== 1) throw new Error('redis: nothing left');
      return id;
    },
    settle: async (id, amount) => {
      if ((await client.settle('left', 'held', id, amount)) !== 1) throw new Error('redis: not held');
    },
    close: async () => {
      client.disconnect();
      await stop(server);
    },
  };
}

function redisServer(directory: string, port: number): ChildProcess {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' });
  } catch {
    throw new Error('redis-server is not installed: apt-get install redis-server (Debian)');
  }
  mkdirSync(directory, { mode: 0o700 });
  const options = {
    dir: directory,
    port,
    bind: '127.0.0.1',
    appendonly: 'yes',
    appendfsync: 'always',
    save: '',
  };
  return start(
    'redis-server',
    Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
    { stdio: 'ignore' },
  );
}

export function nodeMoney(node: RunningNode): MoneyClient {
  return {
    reserve: async (amount) =>
      (await taken(node, { op: 'reserve', budget: BUDGET, agent: AGENT, amount })).reservationId,
    settle: async (id, amount) => {
      await taken(node, { op: 'settle', id, amount });
    },
    close: () => node.stop(),
  };
}

/** The answer, or an error that says why there is none. */
export async function taken<C extends BudgetCall>(node: RunningNode, call: C) {
  const answer = await node.budgets.call(call);
  if (!answer.ok) throw new Error(`${call.op}: ${answer.error.code}: ${answer.error.message}`);
  return answer.value;
}

/** As soon as there is a store. */
export async function createBudget(node: RunningNode, limit: number): Promise<void> {
  for (let tries = 0; ; tries++) {
    const answer = await node.budgets.call({ op: 'create', budget: BUDGET, limit });
    if (answer.ok) return;
    if (tries > 200) throw new Error(`create: ${answer.error.code}: ${answer.error.message}`);
    await sleep(50);
  }
}
