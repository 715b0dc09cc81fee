import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configWith, type LoadInput, loadConfig } from '../../../src/node/config/load.ts';
import { environmentNameOf, hashOfSecret, options } from '../../../src/node/config/options.ts';
import { ConfigError, type ConfigProblem } from '../../../src/node/config/problem.ts';
import type { Loaded } from '../../../src/node/config/settle.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-config-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function fileOf(text: string | Uint8Array): string {
  const file = join(folder, `${++files}.yaml`);
  writeFileSync(file, text);
  return file;
}

function load(input: LoadInput & { yaml?: string } = {}): Promise<Loaded> {
  const { yaml, ...rest } = input;
  return loadConfig({ environment: {}, ...rest, ...(yaml === undefined ? {} : { file: fileOf(yaml) }) });
}

async function problemsOf(loading: Promise<unknown>): Promise<readonly ConfigProblem[]> {
  const error = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ConfigError);
  return (error as ConfigError).problems;
}

/** What the file says, where the problem is, what it says and suggests. */
const FILE_PROBLEMS: [
  yaml: string,
  place: [line: number, column: number],
  says: RegExp,
  suggests?: string,
][] = [
  ['mesh:\n  prot: 7331\n', [2, 3], /mesh\.prot is not a setting/, 'port'],
  ['node:\n  rolls: [worker]\n', [2, 3], /node\.rolls is not a setting/, 'roles'],
  ['http:\n  allowed-hosts: []\n', [2, 3], /http\.allowed-hosts is not a setting/, 'allowedHosts'],
  ['http:\n  mdns: false\n', [2, 3], /http\.mdns is not a setting/, 'mesh.mdns'],
  ['# first\n\nhtpp: {}\n', [3, 1], /htpp is not a section/, 'http'],
  ['secret: x\n', [1, 1], /secret is not a section/, 'swarm.secret'],
  ['zzzzzzzzzz: 1\n', [1, 1], /is not a section; there are node, swarm, mesh/],
  ['mesh:\n  zzzzzzzzzz: 1\n', [2, 3], /is not a setting; mesh has listen, port/],
  ['mesh: 7331\n', [1, 7], /mesh must be a mapping of: listen, port/],
  ['- mesh\n', [1, 1], /must be a mapping of sections/],
  ['mesh:\n  port: "abc"\n', [2, 9], /mesh\.port must be an integer from 0 to 65535, but is "abc"/],
  ['mesh:\n  port: 65536\n', [2, 9], /from 0 to 65535, but is 65536/],
  ['mesh:\n  port: -1\n', [2, 9], /from 0 to 65535, but is -1/],
  ['mesh:\n  port: 7331.5\n', [2, 9], /an integer/],
  ['mesh:\n  mdns: yes\n', [2, 9], /mesh\.mdns must be true or false, but is "yes"/],
  ['node:\n  name: two words\n', [2, 9], /node\.name must be a name of 1 to 63/],
  ['node:\n  roles: [worker, gatway]\n', [2, 19], /node\.roles\[1\] must be one of worker, orchestrator/],
  ['node:\n  roles: []\n', [2, 10], /node\.roles needs at least one role/],
  ['node:\n  roles: [worker, worker]\n', [2, 10], /must not name the same item twice/],
  ['mesh:\n  listen:\n    - example.com\n', [3, 7], /mesh\.listen\[0\] must be an IP address/],
  [
    'mesh:\n  peers:\n    - 10.0.0.5:7331\n',
    [3, 7],
    /mesh\.peers\[0\] must be a multiaddr such as \/ip4\/10\.0\.0\.5\/tcp\/7331, but/,
  ],
  ['mesh:\n  peers: ["[fe80::1]:7"]\n', [2, 11], /such as \/ip6\/fe80::1\/tcp\/7,/],
  ['mesh:\n  peers: [a.example:7]\n', [2, 11], /such as \/dns\/a\.example\/tcp\/7,/],
  ['mesh:\n  peers: [/ip4/10.0.0.999/tcp/7331]\n', [2, 11], /must be a multiaddr/],
  ['mesh:\n  peers: [/ip4/10.0.0.9/tcp/99999]\n', [2, 11], /must be a multiaddr/],
  ['mesh:\n  registry: ftp://x\n', [2, 13], /must be an http or https URL/],
  ['http:\n  allowedOrigins: ["https://a.example/path"]\n', [2, 20], /must be an origin/],
  ['boards:\n  Main: {}\n', [2, 3], /board names are 1 to 64 of a-z/],
  ['boards:\n  main:\n    quotta: {}\n', [3, 5], /boards\.main\.quotta is not a setting/, 'quota'],
  ['boards:\n  main:\n    quota: { kees: 1 }\n', [3, 14], /quota\.kees is not a setting/, 'keys'],
  [
    'boards:\n  main: { mode: raft }\n',
    [2, 11],
    /boards\.main\.mode must be one of crdt, quorum, but is "raft"/,
  ],
  ['quorum:\n  voters: 3\n', [2, 11], /quorum\.voters must be a mapping of: target, replaceAfter/],
  ['quorum:\n  voters:\n    targt: 3\n', [3, 5], /quorum\.voters\.targt is not a setting/, 'voters.target'],
  [
    'quorum:\n  etcd: { tls: { cert: x } }\n',
    [2, 18],
    /quorum\.etcd\.tls\.cert is not a setting/,
    'etcd.tls.certificate',
  ],
  [
    'quorum:\n  foundAfter: 3\n',
    [2, 15],
    /foundAfter must be a time with its unit from 0ms to 1h, such as 3s, but is 3/,
  ],
  ['quorum:\n  foundAfter: 2h\n', [2, 15], /from 0ms to 1h/],
  ['quorum:\n  voters: { target: 10 }\n', [2, 21], /an integer from 1 to 9/],
  ['quorum:\n  engine: etcd\n', [2, 11], /needs quorum\.etcd\.endpoints/],
  ['quorum:\n  etcd: { endpoints: ["10.0.0.5:2379"] }\n', [2, 23], /must be an http or https URL/],
  ['boards:\n  __proto__: { mode: crdt }\n', [2, 3], /is not allowed as a key/],
  [
    'budgets:\n  prices:\n    m: { input: 1 }\n',
    [3, 5],
    /prices\.m\.output must be an integer.*but is missing/,
  ],
  ['budgets:\n  prices:\n    m: { input: 1.5, output: 1 }\n', [3, 10], /input must be an integer from 0/],
  ['budgets:\n  prices:\n    m: { input: "1e9", output: 1 }\n', [3, 10], /input must be an integer from 0/],
  ['budgets:\n  prices:\n    m: { input: 1, output: 1, cahced: 1 }\n', [3, 31], /is not a setting/, 'cached'],
  ['budgets:\n  prices:\n    a b: { input: 1, output: 1 }\n', [3, 5], /must be the name of a model/],
  ['budgets:\n  prices:\n    m: { input: -0, output: 1 }\n', [3, 10], /must be an integer from 0/],
  ['budgets:\n  prices:\n    m: { input: .nan, output: 1 }\n', [3, 10], /must be an integer from 0/],
  ['budgets:\n  thresholds: [80, 50]\n', [2, 15], /must be ascending/],
  ['budgets:\n  thresholds: [80, 101]\n', [2, 20], /must be an integer from 1 to 100/],
  ['budgets:\n  reserveTtl: 25h\n', [2, 15], /from 1s to 1d/],
  [
    'guard:\n  keys:\n    - principal: a\n',
    [3, 7],
    /guard\.keys\[0\] needs exactly one of secretHash and secret/,
  ],
  [
    `guard:\n  keys:\n    - principal: a\n      secrt: x\n      secretHash: sha256:${'0'.repeat(64)}\n`,
    [4, 7],
    /secrt is not a setting/,
    'secret',
  ],
  ['mesh:\n  port: 1\n  port: 2\n', [3, 3], /is not valid YAML: Map keys must be unique/],
  ['mesh: [\n', [2, 1], /is not valid YAML/],
  ['a: *nothing\n', [1, 1], /./],
];

