import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler } from '@modelcontextprotocol/server';
import { diskFloor } from '../lib/disk-floor.ts';
import { serve } from '../lib/remote.ts';
import { echoServer } from './echo.ts';

serve({
  /** `directory`: it answers once a record is on the disk there. */
  listen: async (directory?: string) => {
    const disk = directory === undefined ? undefined : diskFloor(directory);
    const handle = toNodeHandler(createMcpHandler(() => echoServer(disk)));
    const server = createServer((request, response) => {
      void handle(request as Parameters<typeof handle>[0], response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  },
});
