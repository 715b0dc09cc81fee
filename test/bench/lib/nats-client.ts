/** A key-value bucket of NATS JetStream with three copies, through NATS's own client. */
import { jetstreamManager, StorageType } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import { connect } from '@nats-io/transport-node';
import { numberIn, type QuorumClient, textOf } from './quorum-client.ts';

const BUCKET = 'bench';
/** JetStream's code for an update over another revision than the one named. */
const WRONG_REVISION = 10071;

export async function natsClient(url: string): Promise<QuorumClient> {
  const connection = await connect({ servers: url });
  // Reads go to the leader: a direct read of any copy may be stale.
  const bucket = await new Kvm(connection).create(BUCKET, {
    replicas: 3,
    history: 1,
    storage: StorageType.File,
    allow_direct: false,
  });
  const manager = await jetstreamManager(connection);
  return {
    put: async (key, value) => {
      await bucket.put(key, value);
    },
    read: async (key) => {
      await bucket.get(key);
    },
    increment: (key) => increment(bucket, key),
    total: async (key) => numberIn((await bucket.get(key))?.value),
    isLeader: async () => {
      const { cluster } = await manager.streams.info(`KV_${BUCKET}`);
      return cluster?.leader === connection.info?.server_name;
    },
    close: () => connection.close(),
  };
}

async function increment(bucket: KV, key: string): Promise<number> {
  for (let tries = 1; ; tries++) {
    const entry = await bucket.get(key);
    try {
      const value = textOf(numberIn(entry?.value) + 1);
      if (entry === null) await bucket.create(key, value);
      else await bucket.update(key, value, entry.revision);
      return tries;
    } catch (error) {
      if ((error as { code?: unknown }).code !== WRONG_REVISION) throw error;
    }
  }
}
