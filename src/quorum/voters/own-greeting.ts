/** What a node says of itself to every neighbour. */
import type { QuorumConfig } from '../config.ts';
import type { Carrier } from '../store/carrier.ts';
import type { OwnGreeting } from './neighbours.ts';

/** `boot`: random for this run. */
export function ownGreeting(
  carrier: Carrier,
  { mayFound, mayVote }: QuorumConfig,
  boot: number,
): OwnGreeting {
  const { carried, dissolved, replaced } = carrier.identity;
  return {
    format: carrier.format,
    dissolved,
    replaced,
    boot,
    claim: carrier.claim,
    store: carried?.store,
    storage: carried?.storage,
    hasData: carrier.hasData,
    mayFound: mayFound && carrier.isFresh,
    mayVote,
    voters: carrier.replica?.raft.configuration.incoming ?? [],
  };
}
