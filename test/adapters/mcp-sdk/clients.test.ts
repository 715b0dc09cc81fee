/** The MCP faces of a node in memory, through real clients. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startControl } from '../../../src/adapters/http/control.ts';
import { startHttp } from '../../../src/adapters/http/server.ts';
import { describeMcpClients } from '../../support/mcp-suite.ts';
import { IDENTITY, memoryNode, QUIET } from '../../support/memory-node.ts';

describeMcpClients('mcp', async () => {
  const node = memoryNode();
  const dataDirectory = await mkdtemp(join(tmpdir(), 'skein-faces-'));
  const setting = { node, logger: QUIET, identity: IDENTITY };
  const http = await startHttp({
    ...setting,
    host: '127.0.0.1',
    port: 0,
    keys: [],
    allowedHosts: [],
    allowedOrigins: [],
  });
  const control = await startControl({ ...setting, dataDirectory });
  return {
    mcpUrl: http.mcpUrl,
    mcpPath: control.mcpPath,
    waiting: () => node.blackboard.waiting,
    listeners: (board) => node.blackboard.listenersOf(board),
    close: async () => {
      await http.close();
      await control.close();
      await rm(dataDirectory, { recursive: true });
    },
  };
});