describe('a configuration file', () => {
  it.each(FILE_PROBLEMS)('%j is refused at its line with what is right', async (yaml, at, says, suggests) => {
    const [problem] = await problemsOf(load({ yaml }));
    expect(problem?.place).toBe(`${join(folder, `${files}.yaml`)}:${at[0]}:${at[1]}`);
    expect([problem?.line, problem?.column]).toEqual(at);
    expect(`${problem?.key ?? ''} ${problem?.message}`).toMatch(says);
    expect(problem?.suggestion).toBe(suggests);
  });

  it('reports every problem of every source at once, the file in the order of its lines', async () => {
    const problems = await problemsOf(
      load({
        yaml: 'http:\n  port: x\nnode:\n  nam: y\nmesh:\n  port: z\n',
        environment: { SKEIN_MESH_PROT: '1', SKEIN_HTTP_PORT: 'tcp://10.0.0.1:7330' },
        flags: { 'mesh.port': 'w', 'node.roles': ['gatewy'] },
      }),
    );
    expect(problems.map(({ line, place }) => line ?? place)).toEqual([
      2,
      4,
      6,
      'SKEIN_MESH_PROT',
      'SKEIN_HTTP_PORT',
      '--mesh-port',
      '--role',
    ]);
    expect(problems[3]?.suggestion).toBe('SKEIN_MESH_PORT');
  });

  it('is checked even where a stronger source hides it', async () => {
    const [problem] = await problemsOf(load({ yaml: 'mesh:\n  port: x\n', flags: { 'mesh.port': '1' } }));
    expect(problem?.line).toBe(2);
  });

  it.each(['', '# nothing\n', 'mesh:\n', 'mesh:\n  port:\n  # port: 1\n', '---\n...\n', 'boards:\n'])(
    'leaves defaults where it is silent: %j',
    async (yaml) => {
      const { config } = await load({ yaml });
      expect(config).toEqual((await load()).config);
    },
  );

  it.each([
    ['missing', () => join(folder, 'missing.yaml'), /there is no such file/],
    ['a directory', () => folder, /is a directory/],
    ['not UTF-8', () => fileOf(new Uint8Array([0x61, 0x3a, 0xff, 0xfe])), /is not UTF-8/],
    ['too large', () => fileOf(new Uint8Array(2 * 1024 * 1024).fill(0x20)), /is larger than/],
  ])('that is %s is an error that says so', async (_, file, says) => {
    const [problem] = await problemsOf(load({ file: file() }));
    expect(problem?.message).toMatch(says);
  });

  it.each([
    [
      'aliases that multiply',
      `a: &a [x, x, x, x, x, x, x, x, x, x]\n${'bcdefgh'
        .split('')
        .map((name, index) => `${name}: &${name} [${Array(10).fill(`*${'abcdefgh'[index]}`).join(', ')}]`)
        .join('\n')}\nboards: *h\n`,
    ],
    ['an alias of itself', 'boards: &b\n  main: *b\n'],
    ['nesting without end', `boards: ${'['.repeat(50_000)}`],
  ])('with %s ends in an error, soon', async (_, yaml) => {
    const startMs = performance.now();
    expect(await problemsOf(load({ yaml }))).not.toEqual([]);
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  it('never throws anything but its problems, whatever the text', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string({ maxLength: 200 }),
          fc.json().map((json) => `mesh: ${json}`),
          fc.json().map((json) => `boards: ${json}`),
        ),
        async (yaml) => {
          const outcome = await load({ yaml }).then(
            ({ config }) => config,
            (error: unknown) => error,
          );
          expect(outcome instanceof ConfigError || typeof outcome === 'object').toBe(true);
          if (outcome instanceof Error) expect(outcome).toBeInstanceOf(ConfigError);
        },
      ),
      { numRuns: 150, seed: 7 },
    );
  });
});

