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
    ['quorum.engine', '--quorum-engine', 'SKEIN_QUORUM_ENGINE'],
    ['quorum.foundAfter', '--quorum-found-after', 'SKEIN_QUORUM_FOUND_AFTER'],
    ['quorum.reads', '--quorum-reads', 'SKEIN_QUORUM_READS'],
    ['quorum.voters.target', '--quorum-voters-target', 'SKEIN_QUORUM_VOTERS_TARGET'],
    ['quorum.voters.replaceAfter', '--quorum-voters-replace-after', 'SKEIN_QUORUM_VOTERS_REPLACE_AFTER'],
    ['quorum.etcd.endpoints', '--quorum-etcd-endpoints', 'SKEIN_QUORUM_ETCD_ENDPOINTS'],
    ['quorum.etcd.prefix', '--quorum-etcd-prefix', 'SKEIN_QUORUM_ETCD_PREFIX'],
    ['quorum.etcd.user', '--quorum-etcd-user', 'SKEIN_QUORUM_ETCD_USER'],
    ['quorum.etcd.password', '', 'SKEIN_QUORUM_ETCD_PASSWORD'],
    ['quorum.etcd.tls.ca', '--quorum-etcd-tls-ca', 'SKEIN_QUORUM_ETCD_TLS_CA'],
    ['quorum.etcd.tls.certificate', '--quorum-etcd-tls-certificate', 'SKEIN_QUORUM_ETCD_TLS_CERTIFICATE'],
    ['quorum.etcd.tls.key', '--quorum-etcd-tls-key', 'SKEIN_QUORUM_ETCD_TLS_KEY'],
    ['budgets.prices', '', ''],
    ['budgets.reserveTtl', '--budgets-reserve-ttl', 'SKEIN_BUDGETS_RESERVE_TTL'],
    ['budgets.expiry', '--budgets-expiry', 'SKEIN_BUDGETS_EXPIRY'],
    ['budgets.thresholds', '', ''],
    ['guard.keys', '', ''],
  ]);
});
