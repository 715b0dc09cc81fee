/**
 * What no store can keep, seen from outside: the run then ends without a verdict, and is counted as such.
 *
 * 1. A server takes part on an old image of its disk, and nobody could tell it: of those that heard it promise what the
 *    image lacks none runs, or there is no way both to it and from it (docs/CONSISTENCY.md).
 * 2. The disks of half the voters are lost for good: only a person's `voters recover` goes on.
 */
import type { NodeId } from '../../src/kernel/ids.ts';
import { decodeFrame } from '../../src/quorum/frames.ts';
import type { RaftMessage, ServerId } from '../../src/quorum/raft/types.ts';
import { nodeOf } from '../../src/quorum/server.ts';
import type { Replica } from '../../src/quorum/store/replica.ts';
import type { QuorumMachine } from './machine.ts';
import type { QuorumWorld } from './world.ts';

/** What the disk of a server holds, as far as it is a promise. */
export interface Held {
  readonly term: number;
  readonly lastIndex: number;
}

export class Exceptions {
  readonly #world: QuorumWorld;
  /** What each run of a machine was told of other servers' disks. */
  readonly #heard = new Map<QuorumMachine, { readonly starts: number; readonly of: Map<ServerId, Held> }>();
  readonly #judged = new WeakSet<Replica>();

  /** `mayGoBack`: a disk may be put back to an old image. */
  constructor(world: QuorumWorld, mayGoBack: boolean) {
    this.#world = world;
    if (!mayGoBack) return;
    world.onReceived.push((machine, from, bytes) => this.#received(machine, from, bytes));
    world.onStep.push((machine) => this.#judge(machine));
  }

  /** Of the voters in force, so many have lost their disk that the rest can never agree again. */
  isMajorityLost(): boolean {
    const { machines } = this.#world;
    const replicas = machines.flatMap(({ quorum }) => quorum?.replica ?? []);
    const servers = new Set(replicas.map(({ server }) => server));
    const [newest] = replicas
      .map(({ raft }) => raft)
      .sort(
        (left, right) =>
          (right.termAt(right.lastIndex) ?? 0) - (left.termAt(left.lastIndex) ?? 0) ||
          right.lastIndex - left.lastIndex,
      );
    const { incoming, outgoing } = newest?.configuration ?? { incoming: [], outgoing: [] };
    const isLost = (voter: ServerId) =>
      !servers.has(voter) &&
      machines.some(({ nodeId, hasNewDisk }) => hasNewDisk && nodeId === nodeOf(voter));
    return [incoming, outgoing].some(
      (voters) => voters.length > 0 && voters.filter(isLost).length * 2 >= voters.length,
    );
  }

  #received(machine: QuorumMachine, from: NodeId, bytes: Uint8Array): void {
    const frame = decodeFrame(bytes, from, machine.nodeId);
    if (frame?.kind !== 'addressed') return;
    const { frame: inner } = frame;
    const held =
      inner.kind === 'raft' ? heldBy(inner.message) : inner.kind === 'promise' ? inner.promised : undefined;
    if (held === undefined) return;
    let heard = this.#heard.get(machine);
    if (heard?.starts !== machine.starts) {
      heard = { starts: machine.starts, of: new Map() };
      this.#heard.set(machine, heard);
    }
    const before = heard.of.get(frame.from);
    if (before === undefined || isLess(before, held)) heard.of.set(frame.from, held);
  }

  /** At the moment when a server with an old image begins to take part. */
  #judge(machine: QuorumMachine): void {
    const replica = machine.quorum?.replica;
    const { lostDisk } = machine;
    if (lostDisk === undefined || replica?.isTrusted !== true || this.#judged.has(replica)) return;
    this.#judged.add(replica);
    if (replica.server !== lostDisk.server) return;
    const held = { term: replica.raft.term, lastIndex: replica.raft.lastIndex };
    if (!isLess(held, lostDisk.held)) return;
    const isWitness = (other: QuorumMachine) => {
      const heard = this.#heard.get(other);
      const promised = heard?.starts === other.starts ? heard.of.get(replica.server) : undefined;
      return promised !== undefined && isLess(held, promised) && this.#canSpeak(other, machine);
    };
    if (this.#world.machines.some(isWitness)) return;
    this.#world.except(`${machine.name} takes part on an old disk, and nobody who knows better can be heard`);
  }

  #canSpeak(one: QuorumMachine, other: QuorumMachine): boolean {
    const { network } = this.#world;
    const isCut = network.isCut(one.nodeId, other.nodeId) || network.isCut(other.nodeId, one.nodeId);
    return (
      one.state === 'running' && !isCut && one.isConnected(other.nodeId) && other.isConnected(one.nodeId)
    );
  }
}

/** What is on the sender's disk for certain. */
function heldBy(message: RaftMessage): Held | undefined {
  const { kind, term } = message;
  if (kind === 'append') return { term, lastIndex: message.stable };
  if (kind === 'appendAnswer' && message.ok) return { term, lastIndex: message.index };
  const isVote = (kind === 'voteAnswer' && message.granted) || kind === 'voteRequest';
  return isVote && !message.isPreVote ? { term, lastIndex: 0 } : undefined;
}

function isLess(left: Held, right: Held): boolean {
  return left.term < right.term || (left.term === right.term && left.lastIndex < right.lastIndex);
}