describe('sources', () => {
  const port = fc.option(fc.integer({ min: 10_000, max: 60_000 }), { nil: undefined });

  it('flags beat the environment, the environment the file, the file the default', async () => {
    await fc.assert(
      fc.asyncProperty(port, port, port, async (flag, environment, file) => {
        const { config, origins } = await load({
          yaml: file === undefined ? '' : `mesh:\n  port: ${file}\n`,
          environment: environment === undefined ? {} : { SKEIN_MESH_PORT: String(environment) },
          flags: flag === undefined ? {} : { 'mesh.port': String(flag) },
        });
        expect(config.mesh.port).toBe(flag ?? environment ?? file ?? 7331);
        const origin = [flag, environment, file].findIndex((value) => value !== undefined);
        expect(origins.get('mesh.port')).toBe(['flag', 'environment', 'file'][origin] ?? 'default');
      }),
      { numRuns: 60, seed: 11 },
    );
  });

  it('a list of a stronger source replaces the weaker one whole', async () => {
    const yaml = 'mesh:\n  peers: [/ip4/10.0.0.1/tcp/1, /ip4/10.0.0.2/tcp/1]\n';
    const environment = { SKEIN_MESH_PEERS: '/ip4/10.0.0.3/tcp/1, /ip4/10.0.0.4/tcp/1/ws' };
    expect((await load({ yaml })).config.mesh.peers).toHaveLength(2);
    expect((await load({ yaml, environment })).config.mesh.peers).toEqual([
      '/ip4/10.0.0.3/tcp/1',
      '/ip4/10.0.0.4/tcp/1/ws',
    ]);
    const flags = { 'mesh.peers': ['/dns/a.example/tcp/1'] };
    expect((await load({ yaml, environment, flags })).config.mesh.peers).toEqual(['/dns/a.example/tcp/1']);
  });

  it.each([
    ['true', true],
    ['1', true],
    ['on', true],
    ['false', false],
    ['0', false],
    ['NO', false],
  ])('SKEIN_MESH_MDNS=%s means %s', async (text, value) => {
    expect((await load({ environment: { SKEIN_MESH_MDNS: text } })).config.mesh.mdns).toBe(value);
  });

  it('reads the file that SKEIN_CONFIG names', async () => {
    const environment = { SKEIN_CONFIG: fileOf('node:\n  name: named\n') };
    expect((await load({ environment })).config.node.name).toBe('named');
  });

  it.each([
    'SKEIN_PORT',
    'SKEIN_SERVICE_HOST',
    'SKEIN_PORT_7330_TCP_ADDR',
    'SKEIN_CRASH_AT',
    'SKEIN_KEY',
    'PORT',
  ])('leaves %s alone, which is no setting and resembles none', async (name) => {
    expect((await load({ environment: { [name]: 'x' } })).config).toEqual((await load()).config);
  });

  it('an empty environment variable counts as unset', async () => {
    expect((await load({ environment: { SKEIN_MESH_PORT: '' } })).config.mesh.port).toBe(7331);
  });
});

