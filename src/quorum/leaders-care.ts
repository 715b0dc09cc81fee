/** What a leader brings forward by itself: that an empty store gives way, that the format rises, and who votes. */
import type { Instant } from '../kernel/time.ts';
import type { QuorumConfig } from './config.ts';
import type { RaftEvent } from './raft/types.ts';
import { nodeOf } from './server.ts';
import type { Carrier } from './store/carrier.ts';
import { dissolveCommand } from './store/endings.ts';
import type { Replica } from './store/replica.ts';
import { raiseCommand } from './voters/formats.ts';
import { yields } from './voters/founding.ts';
import type { Neighbours } from './voters/neighbours.ts';
import { membersOf } from './voters/voter-candidates.ts';
import { nextVoters } from './voters/voter-policy.ts';
import { wishesOf } from './voters/voter-wishes.ts';

/** For its Raft core, in this order; each is decided when the one before was taken. */
export function* leadersCare(
  replica: Replica,
  carrier: Carrier,
  neighbours: Neighbours,
  config: QuorumConfig,
  now: Instant,
): Generator<RaftEvent> {
  const giving = givingWay(replica, carrier, neighbours);
  if (giving !== undefined) yield unasked(giving);
  const raise = raiseCommand(carrier.newestFormat, replica, neighbours);
  if (raise !== undefined) yield unasked(raise);
  const { raft, register, server } = replica;
  if (raft.isChanging) return;
  const members = membersOf(replica, neighbours);
  const own = wishesOf(register).get(nodeOf(server));
  const voters = nextVoters(config.voters, server, raft.configuration, members, own, now.monoMs);
  if (voters !== undefined) yield { kind: 'changeAsked', token: 0, voters };
}

/** A command that nobody waits for. */
export function unasked(command: Uint8Array): RaftEvent {
  return { kind: 'proposed', proposals: [{ token: 0, command }] };
}

/** Of an empty store that met another: it takes effect only while the store is empty. */
function givingWay(replica: Replica, carrier: Carrier, neighbours: Neighbours): Uint8Array | undefined {
  const ours = { store: replica.carried.store, hasData: carrier.hasData };
  for (const [store, { hasData }] of neighbours.otherStores(ours.store)) {
    if (carrier.identity.dissolved.includes(store) || !yields(ours, { store, hasData })) continue;
    return dissolveCommand(store);
  }
  return undefined;
}
