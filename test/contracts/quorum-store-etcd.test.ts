/** The `etcd` engine on real servers: one, and a cluster of three. */
import { etcdStore } from '../../src/adapters/etcd/store.ts';
import { EtcdCluster } from '../adapters/etcd-server.ts';
import { describeQuorumStore } from './quorum-store.ts';
import { describeQuorumStoreFaults } from './quorum-store-faults.ts';
import type { Subject } from './quorum-store-support.ts';

async function makeSubject(members: number, prefix: string): Promise<Subject> {
  const cluster = await EtcdCluster.start({ members });
  const { endpoints } = cluster;
  const stores = Array.from({ length: Math.max(2, members) }, (_, at) => {
    const from = at % members;
    return etcdStore({ endpoints: [...endpoints.slice(from), ...endpoints.slice(0, from)], prefix });
  });
  return {
    stores,
    countsExactly: true,
    compact: async () => {
      const status = JSON.parse(cluster.control('endpoint', 'status', '--write-out', 'json'));
      cluster.control('compaction', String(status[0].Status.header.revision));
    },
    ...(members < 2
      ? {}
      : {
          faults: {
            members,
            storesOutlive: true,
            kill: (member) => cluster.kill(member),
            restart: (member) => cluster.restart(member),
          },
        }),
    close: async () => {
      for (const store of stores) store.close();
      await cluster.close();
    },
  };
}

describeQuorumStore('etcd, one server', () => makeSubject(1, ''));
describeQuorumStore('etcd, three servers and a prefix', () => makeSubject(3, 'skein/😀/'));
describeQuorumStoreFaults('etcd, three servers', () => makeSubject(3, 'skein/'));
