/**
 * What is wrong is refused with what to do, through every face of a running node; nothing is half-written, and the
 * node goes on as before. Taken ports, other users' directories and the like are in `cli.test.ts`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { encode } from '../../src/kernel/codec.ts';
import type { Channel } from '../../src/kernel/effects.ts';
import { skein } from '../cli/terminal.ts';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { rawRequest } from '../support/raw-http.ts';
import { StrayPeer } from '../support/stray-peer.ts';
import {
  command,
  type ErrorShape,
  entriesOf,
  hashOf,
  logLines,
  peersOf,
  problemsOf,
  restWriter,
  WholeNodes,
} from '../support/whole-nodes.ts';

const MAIN = resolve(import.meta.dirname, '../../src/cli/main.js');
const MEBI = 1024 * 1024;
const HUGE = 100 * MEBI;
/** Whoever held the whole of it would need more; pieces that wait to be collected are a part of it. */
const MOST_HELD = 0.8 * HUGE;
const JSON_TYPE = { 'content-type': 'application/json' };
const nodes = new WholeNodes('bad-input');
let node: NodeProcess;
let port: number;
/** Hash of the board before each test. */
let before: string;
let stdio: StdioClient;
let health = 0;

beforeAll(async () => {
  const config = nodes.path('config.yaml');
  writeFileSync(config, 'boards:\n  health: {}\n');
  node = await nodes.start('node', { flags: ['--config', config] });
  port = Number(new URL(node.ready.httpUrl).port);
  stdio = new StdioClient(node.setting.data);
  await stdio.open();
});
afterAll(async () => {
  stdio.end();
  await nodes.end();
});

beforeEach(async () => {
  before = await hashOf(node);
});
/** Whatever was thrown at it: the board is as it was, and the node writes and reads. */
afterEach(async () => {
  expect((await entriesOf(node)).has('bad')).toBe(false);
  expect(await hashOf(node)).toBe(before);
  expect(await restWriter(node, 'health')('pulse', ++health)).toBe('done');
  expect((await entriesOf(node, 'health')).get('pulse')).toBe(health);
  const { structured } = await stdio.call('board_read', '{"board":"health","key":"pulse"}');
  expect(structured?.value).toBe(health);
});

function expectHelp(error: ErrorShape | undefined, codes: RegExp): void {
  expect(error?.code).toMatch(codes);
  expect(error?.message).toMatch(/\w.*\.$/s);
  expect(error?.hint).toMatch(/\w.*\.$/s);
  expect(JSON.stringify(error)).not.toMatch(/node:internal| {4}at |\.ts:\d/);
}

async function aliveBeside(on: NodeProcess): Promise<readonly string[]> {
  return (await peersOf(on)).flatMap(({ state, self, nodeId }) =>
    state === 'alive' && !self ? [nodeId] : [],
  );
}

/** MCP over `skein mcp`, with lines as the test writes them. */
class StdioClient {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers = new Map<string, (answer: Answer) => void>();
  #count = 0;
  #rest = '';

  constructor(data: string) {
    this.#child = spawn(process.execPath, [MAIN, 'mcp', '--data', data]);
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) {
        const answer = JSON.parse(line) as Answer;
        const key = String(answer.id);
        this.#answers.get(key)?.(answer);
        this.#answers.delete(key);
      }
    });
  }

  async open(): Promise<void> {
    const clientInfo = { name: 'raw', version: '1' };
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo };
    await this.#ask('initialize', JSON.stringify(params));
    this.#child.stdin.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n');
  }

  /** The arguments are bytes of JSON, or what passes for it. */
  async call(tool: string, args: string | Buffer) {
    const before = Buffer.from(`{"name":"${tool}","arguments":`);
    return outcomeOf(
      await this.#ask('tools/call', Buffer.concat([before, Buffer.from(args), Buffer.from('}')])),
    );
  }

  async #ask(method: string, params: string | Buffer): Promise<Answer> {
    const id = `q${++this.#count}`;
    const answered = new Promise<Answer>((settle, fail) => {
      this.#answers.set(id, settle);
      this.#answers.set('null', settle);
      this.#child.once('exit', () => fail(new Error('skein mcp has ended')));
    });
    this.#child.stdin.write(
      Buffer.concat([
        Buffer.from(`{"jsonrpc":"2.0","id":"${id}","method":"${method}","params":`),
        Buffer.from(params),
        Buffer.from('}\n'),
      ]),
    );
    return answered;
  }

  end(): void {
    this.#child.stdin.end();
    this.#child.kill();
  }
}

