/**
 * The least MCP server that the SDK can make: one tool that answers with the text it was given; with `disk` once
 * that has a small record.
 */
import { McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { Caller } from '../lib/mcp-client.ts';

export function echoServer(disk?: Caller): McpServer {
  const server = new McpServer({ name: 'echo', version: '1.0.0' });
  server.registerTool(
    'echo',
    { description: 'Answers with the text', inputSchema: z.object({ text: z.string() }) },
    disk === undefined
      ? ({ text }) => answer(text)
      : async ({ text }) => {
          await disk.call('', {});
          return answer(text);
        },
  );
  return server;
}

function answer(text: string) {
  return { content: [{ type: 'text' as const, text }] };
}
