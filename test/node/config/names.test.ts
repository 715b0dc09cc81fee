/** Names that users write are fixed: a change here breaks their files, scripts and deployments. */
import { expect, it } from 'vitest';
import { environmentNameOf, flagsOf, options } from '../../../src/node/config/options.ts';

it('settings keep their paths, flags and environment names', () => {
  const names = options.map((option) => [
    option.path,
    flagsOf(option)
      .map((flag) => `--${flag}`)
      .join(' '),
    environmentNameOf(option) ?? '',
  ]);
  expect(names).toEqual([
    ['node.name', '--name --node-name', 'SKEIN_NODE_NAME'],
    ['node.roles', '--role --node-roles', 'SKEIN_NODE_ROLES'],
    ['node.data', '--data --node-data', 'SKEIN_NODE_DATA'],
    ['swarm.secret', '', 'SKEIN_SWARM_SECRET'],
    ['mesh.listen', '--mesh-listen', 'SKEIN_MESH_LISTEN'],
    ['mesh.port', '--mesh-port', 'SKEIN_MESH_PORT'],
    ['mesh.wsPort', '--mesh-ws-port', 'SKEIN_MESH_WS_PORT'],
    ['mesh.peers', '--peer --mesh-peers', 'SKEIN_MESH_PEERS'],
    ['mesh.mdns', '--mdns --mesh-mdns', 'SKEIN_MESH_MDNS'],
    ['mesh.registry', '--mesh-registry', 'SKEIN_MESH_REGISTRY'],
    ['http.enabled', '--http-enabled', 'SKEIN_HTTP_ENABLED'],
    ['http.host', '--http-host', 'SKEIN_HTTP_HOST'],
    ['http.port', '--http-port', 'SKEIN_HTTP_PORT'],
    ['http.allowedHosts', '--http-allowed-hosts', 'SKEIN_HTTP_ALLOWED_HOSTS'],
    ['http.allowedOrigins', '--http-allowed-origins', 'SKEIN_HTTP_ALLOWED_ORIGINS'],
    ['boards', '', ''],
    ['guard.keys', '', ''],
  ]);
});