describe('settings together', () => {
  const key = { principal: 'agent', secret: 'k'.repeat(24) };

  it('need no configuration at all', async () => {
    const { config, warnings } = await load();
    expect(config.mesh).toMatchObject({ port: 7331, wsPort: 0, mdns: true, peers: [], listen: ['0.0.0.0'] });
    expect(config.http).toMatchObject({ host: '127.0.0.1', port: 7330, enabled: true });
    expect(config.node.data).toBe(join(process.cwd(), '.skein'));
    expect(config.node.name).toMatch(/^[A-Za-z0-9]/);
    expect(warnings).toEqual([]);
  });

  it.each(['0.0.0.0', '10.0.0.5', '::', 'node.example.com'])(
    'HTTP on %s is refused without an API key and taken with one',
    async (host) => {
      const [problem] = await problemsOf(load({ flags: { 'http.host': host } }));
      expect(problem?.message).toMatch(/no API key is configured/);
      expect(problem?.place).toBe('--http-host');
      expect(configWith({ http: { host }, guard: { keys: [key] } }).http.host).toBe(host);
      expect(configWith({ http: { host, enabled: false } }).http.host).toBe(host);
    },
  );

  it.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost'])('HTTP on %s needs no key', (host) => {
    expect(configWith({ http: { host } }).http.host).toBe(host);
  });

  it('a gateway serves other machines once it has keys, and says so while it has none', async () => {
    const alone = await load({ flags: { 'node.roles': ['gateway'] } });
    expect(alone.config.http.host).toBe('127.0.0.1');
    expect(alone.warnings[0]).toMatch(/guard\.keys/);
    const yaml = `guard:\n  keys:\n    - { principal: agent, secret: ${key.secret} }\n`;
    const open = await load({ yaml, flags: { 'node.roles': ['gateway'] } });
    expect(open.config.http.host).toBe('0.0.0.0');
    expect(open.warnings).toEqual([]);
    expect((await load({ yaml })).config.http.host).toBe('127.0.0.1');
  });

  it('keep only the hash of an API key', () => {
    const { keys } = configWith({
      guard: { keys: [key, { principal: 'b', secretHash: hashOfSecret('x') }] },
    }).guard;
    expect(keys[0]).toEqual({ principal: 'agent', zone: 'trusted', secretHash: hashOfSecret(key.secret) });
    expect(JSON.stringify(keys)).not.toContain(key.secret);
  });

  it('no problem shows a secret', async () => {
    const secret = 'canary-canary\u0007';
    const yaml = `swarm:\n  secret: 12345678901\nguard:\n  keys:\n    - { principal: a, secret: "canary canary" }\n`;
    const problems = await problemsOf(load({ yaml, environment: { SKEIN_SWARM_SECRET: secret } }));
    expect(problems).toHaveLength(3);
    expect(JSON.stringify(problems)).not.toMatch(/canary|12345678901/);
  });

  it.each([
    [{ 'mesh.port': '8000', 'http.port': '8000' }, 1],
    [{ 'mesh.port': '8000', 'mesh.wsPort': '8000' }, 1],
    [{ 'mesh.port': '0', 'http.port': '0', 'mesh.wsPort': '0' }, 0],
    [{ 'mesh.port': '7330' }, 1],
  ])('ports %j have %i clash', async (flags, clashes) => {
    const found = await load({ flags }).then(
      () => [],
      (error: ConfigError) => error.problems,
    );
    expect(found).toHaveLength(clashes);
  });

  it('a data directory whose socket path would be cut short is refused before anything is made', async () => {
    const below = join(process.cwd(), 'd'.repeat(90));
    expect(configWith({ node: { data: below } }).node.data).toBe(below);
    const [problem] = await problemsOf(load({ flags: { 'node.data': `/${'d'.repeat(120)}` } }));
    expect(problem?.message).toMatch(/too long for the socket/);
  });

  it('a board called "constructor" is configured only where the file says so', () => {
    const { boards } = configWith();
    expect(boards.constructor).toBeUndefined();
    expect(configWith({ boards: { constructor: { quota: { keys: 5 } } } }).boards.constructor).toEqual({
      mode: 'crdt',
      quota: { keys: 5, bytes: 268435456 },
    });
  });
});

it('every setting has help and a distinct name in each source', () => {
  expect(options.filter((option) => option.help.length < 20)).toEqual([]);
  const names = options.map(environmentNameOf).filter((name) => name !== undefined);
  expect(new Set(names).size).toBe(names.length);
});
