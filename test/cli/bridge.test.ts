import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const MAIN = resolve(import.meta.dirname, '../../src/cli/main.js');

let data = '';
let server: Server;
let child: ChildProcessWithoutNullStreams;
let node: Socket;
let out: Buffer[];

beforeEach(async () => {
  data = mkdtempSync(join(tmpdir(), 'skein-bridge-'));
  server = createServer({ allowHalfOpen: true });
  server.listen(join(data, 'mcp.sock'));
  await once(server, 'listening');
  child = spawn(process.execPath, [MAIN, 'mcp', '--data', data]);
  out = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  // Killed with input still to take.
  child.stdin.on('error', () => {});
  [node] = (await once(server, 'connection')) as [Socket];
});
afterEach(() => {
  child.kill('SIGKILL');
  node.destroy();
  server.close();
  rmSync(data, { recursive: true, force: true });
});

const received = () => Buffer.concat(out);
const ended = async () => ((await once(child, 'exit')) as [number | null])[0];

describe('skein mcp', () => {
  it('passes bytes both ways as they are', async () => {
    child.stdin.write('{"jsonrpc":"2.0"}\n\xff not JSON');
    const [chunk] = (await once(node, 'data')) as [Buffer];
    expect(chunk.toString()).toBe('{"jsonrpc":"2.0"}\n\xff not JSON');
    node.write('answer\n');
    await expect.poll(() => received().toString()).toBe('answer\n');
  });

  it('ends when the client closes its end, after the answers under way, with exit code 0', async () => {
    const exit = ended();
    child.stdin.end('question\n');
    node.resume();
    await once(node, 'end');
    node.write('late ');
    node.end('answer\n');
    expect(await exit).toBe(0);
    expect(received().toString()).toBe('late answer\n');
  });

  it('loses nothing of 8 MiB each way to a slow reader', async () => {
    const sent = randomBytes(8 * 1024 * 1024);
    node.pipe(node);
    child.stdout.pause();
    const exit = ended();
    child.stdin.end(sent);
    await expect.poll(() => node.bytesRead).toBeGreaterThan(64 * 1024);
    child.stdout.resume();
    expect(await exit).toBe(0);
    expect(received().equals(sent)).toBe(true);
  });

  it('takes no more from the client than the node takes from it', async () => {
    node.pause();
    child.stdin.write(Buffer.alloc(64 * 1024 * 1024));
    await expect.poll(() => child.stdin.writableLength, { timeout: 5_000 }).toBeGreaterThan(48 * 1024 * 1024);
  });

  it('says so when the node goes away, with exit code 3 and nothing on standard output', async () => {
    let error = '';
    child.stderr.on('data', (chunk) => {
      error += chunk;
    });
    const exit = ended();
    node.destroy();
    expect(await exit).toBe(3);
    expect(error).toMatch(/The node went away/);
    expect(received().length).toBe(0);
  });

  it.each(['file', 'pipe'])(
    'passes on all of standard input from a %s, as the agent that is named',
    async (kind) => {
      const content = randomBytes(3 * 1024 * 1024);
      const file = join(data, 'input');
      writeFileSync(file, content);
      const stdin = kind === 'file' ? openSync(file, 'r') : 'pipe';
      const connected = once(server, 'connection');
      const second = spawn(process.execPath, [MAIN, 'mcp', '--data', data, '--agent', 'planner'], {
        stdio: [stdin, 'ignore', 'inherit'],
      });
      if (typeof stdin === 'number') closeSync(stdin);
      second.stdin?.end(content);
      const exit = once(second, 'exit');
      const [socket] = (await connected) as [Socket];
      const parts: Buffer[] = [];
      for await (const part of socket) parts.push(part as Buffer);
      socket.end();
      expect(await exit).toEqual([0, null]);
      const all = Buffer.concat(parts);
      const lineEnd = all.indexOf('\n');
      expect(JSON.parse(all.toString('utf8', 0, lineEnd))).toEqual({
        jsonrpc: '2.0',
        method: 'notifications/skein/agent',
        params: { agent: 'planner' },
      });
      expect(all.subarray(lineEnd + 1).equals(content)).toBe(true);
    },
  );

  it('ends soon on SIGTERM', async () => {
    const exit = ended();
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
  });
});
