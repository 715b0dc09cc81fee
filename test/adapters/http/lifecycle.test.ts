/** Starting and stopping the faces: bounded in time, with nothing left behind. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import WebSocket from 'ws';
import { startControl } from '../../../src/adapters/http/control.ts';
import { startHttp } from '../../../src/adapters/http/server.ts';
import { CLIENTS, connectClient } from '../../support/mcp-clients.ts';
import { IDENTITY, memoryNode, QUIET, until } from '../../support/memory-node.ts';

/** What keeps the process alive, without what the test runner and output hold. */
function handles(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((name) => /TCP|Pipe|Timeout|Immediate/.test(name))
    .sort();
}

it('faces: stop within seconds whatever clients do, and leave no handle, timer or socket file', async () => {
  const before = handles();
  const node = memoryNode();
  const dataDirectory = await mkdtemp(join(tmpdir(), 'skein-stop-'));
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
  const port = Number(new URL(http.url).port);
  const clients = await Promise.all([
    ...CLIENTS.map((kind) => connectClient(kind, { url: http.mcpUrl })),
    ...CLIENTS.map((kind) => connectClient(kind, { socketPath: control.mcpPath })),
  ]);
  for (const client of clients) {
    await client.subscribe('board://main', () => {});
    client.call('board_wait', { prefix: 'never', timeout_seconds: 60 }).catch(() => {});
  }
  await until(() => node.blackboard.waiting === clients.length, 'every wait is open');
  const stubborn = new WebSocket(`ws://127.0.0.1:${port}/yjs/main/doc`);
  await new Promise((resolve) => stubborn.on('open', resolve));
  // Reads nothing any more, so it never answers the goodbye.
  stubborn.pause();
  const half = connect(port, '127.0.0.1');
  half.on('error', () => {});
  await new Promise((resolve) => half.on('connect', resolve));
  half.write('GET /v1/status HTTP/1.1\r\n');
  const watching = await fetch(`${http.url}/v1/boards/main/watch`);

  const started = performance.now();
  await Promise.all([http.close(), control.close()]);
  expect(performance.now() - started).toBeLessThan(4_000);
  expect([existsSync(control.controlPath), existsSync(control.mcpPath)]).toEqual([false, false]);
  await until(() => node.blackboard.waiting === 0, 'every wait has ended');
  expect(node.blackboard.listenersOf('main')).toBe(0);

  await watching.body?.cancel().catch(() => {});
  stubborn.terminate();
  half.destroy();
  for (const client of clients) await client.close().catch(() => {});
  await rm(dataDirectory, { recursive: true });
  await until(
    () => handles().length <= before.length,
    `only ${before.join()} are left, not ${handles().join()}`,
  );
});
