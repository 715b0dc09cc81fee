/**
 * Which storages count: one that went back in time is told so by whoever heard it promise more, and takes part only
 * under another name.
 */
import type { NodeId } from '../../kernel/ids.ts';
import { isVoter } from '../arithmetic/joint.ts';
import type { Greeting } from '../frames.ts';
import type { RaftMessage } from '../raft/types.ts';
import { nodeOf, serverIdOf } from '../server.ts';
import type { Neighbours } from '../voters/neighbours.ts';
import type { Carrier } from './carrier.ts';
import { type Claim, Evidence } from './evidence.ts';

export class Trust {
  readonly #carrier: Carrier;
  readonly #neighbours: Neighbours;
  readonly #evidence = new Evidence();

  constructor(carrier: Carrier, neighbours: Neighbours) {
    this.#carrier = carrier;
    this.#neighbours = neighbours;
  }

  heard(message: RaftMessage): void {
    this.#evidence.note(message);
  }

  /** Looks at what the storage of a peer held when its present run began. */
  examine(from: NodeId, greeting: Greeting): void {
    const { storage, claim } = greeting;
    if (storage === undefined || !this.#neighbours.isNewRun(from, greeting)) return;
    if (this.#evidence.contradicts(serverIdOf(from, storage), claim)) this.#neighbours.doubt(from, storage);
  }

  /**
   * Whether a member's word that the own storage went back in time counts: where this run began with something on it, of
   * anybody before it takes part, then of voters only. Who has no vote could otherwise take those of all that run.
   */
  isDoubted(from: NodeId, { storage, doubted }: Greeting): boolean {
    const { replica, claim } = this.#carrier;
    if (replica === undefined || storage === undefined || doubted !== replica.carried.storage) return false;
    if (!promisedSomething(claim)) return false;
    return !replica.isTrusted || isVoter(replica.raft.configuration, serverIdOf(from, storage));
  }

  /**
   * A storage that was there before this run promised things in it. Nothing is promised, and no vote given, before a
   * majority of the voters has seen with what it started and raised no doubt.
   */
  consider(): void {
    const { replica, claim } = this.#carrier;
    if (replica === undefined || replica.isTrusted || this.#carrier.isBeginning) return;
    const { incoming } = replica.raft.configuration;
    const isAlone = incoming.length === 1 && incoming[0] === replica.server;
    const confirmers = this.#neighbours.confirmers();
    const seen = incoming.filter((voter) => voter === replica.server || confirmers.has(nodeOf(voter)));
    // Who knows of no voter yet has a log without any: it can promise nothing that others would miss.
    const isSeen = confirmers.size > 0 && (incoming.length === 0 || seen.length * 2 > incoming.length);
    if (isAlone || !promisedSomething(claim) || isSeen) replica.trust();
  }
}

function promisedSomething({ term, lastIndex }: Claim): boolean {
  return term > 0 || lastIndex > 0;
}