interface Answer {
  readonly id: unknown;
  readonly error?: { readonly message: string; readonly data?: { readonly error?: ErrorShape } };
  readonly result?: { readonly isError?: boolean; readonly structuredContent?: Record<string, unknown> };
}

function outcomeOf({ error, result }: Answer): { error?: ErrorShape; structured?: Record<string, unknown> } {
  if (error !== undefined) return { error: error.data?.error as ErrorShape };
  const structured = result?.structuredContent ?? {};
  return result?.isError === true ? { error: structured.error as ErrorShape } : { structured };
}

/** Ways of writing a value to the key `bad`, given the bytes of its JSON; each gives the error. */
const FACES: Record<string, (value: Buffer) => Promise<ErrorShape | undefined>> = {
  REST: async (value) => {
    const body = Buffer.concat([Buffer.from('{"value":'), value, Buffer.from('}')]);
    const path = '/v1/boards/main/entries/bad';
    const { json } = await rawRequest({ port }, { method: 'PUT', path, headers: JSON_TYPE, body });
    return (json as { error?: ErrorShape } | undefined)?.error;
  },
  'POST /mcp/tools': async (value) => {
    const body = Buffer.concat([Buffer.from('{"key":"bad","value":'), value, Buffer.from('}')]);
    const path = '/mcp/tools/board_write';
    const { json } = await rawRequest({ port }, { method: 'POST', path, headers: JSON_TYPE, body });
    return (json as { error?: ErrorShape } | undefined)?.error;
  },
  'MCP on stdio': async (value) => {
    const args = Buffer.concat([Buffer.from('{"key":"bad","value":'), value, Buffer.from('}')]);
    return (await stdio.call('board_write', args)).error;
  },
  'the command line': async (value) => {
    const argv = ['board', 'set', 'main', 'bad', '-', '--json', '--data', node.setting.data];
    const { code, json } = await skein(argv, { input: value });
    expect(code).toBeGreaterThan(0);
    return (json as { error?: ErrorShape }).error;
  },
};

const text = (value: string) => Buffer.from(value, 'utf8');
/** Name, bytes of JSON, the codes that fit, and whether the command line takes it for plain text instead. */
const VALUES: [string, Buffer, RegExp, 'text'?][] = [
  [
    'arrays nested 400,000 deep',
    text('['.repeat(400_000) + ']'.repeat(400_000)),
    /INVALID_ARGUMENT|TOO_LARGE/,
  ],
  ['objects nested 65 deep', text(`${'{"a":'.repeat(65)}1${'}'.repeat(65)}`), /INVALID_ARGUMENT/],
  ['300,000 elements', text(`[${'0,'.repeat(300_000)}0]`), /TOO_LARGE/],
  ['300 KB in one text', text(JSON.stringify('x'.repeat(300_000))), /TOO_LARGE/],
  ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), /INVALID_ARGUMENT/],
  ['an overlong encoding', Buffer.from([0x22, 0xc0, 0x80, 0x22]), /INVALID_ARGUMENT/],
  ['half a surrogate pair', text('"\\ud83d"'), /INVALID_ARGUMENT/],
  ['__proto__ as a key', text('{"__proto__":{"admin":true}}'), /INVALID_ARGUMENT/],
  ['__proto__ deep inside', text('[{"a":[{"__proto__":null}]}]'), /INVALID_ARGUMENT/],
  ['constructor as a key', text('{"constructor":{"prototype":{"admin":true}}}'), /INVALID_ARGUMENT/],
  ['a number that is not finite', text('1e999'), /INVALID_ARGUMENT/],
  ['half a document', text('{"a":'), /INVALID_ARGUMENT/, 'text'],
];

