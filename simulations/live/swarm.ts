/**
 * A swarm on this machine, to try things out: `npm run swarm -- [--nodes N] [--dir DIR] [--json]`. Real processes,
 * loopback only, any free ports, nothing announced on the network. Runs until interrupted; the data stays in
 * `.skein/swarm`, so that the next run goes on with it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mcpSnippet } from '../../src/cli/entry.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const STOP_MS = 12_000;

interface Ready {
  readonly nodeId: string;
  readonly name: string;
  readonly swarm: string;
  readonly httpUrl: string;
  readonly mcpUrl: string;
  readonly meshAddresses: readonly string[];
}

interface Member {
  readonly name: string;
  readonly data: string;
  readonly process: ChildProcess;
  readonly ready: Ready;
}

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3' },
    dir: { type: 'string', default: '.skein/swarm' },
    json: { type: 'boolean', default: false },
  },
});
const wanted = Number(values.nodes);
if (!Number.isInteger(wanted) || wanted < 1 || wanted > 20) {
  console.error('--nodes must be a whole number from 1 to 20.');
  process.exit(2);
}

const members: Member[] = [];
const running = new Set<ChildProcess>();
let stopping = false;

/** In a process group of its own: an interrupt from the terminal reaches it once, through this process. */
async function start(name: string, secret: string | undefined, peer: string | undefined): Promise<Member> {
  const data = join(resolve(values.dir), name);
  const flags = ['--json', '--name', name, '--data', data, '--no-mdns', '--mesh-listen', '127.0.0.1'];
  const ports = ['--mesh-port', '0', '--http-port', '0', ...(peer === undefined ? [] : ['--peer', peer])];
  const child = spawn(process.execPath, [MAIN, 'up', ...flags, ...ports], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...(secret === undefined ? {} : { SKEIN_SWARM_SECRET: secret }) },
  });
  running.add(child);
  child.once('exit', (code, signal) => {
    running.delete(child);
    if (!stopping) void stop(`${name} ended by itself (${signal ?? `exit code ${code}`}).`, 1);
  });
  createInterface({ input: child.stderr }).on('line', (line) => console.error(`${name}: ${line}`));
  const lines = createInterface({ input: child.stdout });
  const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => [undefined])])) as [
    string | undefined,
  ];
  if (line === undefined) throw new Error(`${name} did not start`);
  return { name, data, process: child, ready: JSON.parse(line) as Ready };
}

async function stop(reason: string, code: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  console.error(reason);
  const ends = [...running].map((child) => once(child, 'exit'));
  for (const child of running) child.kill('SIGTERM');
  const timer = setTimeout(() => {
    for (const child of running) child.kill('SIGKILL');
  }, STOP_MS);
  await Promise.all(ends);
  clearTimeout(timer);
  process.exit(code);
}

function describe({ name, data, ready }: Member): string {
  return [
    `${name}  ${ready.nodeId}`,
    `  MCP    ${ready.mcpUrl}`,
    ...ready.meshAddresses.map((address) => `  mesh   ${address}`),
    `  ask    npm run -s skein -- peers --data ${data}`,
    mcpSnippet(data).replace(/^/gm, '  '),
  ].join('\n');
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    if (stopping) for (const child of running) child.kill('SIGKILL');
    else void stop('Stopping…', 0);
  });

try {
  const first = await start('node-1', undefined, undefined);
  members.push(first);
  const secret =
    process.env.SKEIN_SWARM_SECRET ?? readFileSync(join(first.data, 'swarm.secret'), 'utf8').trim();
  const peer = first.ready.meshAddresses.find((address) => !address.includes('/ws'));
  const others = Array.from({ length: wanted - 1 }, (_, index) => start(`node-${index + 2}`, secret, peer));
  members.push(...(await Promise.all(others)));
  if (values.json)
    console.log(JSON.stringify({ nodes: members.map(({ data, ready }) => ({ data, ...ready })) }));
  else console.log(`${members.map(describe).join('\n\n')}\n\n${wanted} nodes are up. Ctrl-C stops them all.`);
} catch (error) {
  await stop((error as Error).message, 1);
}
