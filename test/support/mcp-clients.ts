/** Real MCP clients of three makes, seen through one small interface. */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernHttp,
} from '@modelcontextprotocol/client';
import { Client as OldClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as OldHttp } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

export const CLIENTS = ['v1 (2025-11-25)', 'v2 (2025-11-25)', 'v2 (2026-07-28)'] as const;
export type ClientKind = (typeof CLIENTS)[number] | 'v2 (negotiated)';

export type Where = { readonly url: string; readonly key?: string } | { readonly socketPath: string };

export interface CallOutcome {
  readonly structured: Record<string, unknown>;
  readonly text: string;
  readonly isError: boolean;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number) => void;
}

export interface TestClient {
  readonly raw: OldClient | ModernClient;
  call(tool: string, args?: Record<string, unknown>, options?: CallOptions): Promise<CallOutcome>;
  /** Starts hearing of updates of a resource; resolves when the server has taken the subscription. */
  subscribe(uri: string, onUpdate: (uri: string) => void): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

export async function connectClient(kind: ClientKind, where: Where): Promise<TestClient> {
  if (kind === 'v1 (2025-11-25)') return connectOld(where);
  if (kind === 'v2 (negotiated)') return connectModern(where, 'auto');
  return connectModern(where, kind === 'v2 (2026-07-28)' ? { pin: '2026-07-28' } : 'legacy');
}

async function connectOld(where: Where): Promise<TestClient> {
  const client = new OldClient({ name: 'test-v1', version: '1.0.0' });
  const headers = 'key' in where && where.key !== undefined ? { authorization: `Bearer ${where.key}` } : {};
  const transport =
    'url' in where
      ? new OldHttp(new URL(where.url), { requestInit: { headers } })
      : new LineTransport(connect(where.socketPath));
  await client.connect(transport as Parameters<OldClient['connect']>[0]);
  const listeners = new Map<string, (uri: string) => void>();
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
    listeners.get(params.uri)?.(params.uri);
  });
  return {
    raw: client,
    call: async (name, args = {}, options = {}) =>
      outcomeOf(await client.callTool({ name, arguments: args }, undefined, requestOptions(options))),
    subscribe: async (uri, onUpdate) => {
      listeners.set(uri, onUpdate);
      await client.subscribeResource({ uri });
      return async () => {
        listeners.delete(uri);
        await client.unsubscribeResource({ uri });
      };
    },
    close: () => client.close(),
  };
}

async function connectModern(
  where: Where,
  mode: 'legacy' | 'auto' | { pin: '2026-07-28' },
): Promise<TestClient> {
  const client = new ModernClient({ name: 'test-v2', version: '1.0.0' }, { versionNegotiation: { mode } });
  const headers = 'key' in where && where.key !== undefined ? { authorization: `Bearer ${where.key}` } : {};
  const transport =
    'url' in where
      ? new ModernHttp(new URL(where.url), { requestInit: { headers } })
      : new LineTransport(connect(where.socketPath));
  await client.connect(transport as Parameters<ModernClient['connect']>[0]);
  const listeners = new Map<string, (uri: string) => void>();
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => {
    listeners.get(params.uri)?.(params.uri);
  });
  return {
    raw: client,
    call: async (name, args = {}, options = {}) =>
      outcomeOf(await client.callTool({ name, arguments: args }, requestOptions(options))),
    subscribe: async (uri, onUpdate) => {
      listeners.set(uri, onUpdate);
      if (mode === 'legacy') {
        await client.subscribeResource({ uri });
        return async () => {
          listeners.delete(uri);
          await client.unsubscribeResource({ uri });
        };
      }
      const subscription = await client.listen({ resourceSubscriptions: [uri] });
      return async () => {
        listeners.delete(uri);
        await subscription.close();
      };
    },
    close: () => client.close(),
  };
}

function requestOptions({ signal, onProgress }: CallOptions) {
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined
      ? {}
      : { onprogress: ({ progress }: { progress: number }) => onProgress(progress) }),
  };
}

function outcomeOf(result: unknown): CallOutcome {
  const { structuredContent, content, isError } = result as {
    structuredContent: Record<string, unknown>;
    content: { type: string; text: string }[];
    isError?: boolean;
  };
  return { structured: structuredContent, text: content[0]?.text ?? '', isError: isError === true };
}

/** MCP line by line on a stream, as a client's stdio transport speaks it. */
export class LineTransport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: never) => void;
  readonly #stream: Duplex;
  #rest = '';

  constructor(stream: Duplex) {
    this.#stream = stream;
  }

  async start(): Promise<void> {
    this.#stream.setEncoding('utf8');
    this.#stream.on('data', (chunk: string) => {
      const lines = (this.#rest + chunk).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) this.onmessage?.(JSON.parse(line) as never);
    });
    this.#stream.on('error', (error) => this.onerror?.(error));
    this.#stream.on('close', () => this.onclose?.());
  }

  async send(message: unknown): Promise<void> {
    this.#stream.write(`${JSON.stringify(message)}\n`);
  }

  async close(): Promise<void> {
    this.#stream.destroy();
  }
}
