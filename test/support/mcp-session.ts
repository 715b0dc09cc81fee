/**
 * A program of its own: an unmodified MCP client that makes the tool calls it is given and prints what they answered.
 * For tests whose clients must live elsewhere than the test, such as in a network namespace.
 *
 *     node mcp-session.ts '{"sdk":"v1","where":{"command":"node","args":["…","mcp"]},"calls":[{"tool":"board_read","arguments":{}}]}'
 */
import {
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernHttp,
} from '@modelcontextprotocol/client';
import { StdioClientTransport as ModernStdio } from '@modelcontextprotocol/client/stdio';
import { Client as OldClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as OldStdio } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as OldHttp } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

export interface McpSession {
  readonly sdk: 'v1' | 'v2';
  readonly where: { readonly url: string } | { readonly command: string; readonly args: string[] };
  readonly calls: readonly { readonly tool: string; readonly arguments: Record<string, unknown> }[];
}

const { sdk, where, calls } = JSON.parse(process.argv[2] ?? '') as McpSession;
const implementation = { name: `session-${sdk}`, version: '1.0.0' };
const answers: unknown[] = [];

if (sdk === 'v1') {
  const client = new OldClient(implementation);
  const transport = 'url' in where ? new OldHttp(new URL(where.url)) : new OldStdio(where);
  await client.connect(transport as Parameters<OldClient['connect']>[0]);
  for (const { tool, arguments: args } of calls)
    answers.push((await client.callTool({ name: tool, arguments: args })).structuredContent);
  await client.close();
} else {
  const client = new ModernClient(implementation);
  const transport = 'url' in where ? new ModernHttp(new URL(where.url)) : new ModernStdio(where);
  await client.connect(transport as Parameters<ModernClient['connect']>[0]);
  for (const { tool, arguments: args } of calls)
    answers.push((await client.callTool({ name: tool, arguments: args })).structuredContent);
  await client.close();
}
process.stdout.write(JSON.stringify(answers));
