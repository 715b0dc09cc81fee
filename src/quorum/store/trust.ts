/**
 * Which storages count: one that went back in time is told so by whoever heard it promise more, and takes part only
 * under another name.
 *
 * Limits: what nobody heard who can be heard cannot be found. An old image that lacks nothing but such promises counts.
 */
import type { NodeId } from '../../kernel/ids.ts';
import type { Deadline, Instant } from '../../kernel/time.ts';
import { isVoter } from '../arithmetic/joint.ts';
import type { Greeting } from '../frames.ts';
import type { RaftMessage, ServerId } from '../raft/types.ts';
import { nodeOf, serverIdOf } from '../server.ts';
import type { Neighbours } from '../voters/neighbours.ts';
import type { Carrier } from './carrier.ts';
import { type Claim, Evidence } from './evidence.ts';
import type { Replica } from './replica.ts';

/** Of an election timeout: how long who was the only voter looks around after a start, and others for the rest of the voters. */
const ALONE_TIMEOUTS = 2.5;
/** The only voter waits no longer for those that are connected and silent, or that know of other voters. */
const MOST_ALONE_MS = 5_000;

export class Trust {
  readonly #carrier: Carrier;
  readonly #neighbours: Neighbours;
  readonly #electionTimeoutMs: number;
  readonly #startMs: number;
  readonly #evidence = new Evidence();
  #consideredMs = Number.NEGATIVE_INFINITY;

  /** `now`: when the run began. */
  constructor(carrier: Carrier, neighbours: Neighbours, electionTimeoutMs: number, now: Instant) {
    this.#carrier = carrier;
    this.#neighbours = neighbours;
    this.#electionTimeoutMs = electionTimeoutMs;
    this.#startMs = now.monoMs;
  }

  heard(message: RaftMessage): void {
    this.#evidence.note(message);
  }

  promised(server: ServerId, promised: Claim): void {
    this.#evidence.promised(server, promised);
  }

  /** Looks at what the storage of a peer held when its present run began. */
  examine(from: NodeId, greeting: Greeting): void {
    const { storage, claim } = greeting;
    if (storage === undefined || !this.#neighbours.isNewRun(from, greeting)) return;
    if (this.#evidence.contradicts(serverIdOf(from, storage), claim)) this.#neighbours.doubt(from, storage);
  }

  /**
   * Whether a member's word that the own storage went back in time counts: where this run began with something on it, of
   * anybody before it takes part, then of voters only. Who has no vote could otherwise take those of all that run. Nor is
   * anybody's word enough to end a store by taking its only vote: such a voter waits, and those who vote now go on without it.
   */
  isDoubted(from: NodeId, { storage, doubted }: Greeting): boolean {
    const { replica, claim } = this.#carrier;
    if (replica === undefined || storage === undefined || doubted !== replica.carried.storage) return false;
    if (!promisedSomething(claim)) return false;
    if (isVoter(replica.raft.configuration, serverIdOf(from, storage))) return true;
    return !replica.isTrusted && !replica.raft.isAlone;
  }

  /**
   * Whether another server leads in a later term than the own, which began with nobody else to vote: the disk is of before
   * others came to. No server leads without the vote of the only voter.
   */
  isSuperseded(message: RaftMessage): boolean {
    const { replica, claim } = this.#carrier;
    if (replica === undefined || replica.isTrusted || !promisedSomething(claim)) return false;
    return message.kind === 'append' && message.term > replica.raft.term && replica.raft.isAlone;
  }

  /**
   * A storage that was there before this run promised things in it. Nothing is promised, and no vote given, before a
   * majority of the voters has seen with what it started and raised no doubt. All voters that are connected are waited
   * for, but not for longer than anybody waits for a leader.
   */
  consider(now: Instant): void {
    const { replica, claim } = this.#carrier;
    this.#consideredMs = now.monoMs;
    if (replica === undefined || replica.isTrusted || this.#carrier.isBeginning) return;
    if (!promisedSomething(claim) || this.#isSeen(replica, now)) replica.trust();
  }

  /** Time alone may change what `consider` finds. */
  get deadline(): Deadline | undefined {
    const { replica } = this.#carrier;
    if (replica === undefined || replica.isTrusted) return undefined;
    const atMs = this.#waits(replica).find((waitMs) => waitMs > this.#consideredMs);
    return atMs === undefined ? undefined : { atMs, reason: 'quorum trust' };
  }

  #waits(replica: Replica): readonly number[] {
    const waits = replica.raft.isAlone
      ? [ALONE_TIMEOUTS * this.#electionTimeoutMs, MOST_ALONE_MS]
      : [this.#electionTimeoutMs];
    return waits.map((forMs) => this.#startMs + forMs);
  }

  #isSeen(replica: Replica, now: Instant): boolean {
    const [firstMs = 0, lastMs = firstMs] = this.#waits(replica);
    if (replica.raft.isAlone)
      return now.monoMs >= lastMs || (now.monoMs >= firstMs && this.#isAgreedToBeAlone(replica));
    const { incoming, outgoing } = replica.raft.configuration;
    const confirmers = this.#neighbours.confirmers();
    const isConfirmed = (voter: ServerId) => voter === replica.server || confirmers.has(nodeOf(voter));
    const isMajority = (voters: readonly ServerId[]) =>
      voters.length === 0 || voters.filter(isConfirmed).length * 2 > voters.length;
    // Who knows of no voter yet has a log without any: it can promise nothing that others would miss.
    if (confirmers.size === 0 || !isMajority(incoming) || !isMajority(outgoing)) return false;
    const connected = this.#neighbours.greetings;
    return (
      now.monoMs >= firstMs ||
      [...incoming, ...outgoing].every((voter) => isConfirmed(voter) || !connected.has(nodeOf(voter)))
    );
  }

  /**
   * The disk may be of before others came to vote. Whoever is connected has seen with what it started, and nobody who
   * carries the store knows of other voters.
   */
  #isAgreedToBeAlone({ server, carried }: Replica): boolean {
    const confirmers = this.#neighbours.confirmers();
    return [...this.#neighbours.greetings].every(([node, greeting]) => {
      if (greeting === undefined) return false;
      if (greeting.store !== carried.store) return true;
      return (
        confirmers.has(node) &&
        greeting.doubted !== carried.storage &&
        greeting.voters.every((voter) => voter === server)
      );
    });
  }
}

function promisedSomething({ term, lastIndex }: Claim): boolean {
  return term > 0 || lastIndex > 0;
}
