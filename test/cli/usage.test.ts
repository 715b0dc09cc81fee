import { describe, expect, it } from 'vitest';
import { skein } from './terminal.ts';

/** Arguments, what the error says, and what it suggests. */
const WRONG: [argv: string[], says: RegExp, suggests: RegExp][] = [
  [['stauts'], /unknown command 'stauts'/, /status/],
  [['init', '--help'], /unknown command 'init'/, /There are: up, mcp/],
  [['stauts', '--help'], /unknown command 'stauts'/, /Did you mean status/],
  [['--help', 'stauts'], /unknown command 'stauts'/, /Did you mean status/],
  [['help', 'nosuch'], /unknown command 'nosuch'/, /There are: up, mcp/],
  [['help', 'board', 'lits'], /unknown command 'lits'/, /Did you mean list/],
  [['board', 'lits', '-h'], /unknown command 'lits'/, /Did you mean list/],
  [['bord', 'list'], /unknown command 'bord'/, /board/],
  [['board', 'lits'], /unknown command 'lits'/, /list/],
  [['up', '--mesh-prot', '1'], /unknown option '--mesh-prot'/, /--mesh-port/],
  [['status', '--jsn'], /unknown option '--jsn'/, /--json/],
  [['board', 'get', 'main'], /missing required argument 'key'/, /help/],
  [['board', 'list', '--documents'], /Whose documents/, /board list BOARD --documents/],
  [['board', 'delete', 'main'], /What to delete is not clear/, /--document NAME/],
  [['board', 'delete', 'main', 'k', '--document', 'd'], /What to delete is not clear/, /--document NAME/],
  [['board', 'get', 'main', 'a', 'b'], /too many arguments/, /help/],
  [['board', 'list', 'main', '--limit', 'many'], /whole number from 1 to 1000/, /./],
  [['board', 'list', 'main', '--limit', '1e2'], /whole number/, /./],
  [['board', 'get', 'main', 'k', '--level', 'strng'], /eventual, session, strong/, /./],
  [['board', 'watch', 'main', 'k', '--prefix', 'p'], /KEY and --prefix/, /one of them/],
  [['board', 'cas', 'tasks', 'k', '1'], /required option '--if-revision/, /./],
  [['board', 'cas', 'tasks', 'k', '1', '--if-revision', '-1'], /whole number from 0/, /./],
  [['lease', 'acquire', 'l', '--ttl', '0'], /whole number from 1/, /./],
  [['voters', 'merge'], /required option '--keep/, /./],
  [['voters', 'lst'], /unknown command 'lst'/, /list/],
  [['budget', 'create', 't'], /required option '--limit/, /./],
  [['budget', 'create', 't', '--limit', '1', '--unit', 'euro'], /tokens, microusd/, /./],
  [['budget', 'create', 't', '--limit', '1', '--window', 'week'], /none, hour, day, month/, /./],
  [['budget', 'create', 't', '--limit', '1', '--threshold', '101'], /whole number from 1 to 100/, /./],
  [['budget', 'reserve', 't'], /amount is missing/, /--tokens/],
  [['budget', 'reserve', 't', '5', '--tokens', '5'], /amount is given twice/, /not both/],
  [
    ['budget', 'reserve', 't', '5', '--model', 'm', '--input', '1'],
    /Both an amount and tokens/,
    /one of them/,
  ],
  [['budget', 'reserve', 't', '--input', '1'], /need --model/, /./],
  [['budget', 'reserve', 't', '--model', 'm'], /needs its tokens/, /./],
  [['budget', 'settle', 'r'], /amount is missing/, /./],
  [['budget', 'transfer', 't', 'b'], /amount is missing/, /./],
  [['budget', 'reseve', 't', '5'], /unknown command 'reseve'/, /reserve/],
  [['agent', 'register', 'a'], /required option '--capability/, /./],
  [['agent', 'discover', '--min-trust', '2'], /number from 0 to 1/, /./],
  [['mcp', '--agent', 'two words'], /1 to 128 printable characters without white space/, /./],
  [['status', '--url', 'node:7330'], /http or https URL/, /./],
  [['status', '--key', 'secret'], /--key is given without --url/, /--url/],
  [
    ['up', '--mesh-port', 'abc'],
    /--mesh-port: must be an integer from 0 to 65535, but is "abc"/,
    /CONFIGURATION/,
  ],
  [['up', '--http-host', '0.0.0.0'], /no API key is configured/, /./],
  [['up', '--config', '/nonexistent.yaml'], /there is no such file/, /./],
  [['simulate', 'clam'], /There is no scenario "clam"/, /Did you mean calm/],
  [['simulate', '--seeds', 'many'], /whole number/, /./],
  [['chaos', 'kils'], /There is no scenario "kils"/, /Did you mean kills\?\n?.*There are:\n {2}Several/s],
  [['simulate', 'strom'], /There is no scenario "strom"/, /Did you mean storm\? There are: .*quorum/],
  [
    ['chaos', 'nonesuch'],
    /no scenario/,
    /There are:\n {2}Several faults: all.*\n {2}Budgets: .*\n {2}One fault: /,
  ],
  [['chaos', '--nodes', '1'], /whole number from 2 to 9/, /./],
  [['config', 'validate', '/nonexistent.yaml'], /there is no such file/, /./],
];

describe('wrong usage', () => {
  it.each(WRONG)('%j ends with exit code 2 and says what is right', async (argv, says, suggests) => {
    const { code, out, error } = await skein(argv);
    expect(error).toMatch(says);
    expect(error).toMatch(suggests);
    expect(code).toBe(2);
    expect(out).toBe('');
  });

  it.each(WRONG)('%j with --json is one JSON document', async (argv, says) => {
    const { code, json } = await skein([...argv, '--json']);
    expect(code).toBe(2);
    const { error } = json as { error: { code: string; message: string; hint: string } };
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toMatch(argv.includes('--jsn') ? /jsn/ : says);
    expect(error.hint).not.toBe('');
  });

  it.each([[[]], [['board']], [['agent']], [['config']], [['lease']], [['voters']], [['budget']]])(
    '%j alone shows its commands, exit code 2',
    async (argv) => {
      const { code, out, error } = await skein(argv);
      expect(code).toBe(2);
      expect(out).toBe('');
      expect(error).toMatch(/Commands:/);
    },
  );
});

describe('the hint of a wrong usage names the help of that very command:', () => {
  it.each([
    [['board', 'set', 'main'], 'skein board set --help'],
    [['up', '--prot', '1'], 'skein up --help'],
    [['board', 'cas', 'tasks', 'k', 'v'], 'skein board cas --help'],
    [['--bogus'], 'skein --help'],
  ])('%j', async (argv, help) => {
    expect((await skein(argv)).error).toContain(`See: ${help}\n`);
  });
});

describe('help', () => {
  it.each([[['--help']], [['help']]])('%j lists the commands on standard output', async (argv) => {
    const { code, out, error } = await skein(argv);
    expect([code, error]).toEqual([0, '']);
    for (const command of ['up', 'mcp', 'status', 'peers', 'doctor', 'board', 'agent', 'budget', 'config'])
      expect(out).toMatch(new RegExp(`^  ${command} `, 'm'));
  });

  it.each([[['up', '--help']], [['help', 'up']]])('%j explains every flag with its default', async (argv) => {
    const { code, out } = await skein(argv);
    expect(code).toBe(0);
    for (const flag of [
      '--config',
      '--data',
      '--name',
      '--role',
      '--mesh-port',
      '--http-port',
      '--http-host',
      '--peer',
      '--no-mdns',
    ])
      expect(out).toContain(`  ${flag}`);
    expect(out.replace(/\s+/g, ' ')).toContain('[7331]');
  });

  it('the version is one line', async () => {
    expect(await skein(['--version'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });
});

describe('config show', () => {
  it('tells value and origin of every setting, and no secret', async () => {
    const environment = { SKEIN_SWARM_SECRET: 'canary-canary-canary', SKEIN_HTTP_PORT: '1234' };
    const { code, json, out } = await skein(
      ['config', 'show', '--json', '--no-mdns', '--role', 'worker', '--role', 'observer'],
      { environment },
    );
    expect(code).toBe(0);
    expect(out).not.toContain('canary');
    const { settings } = json as { settings: { path: string; value: unknown; origin: string }[] };
    const of = (path: string) => settings.find((setting) => setting.path === path);
    expect(of('swarm.secret')).toEqual({
      path: 'swarm.secret',
      value: '(set, not shown)',
      origin: 'environment',
    });
    expect(of('http.port')).toEqual({ path: 'http.port', value: 1234, origin: 'environment' });
    expect(of('mesh.mdns')).toEqual({ path: 'mesh.mdns', value: false, origin: 'flag' });
    expect(of('node.roles')?.value).toEqual(['worker', 'observer']);
    expect(of('mesh.port')?.origin).toBe('default');
    expect((await skein(['config', 'show'], { environment })).out).not.toContain('canary');
  });
});

describe('skein mcp', () => {
  it.runIf(process.platform === 'linux')(
    'ends with exit code 1 where its directory cannot be made (/proc; Linux only)',
    async () => {
      const { code, out, error } = await skein(['mcp', '--data', '/proc/skein/data']);
      expect([code, out]).toEqual([1, '']);
      expect(error).toMatch(/The data directory \/proc\/skein\/data cannot be used: ENOENT/);
      expect(error).toMatch(/--data DIR/);
    },
  );
});
