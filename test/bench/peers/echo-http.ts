import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler } from '@modelcontextprotocol/server';
import { serve } from '../lib/remote.ts';
import { echoServer } from './echo.ts';

serve({
  listen: async () => {
    const handle = toNodeHandler(createMcpHandler(echoServer));
    const server = createServer((request, response) => {
      void handle(request as Parameters<typeof handle>[0], response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  },
});