describe.each(Object.entries(FACES))('through %s', (face, write) => {
  it.each(VALUES.filter(([, , , plain]) => face !== 'the command line' || plain === undefined))(
    'a value with %s is refused with what to do, and nothing is written',
    async (_, value, codes) => {
      expectHelp(await write(value), codes);
      expect(({} as { admin?: unknown }).admin).toBeUndefined();
    },
  );
});

describe('100 MB', () => {
  /** Largest resident size that the process ever had, in bytes. */
  const peak = () =>
    Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${node.pid}/status`, 'utf8'))?.[1]) * 1024;

  function* chunks(): Generator<Buffer> {
    const chunk = Buffer.alloc(MEBI, 'x');
    yield Buffer.from('{"value":"');
    for (let at = 0; at < HUGE / MEBI; at++) yield chunk;
    yield Buffer.from('"}');
  }

  /** What the node answered, however much of the body it took. */
  function post(path: string, length: Record<string, string>) {
    return new Promise<{ status: number; error: ErrorShape }>((settle, fail) => {
      const headers = { ...JSON_TYPE, ...length };
      const sent = request({ host: '127.0.0.1', port, method: 'POST', path, headers });
      let answered = false;
      sent.on('response', (response) => {
        answered = true;
        let body = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('end', () => {
          const { error } = JSON.parse(body) as { error: ErrorShape & { data?: { error: ErrorShape } } };
          // On /mcp it stands in an error of JSON-RPC.
          settle({ status: response.statusCode ?? 0, error: error.data?.error ?? error });
        });
      });
      // Once it has answered, the node need not hear the rest.
      pipeline(Readable.from(chunks()), sent).catch((error) => answered || fail(error));
    });
  }

  it.each([
    ['told beforehand', '/mcp', { 'content-length': String(HUGE + 12) }],
    ['in pieces', '/mcp/tools/board_write', { 'transfer-encoding': 'chunked' }],
  ])('over HTTP, %s, is refused and never held', async (_, path, length) => {
    const before = peak();
    const { status, error } = await post(path, length as Record<string, string>);
    expect(status).toBe(413);
    expectHelp(error, /TOO_LARGE/);
    expect(peak() - before).toBeLessThan(MOST_HELD);
  });

  it('in one line of MCP on stdio is refused and never held', async () => {
    const before = peak();
    const { error } = await stdio.call('board_write', `{"key":"bad","value":"${'x'.repeat(HUGE)}"}`);
    expectHelp(error, /TOO_LARGE/);
    expect(peak() - before).toBeLessThan(MOST_HELD);
  });

  it('on the standard input of a command is refused before anything is sent', async () => {
    const input = Buffer.alloc(HUGE, 'x');
    const argv = ['board', 'set', 'main', 'bad', '-', '--json', '--data', node.setting.data];
    const { code, json } = await skein(argv, { input });
    expect(code).toBe(1);
    expectHelp((json as { error: ErrorShape }).error, /TOO_LARGE/);
  });

  it('in one message of a y-websocket client ends its connection alone', async () => {
    const before = peak();
    const socket = new WebSocket(`${node.ready.httpUrl.replace('http', 'ws')}/yjs/main/bad`);
    await new Promise((opened) => socket.once('open', opened));
    const closed = new Promise<number>((settle) => socket.once('close', settle));
    socket.on('error', () => undefined);
    socket.send(Buffer.alloc(HUGE));
    expect([1006, 1009]).toContain(await closed);
    expect(peak() - before).toBeLessThan(MOST_HELD);
  });
});

describe('names', () => {
  const BAD = ['__proto__', 'constructor', 'prototype'];

  it.each(BAD)('%j as key, board, document and argument is refused with what to do', async (name) => {
    const calls: [string, string][] = [
      ['board_write', `{"key":"${name}","value":1}`],
      ['board_append', `{"key":"${name}","items":[1]}`],
      ['board_write', `{"board":"${name}","key":"bad","value":1}`],
      ['document_edit', `{"document":"${name}","edits":[{"kind":"append","text":"x"}]}`],
      ['board_write', `{"key":"bad","value":1,"${name}":{"admin":true}}`],
    ];
    for (const [tool, args] of calls) {
      const { error, structured } = await stdio.call(tool, args);
      expect(structured, args).toBeUndefined();
      expectHelp(error, /INVALID_ARGUMENT|NOT_FOUND/);
    }
    const path = `/v1/boards/main/entries/${name}`;
    const body = '{"value":1}';
    const { json } = await rawRequest({ port }, { method: 'PUT', path, headers: JSON_TYPE, body });
    expectHelp((json as { error: ErrorShape }).error, /INVALID_ARGUMENT/);
  });

  it.each(['%ff', '%c0%80', '%ed%a0%80', '%'])(
    'a key of bytes %s that are no text is refused',
    async (key) => {
      const path = `/v1/boards/main/entries/${key}`;
      const { status, json } = await rawRequest(
        { port },
        { method: 'PUT', path, headers: JSON_TYPE, body: '{"value":1}' },
      );
      expect([400, 404]).toContain(status);
      expectHelp((json as { error: ErrorShape }).error, /INVALID_ARGUMENT|NOT_FOUND/);
    },
  );
});

describe('a start', () => {
  it.each([
    ['a wrong flag', ['--mesh-prot', '1'], /--mesh-port/],
    ['an unknown key', ['--config', 'CONFIG'], /config-wrong\.yaml:2.*htp|htp.*http/s],
    ['a configuration that is not UTF-8', ['--config', 'BYTES'], /UTF-8/],
  ])('with %s says what is right, and leaves no directory behind', async (_, flags, says) => {
    const config = nodes.path('config-wrong.yaml');
    writeFileSync(config, 'node:\n  nmae: x\nhtp:\n  port: 1\n');
    const bytes = nodes.path('bytes.yaml');
    writeFileSync(bytes, Buffer.from([0x6e, 0xff, 0xfe]));
    const data = nodes.path('never');
    const argv = flags.map((flag) => ({ CONFIG: config, BYTES: bytes })[flag] ?? flag);
    const { code, error, out } = await skein(['up', '--data', data, ...argv]);
    expect([code, out]).toEqual([2, '']);
    expect(error).toMatch(says);
    expect(existsSync(data)).toBe(false);
  });
});

const FAKETIME = [
  '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1',
  '/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1',
].find((path) => existsSync(path));
if (FAKETIME === undefined)
  console.warn('skipped: a clock an hour off: the Debian package faketime is not here');

describe.skipIf(FAKETIME === undefined)('a clock an hour off', { timeout: 60_000 }, () => {
  it.each(['+1h', '-1h'])(
    '(%s) is refused, told by the doctor of both, and mended by a restart',
    async (offset) => {
      const env = {
        LD_PRELOAD: FAKETIME as string,
        FAKETIME: offset,
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        FAKETIME_DONT_RESET: '1',
      };
      const off = await nodes.start(offset === '+1h' ? 'early' : 'late', { peers: [node], env });
      for (const [on, other] of [
        [off, node],
        [node, off],
      ] as const) {
        const problem = await eventually('the doctor says why', async () =>
          (await problemsOf(on)).find(
            ({ code, message }) => code === 'link.clock' && message.includes(other.ready.nodeId),
          ),
        );
        expect(problem.message).toMatch(/36\d\d seconds|359\d seconds|60 minutes|1 hour/);
        expect(problem.hint).toMatch(/NTP/);
      }
      expect(await aliveBeside(node)).not.toContain(off.ready.nodeId);
      // It is of use by itself meanwhile.
      const [alone, since] = [`alone${offset}`, `since${offset}`];
      expect(await restWriter(off)(alone, 1)).toBe('done');
      await off.end();
      const mended = nodes.own(await off.again({ env: {} }));
      await eventually(
        'they see each other once the clock is right',
        async () => (await aliveBeside(mended)).includes(node.ready.nodeId) || undefined,
      );
      expect((await entriesOf(mended)).get(alone)).toBe(1);
      expect((await problemsOf(node)).map(({ code }) => code)).not.toContain('link.clock');
      expect(await restWriter(mended)(since, 2)).toBe('done');
      // Stamps of a clock that was ahead are not believed: what was written with them is stamped anew.
      await eventually('what it wrote then and since arrives', async () => {
        const entries = await entriesOf(node);
        return (entries.get(alone) === 1 && entries.get(since) === 2) || undefined;
      });
      expect((await problemsOf(mended)).map(({ code }) => code)).not.toContain('STAMPS_AHEAD');
      for (const key of [alone, since])
        expect((await command(mended, 'board', 'delete', 'main', key)).code).toBe(0);
      await eventually('nothing is left', async () => (await hashOf(node)) === before || undefined);
      await mended.end();
    },
  );
});

describe('through the wire', { timeout: 60_000 }, () => {
  let stray: StrayPeer;
  afterEach(() => stray.close());

  it.each([
    ['newer', [2, 3]],
    ['far newer', [900, 1_000]],
  ])(
    'a peer with a %s protocol version is refused with the versions, and the doctor says so',
    async (_, versions) => {
      stray = new StrayPeer((versions[0] as number) % 200);
      await stray.reach(node);
      stray.greet({ versions });
      const refusal = await eventually('it is refused', () => stray.refusal());
      expect(refusal).toMatchObject({ code: 'protocol-version', leastVersion: 1, mostVersion: 1 });
      const problem = await eventually('the doctor says why', async () =>
        (await problemsOf(node)).find(
          ({ code, message }) => code === 'link.protocol-version' && message.includes(stray.nodeId),
        ),
      );
      expect(problem.message).toContain(`${versions[0]} to ${versions[1]}`);
      expect(problem.hint).toMatch(/Update/);
    },
  );

  it.each<[string, Uint8Array]>([
    ['nothing that can be decoded', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['versions the wrong way round', encode({ kind: 'hello', versions: [3, 1] })],
    ['__proto__ among its fields', Buffer.from('82a96b696e64a568656c6c6f', 'hex')],
  ])('a greeting with %s is refused', async (_, bytes) => {
    stray = new StrayPeer(77);
    await stray.reach(node);
    stray.say('hello', bytes);
    expect(await eventually('it is refused', () => stray.refusal())).toMatchObject({ code: 'malformed' });
  });

  it('a member that sends garbage on every channel is cut off and barred, and nothing of it stays', async () => {
    stray = new StrayPeer(78);
    await stray.reach(node);
    stray.greet();
    await eventually('it is greeted', () => stray.greetings().length || undefined);
    stray.admit();
    // Yjs would reserve 33 million structs for these twelve bytes.
    const bomb = Buffer.from('01ffffff0f01000000000000', 'hex');
    const channels: Channel[] = ['mesh', 'records', 'board', 'quorum', 'call'];
    const sending = setInterval(() => {
      for (const channel of channels) {
        stray.say(channel, bomb);
        stray.say(channel, encode({ kind: 'delta', delta: bomb, __proto__: null, bytes: bomb }));
      }
    }, 10);
    try {
      const problem = await eventually('it is barred', async () =>
        (await problemsOf(node)).find(
          ({ code, message }) => code === 'link.barred' && message.includes(stray.nodeId),
        ),
      );
      expect(problem.hint).toMatch(/\w/);
    } finally {
      clearInterval(sending);
    }
    expect(await aliveBeside(node)).not.toContain(stray.nodeId);
  });
});

describe('the log of all this', () => {
  it('has no stack traces and no errors, and the journal is sound', async () => {
    const lines = logLines(node).map((line) => JSON.parse(line) as { level: string; name: string });
    expect(lines.filter(({ level }) => level === 'error')).toEqual([]);
    expect(node.log).not.toMatch(/ {4}at /);
    await node.end('SIGKILL');
    const journal = join(node.setting.data, 'journal');
    expect(existsSync(journal)).toBe(true);
    node = nodes.own(await node.again());
    stdio.end();
    stdio = new StdioClient(node.setting.data);
    await stdio.open();
    expect(await problemsOf(node)).toEqual([]);
  });
});
