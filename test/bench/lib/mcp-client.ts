/**
 * Two clients for the same calls. The raw one writes JSON lines or plain HTTP requests and looks for `error` in
 * the answer: it costs little, so the server's share of the time is large and ratios are strict. The SDK's own
 * client is what agents use.
 */
import type { ChildProcess } from 'node:child_process';
import { Agent, request } from 'node:http';
import { createInterface } from 'node:readline';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { start, stop } from './scratch.ts';

export interface Caller {
  call(tool: string, args: Readonly<Record<string, unknown>>): Promise<void>;
  close(): Promise<void>;
  /** The process that this client has started, if it has. */
  readonly pid?: number | undefined;
}

/** How a stdio server is started. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
}

const REVISION = '2026-07-28';
const META = {
  'io.modelcontextprotocol/protocolVersion': REVISION,
  'io.modelcontextprotocol/clientCapabilities': {},
  'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1.0.0' },
};

interface Answer {
  readonly id?: number;
  readonly error?: unknown;
  readonly result?: { readonly isError?: boolean };
}

function requestText(id: number, tool: string, args: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({
    jsonrpc: '2.0',
    id,
    method: 'tools/call',
    params: { name: tool, arguments: args, _meta: META },
  });
}

function check(tool: string, answer: Answer): void {
  if (answer.error !== undefined || answer.result === undefined || answer.result.isError === true) {
    throw new Error(`${tool}: ${JSON.stringify(answer).slice(0, 400)}`);
  }
}

export function rawStdio({ command, args }: Command): Caller {
  const child: ChildProcess = start(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error('no pipes');
  const waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  createInterface({ input: stdout }).on('line', (line) => {
    const answer = JSON.parse(line) as Answer;
    const waiter = waiting.get(answer.id ?? -1);
    waiting.delete(answer.id ?? -1);
    waiter?.resolve(answer);
  });
  child.once('exit', (code, signal) => {
    for (const waiter of waiting.values()) waiter.reject(new Error(`server ended: ${signal ?? code}`));
    waiting.clear();
  });
  let next = 1;
  return {
    call: async (tool, args) => {
      const id = next++;
      const answer = new Promise<Answer>((resolve, reject) => waiting.set(id, { resolve, reject }));
      stdin.write(`${requestText(id, tool, args)}\n`);
      check(tool, await answer);
    },
    close: () => stop(child),
    pid: child.pid,
  };
}

export function rawHttp(url: string): Caller {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  let next = 1;
  const post = (tool: string, body: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const outgoing = request(url, { method: 'POST', agent, headers: headersOf(tool, body) }, (incoming) => {
        let text = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (part: string) => {
          text += part;
        });
        incoming.on('end', () => resolve(text));
        incoming.on('error', reject);
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  return {
    call: async (tool, args) => {
      const text = await post(tool, requestText(next++, tool, args));
      // A server may answer as an event stream; the answer is then its last event.
      const json = text.startsWith('{') ? text : (text.split('\ndata: ').at(-1) ?? '');
      check(tool, JSON.parse(json) as Answer);
    },
    close: async () => agent.destroy(),
  };
}

function headersOf(tool: string, body: string): Record<string, string | number> {
  return {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'content-length': Buffer.byteLength(body),
    'mcp-protocol-version': REVISION,
    'mcp-method': 'tools/call',
    'mcp-name': tool,
  };
}

async function sdk(transport: StdioClientTransport | StreamableHTTPClientTransport): Promise<Caller> {
  const client = new Client(
    { name: 'bench', version: '1.0.0' },
    { versionNegotiation: { mode: { pin: REVISION } } },
  );
  await client.connect(transport);
  return {
    call: async (tool, args) => {
      check(tool, { result: await client.callTool({ name: tool, arguments: { ...args } }) } as Answer);
    },
    close: () => client.close(),
    ...('pid' in transport ? { pid: transport.pid ?? undefined } : {}),
  };
}

export function sdkStdio({ command, args }: Command): Promise<Caller> {
  return sdk(new StdioClientTransport({ command, args: [...args], stderr: 'inherit' }));
}

export function sdkHttp(url: string): Promise<Caller> {
  return sdk(new StreamableHTTPClientTransport(new URL(url)));
}
