/** What tests of whole nodes share: nodes as processes, their command line and clients, all ended together. */
import { expect } from 'vitest';
import { type Ended, skein } from '../cli/terminal.ts';
import { type ClientKind, connectClient, type TestClient } from './mcp-clients.ts';
import { LOCAL, NodeProcess, type NodeSetting, scratch } from './node-process.ts';
import { jsonRequest, type RawTarget } from './raw-http.ts';
import type { Outcome, WriteOnce } from './steady-writer.ts';

export interface StartSetting extends Partial<NodeSetting> {
  readonly peers?: readonly NodeProcess[];
  /** Behind those of `LOCAL`. */
  readonly flags?: readonly string[];
}

export interface Peer {
  readonly nodeId: string;
  readonly name: string;
  readonly state: 'alive' | 'suspect' | 'dead';
  readonly self: boolean;
  readonly addresses: readonly string[];
}

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

export class WholeNodes {
  readonly #scratch: ReturnType<typeof scratch>;
  readonly #nodes: NodeProcess[] = [];
  readonly #clients: TestClient[] = [];

  constructor(name: string) {
    this.#scratch = scratch(name);
  }

  path(...parts: string[]): string {
    return this.#scratch.path(...parts);
  }

  async start(name: string, { peers = [], flags = [], ...rest }: StartSetting = {}): Promise<NodeProcess> {
    const dial = peers.flatMap((peer) => ['--peer', peer.ready.meshAddresses[0] as string]);
    return this.own(
      await NodeProcess.start({ data: this.path(name), name, args: [...LOCAL, ...flags, ...dial], ...rest }),
    );
  }

  /** From now on this node is ended with the others. */
  own(node: NodeProcess): NodeProcess {
    this.#nodes.push(node);
    return node;
  }

  async client(on: NodeProcess, kind: ClientKind = 'v2 (2026-07-28)', key?: string): Promise<TestClient> {
    const client = await connectClient(kind, {
      url: on.ready.mcpUrl,
      ...(key === undefined ? {} : { key }),
    });
    this.#clients.push(client);
    return client;
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#clients.map((client) => client.close()));
    await Promise.allSettled(this.#nodes.map((node) => node.end('SIGKILL')));
    this.#scratch.remove();
  }
}

/** A command on the node in this data directory. */
export function command(
  on: { readonly setting: { readonly data: string } },
  ...argv: string[]
): Promise<Ended> {
  return skein([...argv, '--data', on.setting.data]);
}

export async function peersOf(on: NodeProcess): Promise<readonly Peer[]> {
  const { code, json } = await command(on, 'peers', '--json');
  expect(code).toBe(0);
  return (json as { peers: readonly Peer[] }).peers;
}

export async function problemsOf(on: NodeProcess): Promise<readonly Problem[]> {
  const { code, json } = await command(on, 'doctor', '--json');
  expect(code).toBe(0);
  return (json as { problems: readonly Problem[] }).problems;
}

export async function hashOf(on: NodeProcess, board = 'main'): Promise<string> {
  const { code, json } = await command(on, 'board', 'hash', board, '--json');
  expect(code).toBe(0);
  return (json as { hash: string }).hash;
}

/** The control interface: the REST of a node without a port. */
export function controlOf(on: NodeProcess): RawTarget {
  return { socketPath: `${on.setting.data}/control.sock` };
}

/** What a node wrote to its log, a line each, without what it tells a person who waits for the start. */
export function logLines({ log }: NodeProcess): readonly string[] {
  return log
    .split('\n')
    .filter((line) => line !== '' && !/^(Starting|Reading|Joining|Opening|Stopping)\b.*[….]$/.test(line));
}

/** All entries of a board, page by page. */
export async function entriesOf(on: NodeProcess, board = 'main'): Promise<ReadonlyMap<string, unknown>> {
  const entries = new Map<string, unknown>();
  let cursor: string | undefined;
  do {
    const query = `limit=1000${cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
    const answer = await jsonRequest(controlOf(on), 'GET', `/v1/boards/${board}/entries?${query}`);
    expect(answer.status, answer.text).toBe(200);
    const page = answer.json as { entries: { key: string; value: unknown }[]; cursor?: string };
    for (const { key, value } of page.entries) entries.set(key, value);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return entries;
}

/** Writes over the control interface; throws where the node has gone. */
export function restWriter(on: NodeProcess, board = 'main'): WriteOnce {
  return async (key, value) => {
    const path = `/v1/boards/${board}/entries/${encodeURIComponent(key)}`;
    const { status, json } = await jsonRequest(controlOf(on), 'PUT', path, { value });
    return status === 200 ? 'done' : outcomeOf((json as { error: ErrorShape }).error);
  };
}

/** Writes as an MCP client does. */
export function mcpWriter(client: TestClient): WriteOnce {
  return async (key, value) => {
    const { isError, structured } = await client.call('board_write', { key, value });
    return isError ? outcomeOf(structured.error as ErrorShape) : 'done';
  };
}

export interface ErrorShape {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly retryable: boolean;
  readonly details?: { readonly outcome?: string };
}

function outcomeOf({ details }: ErrorShape): Outcome {
  return details?.outcome === 'not-done' ? 'not-done' : 'unknown';
}
