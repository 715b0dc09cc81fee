/** The least MCP server that the SDK can make: one tool that answers with the text it was given. */
import { McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

export function echoServer(): McpServer {
  const server = new McpServer({ name: 'echo', version: '1.0.0' });
  server.registerTool(
    'echo',
    { description: 'Answers with the text', inputSchema: z.object({ text: z.string() }) },
    ({ text }) => ({ content: [{ type: 'text', text }] }),
  );
  return server;
}
