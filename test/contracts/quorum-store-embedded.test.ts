/** The embedded engine: three whole nodes of one swarm on loopback, each a process with a disk of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../adapters/etcd-server.ts';
import { Member } from './quorum-member.ts';
import { describeQuorumStore } from './quorum-store.ts';
import { describeQuorumStoreFaults } from './quorum-store-faults.ts';
import { type Subject, until } from './quorum-store-support.ts';

const MEMBERS = 3;

async function makeSubject(): Promise<Subject> {
  const directory = mkdtempSync(join(tmpdir(), 'skein-quorum-'));
  const ports = await freePorts(MEMBERS);
  const start = (member: number): Promise<Member> =>
    Member.start({
      node: { name: `m${member}`, data: join(directory, `m${member}`) },
      swarm: { secret: 'the secret of the acceptance suite, long enough to be taken' },
      mesh: {
        listen: ['127.0.0.1'],
        port: ports[member],
        wsPort: 0,
        mdns: false,
        peers: member === 0 ? [] : [`/ip4/127.0.0.1/tcp/${ports[0]}`],
      },
      http: { enabled: false },
      quorum: { foundAfter: '200ms' },
    });
  const stores: Member[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(stores.map((store) => store.kill()));
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (let member = 0; member < MEMBERS; member++) stores.push(await start(member));
    await until(async () => (await stores[0]!.voters()) === MEMBERS, 'all members vote', 30_000);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    stores,
    countsExactly: false,
    faults: {
      members: MEMBERS,
      storesOutlive: false,
      kill: (member) => stores[member]!.kill(),
      restart: async (member) => {
        stores[member] = await start(member);
      },
    },
    close,
  };
}

describeQuorumStore('embedded, three members', makeSubject);
describeQuorumStoreFaults('embedded, three members', makeSubject);
