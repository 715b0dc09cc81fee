/**
 * What must hold after every step, seen from outside as one who sees everything: Raft's properties (Ongaro 2014, figure
 * 3.2), what a commitment rests on, and that copies do not differ.
 */
import { decodeFrame } from '../../src/quorum/frames.ts';
import type { QuorumEffect } from '../../src/quorum/messages.ts';
import type { KeyChange } from '../../src/quorum/port.ts';
import type { Configuration, LogEntry, ServerId } from '../../src/quorum/raft/types.ts';
import { serverIdOf } from '../../src/quorum/server.ts';
import type { Replica } from '../../src/quorum/store/replica.ts';
import type { QuorumMachine } from './machine.ts';
import type { QuorumWorld } from './world.ts';

interface KnownEntry {
  readonly text: string;
  /** Who had it first, and in which run. */
  readonly run: RunFacts;
  /** Another machine has it too. */
  isShared: boolean;
}

interface Committed {
  readonly term: number;
  readonly content: number;
  /** Of whoever committed it first. */
  readonly notedTerm: number;
}

/** All that is known of one store. */
interface StoreFacts {
  readonly leaders: Map<number, ServerId>;
  /** By index and term: what is there, and the term before it. */
  readonly entries: Map<string, KnownEntry>;
  readonly committed: Committed[];
  readonly digests: Map<number, string>;
  readonly changes: Map<number, string>;
  readonly votes: Map<string, ServerId>;
}

/** What was seen of one run of one machine on one store. */
interface RunFacts {
  readonly machine: QuorumMachine;
  readonly replica: Replica;
  readonly log: (LogEntry | undefined)[];
  term: number;
  commit: number;
  applied: number;
  wasLeader: boolean;
  /** The latest in its log after the step before: what a commitment in this step rests on. */
  configuration: Configuration;
}

/** The state is compared at every so many applied entries: it costs more than the rest. */
const DIGEST_EVERY = 8;
/** Frames about votes are short. */
const VOTE_BYTES = 48;

export class Safety {
  readonly #world: QuorumWorld;
  readonly #stores = new Map<number, StoreFacts>();
  readonly #runs = new Map<QuorumMachine, RunFacts>();
  readonly #contents = new WeakMap<LogEntry, number>();
  /** Entries committed, of all stores. */
  committed = 0;
  leaders = 0;

  constructor(world: QuorumWorld) {
    this.#world = world;
    world.onStep.push((machine) => this.#check(machine));
    world.onEffect.push((machine, effect) => {
      if (effect.kind === 'registerChanged') this.#changed(machine, effect.revision, effect.changes);
      else if (effect.kind === 'send' && effect.bytes.length <= VOTE_BYTES) this.#said(machine, effect);
    });
  }

  #storeOf(id: number): StoreFacts {
    let store = this.#stores.get(id);
    if (store === undefined) {
      store = {
        leaders: new Map(),
        entries: new Map(),
        committed: [],
        digests: new Map(),
        changes: new Map(),
        votes: new Map(),
      };
      this.#stores.set(id, store);
    }
    return store;
  }

  /** Copies that applied as much are equal: at the end, whatever their index. */
  checkDigests(): void {
    for (const machine of this.#world.machines) {
      const replica = machine.quorum?.replica;
      if (replica !== undefined) this.#digest(machine, replica, this.#storeOf(replica.carried.store));
    }
  }

  #check(machine: QuorumMachine): void {
    const replica = machine.quorum?.replica;
    if (replica === undefined) return;
    let run = this.#runs.get(machine);
    if (run?.replica !== replica) {
      run = {
        machine,
        replica,
        log: [],
        term: 0,
        commit: 0,
        applied: 0,
        wasLeader: false,
        configuration: replica.raft.configuration,
      };
      this.#runs.set(machine, run);
    }
    const store = this.#storeOf(replica.carried.store);
    const { raft } = replica;
    if (raft.term < run.term)
      this.#violate('terms', `${machine.name} went from term ${run.term} to ${raft.term}`);
    run.term = raft.term;
    this.#checkLog(machine, run, store);
    if (replica.isLeader) this.#checkLeader(machine, run, store);
    if (raft.commitIndex !== run.commit) this.#checkCommit(machine, run, store);
    run.wasLeader = replica.isLeader;
    if (replica.appliedIndex !== run.applied) this.#checkApplied(machine, run, store);
    if (replica.register.format > machine.newestFormat)
      this.#violate(
        'format',
        `${machine.name} carries format ${replica.register.format}, which it does not understand`,
      );
    run.configuration = raft.configuration;
  }

  /** Two logs that have an entry of one index and term are the same up to there (log matching). */
  #checkLog(machine: QuorumMachine, run: RunFacts, store: StoreFacts): void {
    const { raft } = run.replica;
    run.log.length = Math.min(run.log.length, raft.lastIndex + 1);
    for (let index = raft.lastIndex; index >= raft.firstIndex; index--) {
      const entry = raft.entryAt(index) as LogEntry;
      if (run.log[index] === entry) return;
      run.log[index] = entry;
      const name = `${index}@${entry.term}`;
      const text = `${raft.termAt(index - 1)}:${this.#contentOf(entry)}`;
      const known = store.entries.get(name);
      // What its only holder lost with its memory was never there for anybody.
      if (known === undefined || (!known.isShared && this.#wasLost(known.run, index)))
        store.entries.set(name, { text, run, isShared: false });
      else if (known.text === text) known.isShared ||= known.run.machine !== machine;
      else this.#violate('log matching', `${machine.name} has another entry ${name}, or another before it`);
    }
  }

  /** The run is over, and the disk it was on did not get so far. */
  #wasLost(run: RunFacts, index: number): boolean {
    return this.#runs.get(run.machine) !== run && run.machine.image.termAt(index) === undefined;
  }

  #checkLeader(machine: QuorumMachine, run: RunFacts, store: StoreFacts): void {
    const { raft, server } = run.replica;
    const known = store.leaders.get(raft.term);
    if (known === undefined) {
      store.leaders.set(raft.term, server);
      this.leaders += 1;
    } else if (known !== server)
      this.#violate('election safety', `${machine.name} leads term ${raft.term}, and so does ${known}`);
    if (run.wasLeader) return;
    for (let index = raft.firstIndex; index < store.committed.length; index++) {
      const committed = store.committed[index];
      if (committed === undefined || committed.notedTerm >= raft.term) continue;
      if (raft.termAt(index) === committed.term) continue;
      this.#violate(
        'leader completeness',
        `${machine.name} leads term ${raft.term} without entry ${index}@${committed.term}, which is committed`,
      );
      return;
    }
  }

  #checkCommit(machine: QuorumMachine, run: RunFacts, store: StoreFacts): void {
    const { raft } = run.replica;
    const isRestarted = run.commit === 0;
    if (raft.commitIndex < run.commit)
      this.#violate(
        'commit',
        `${machine.name} took its commit index back to ${raft.commitIndex} from ${run.commit}`,
      );
    for (let index = Math.max(run.commit + 1, raft.firstIndex); index <= raft.commitIndex; index++) {
      const entry = raft.entryAt(index);
      if (entry === undefined) {
        this.#violate('commit', `${machine.name} committed ${index}, which its log has not`);
        break;
      }
      const known = store.committed[index];
      const content = this.#contentOf(entry);
      if (known === undefined) {
        store.committed[index] = { term: entry.term, content, notedTerm: raft.term };
        this.committed += 1;
        if (!isRestarted && index === raft.commitIndex) this.#checkMajority(machine, run, index, entry.term);
      } else if (known.term !== entry.term || known.content !== content)
        this.#violate(
          'state machine safety',
          `${machine.name} committed ${index}@${entry.term} where ${index}@${known.term} was committed`,
        );
    }
    // What is of an older term commits with an entry of its leader's own, never by itself (3.6.2).
    const newest = raft.termAt(raft.commitIndex);
    if (run.wasLeader && run.replica.isLeader && newest !== raft.term)
      this.#violate(
        'own term',
        `${machine.name} leads term ${raft.term} and commits an entry of term ${newest}`,
      );
    run.commit = raft.commitIndex;
  }

  /** Nothing is committed that is not on the disks of a majority, during a change of both majorities. */
  #checkMajority(machine: QuorumMachine, run: RunFacts, index: number, term: number): void {
    // What was acknowledged in truth may have gone with a disk since.
    if (this.#world.machines.some(({ hasNewDisk }) => hasNewDisk)) return;
    const { replica, configuration } = run;
    for (const voters of [configuration.incoming, configuration.outgoing]) {
      const holding = voters.filter(
        (voter) => this.#holder(replica, voter)?.image.holds(index, term) === true,
      );
      if (voters.length === 0 || holding.length * 2 > voters.length) continue;
      this.#violate(
        'durability of commits',
        `${machine.name} committed ${index}@${term} on ${holding.length} disks of ${voters.length} voters`,
      );
    }
  }

  #holder(replica: Replica, voter: ServerId): QuorumMachine | undefined {
    return this.#world.machines.find(({ image, nodeId }) => {
      const carried = image.stored.identity?.carried;
      return (
        carried !== undefined &&
        carried.store === replica.carried.store &&
        serverIdOf(nodeId, carried.storage) === voter
      );
    });
  }

  #checkApplied(machine: QuorumMachine, run: RunFacts, store: StoreFacts): void {
    const { appliedIndex, raft } = run.replica;
    if (appliedIndex < run.applied)
      this.#violate('apply', `${machine.name} went from applied ${run.applied} back to ${appliedIndex}`);
    if (appliedIndex > raft.commitIndex)
      this.#violate('apply', `${machine.name} applied ${appliedIndex}, committed is ${raft.commitIndex}`);
    run.applied = appliedIndex;
    if (appliedIndex % DIGEST_EVERY === 0) this.#digest(machine, run.replica, store);
  }

  #digest(machine: QuorumMachine, replica: Replica, store: StoreFacts): void {
    const { appliedIndex, register } = replica;
    const digest = register.digest();
    const known = store.digests.get(appliedIndex);
    if (known === undefined) store.digests.set(appliedIndex, digest);
    else if (known !== digest)
      this.#violate('equal copies', `${machine.name} differs from others at index ${appliedIndex}`);
  }

  #changed(machine: QuorumMachine, revision: number, changes: readonly KeyChange[]): void {
    const replica = machine.quorum?.replica;
    if (replica === undefined) return;
    const store = this.#storeOf(replica.carried.store);
    const text = changesText(changes);
    const known = store.changes.get(revision);
    if (known === undefined) store.changes.set(revision, text);
    else if (known !== text)
      this.#violate('equal copies', `${machine.name} tells other changes of revision ${revision}`);
  }

  /** A vote that was said is the only one in its term (3.4), and is on disk (3.8). */
  #said(machine: QuorumMachine, { to, bytes }: Extract<QuorumEffect, { kind: 'send' }>): void {
    const [receiver] = to;
    const frame = receiver === undefined ? undefined : decodeFrame(bytes, machine.nodeId, receiver);
    if (frame?.kind !== 'addressed' || frame.frame.kind !== 'raft') return;
    const { message } = frame.frame;
    const isVote =
      (message.kind === 'voteAnswer' && message.granted && !message.isPreVote) ||
      (message.kind === 'voteRequest' && !message.isPreVote);
    if (!isVote) return;
    const votedFor = message.kind === 'voteRequest' ? message.from : message.to;
    const store = this.#storeOf(frame.store);
    const name = `${message.from}/${message.term}`;
    const known = store.votes.get(name);
    if (known === undefined) store.votes.set(name, votedFor);
    else if (known !== votedFor)
      this.#violate(
        'votes',
        `${machine.name} votes for ${known} and for ${votedFor} in term ${message.term}`,
      );
    const kept = machine.image.hardState;
    if (kept.term < message.term || (kept.term === message.term && kept.votedFor !== votedFor))
      this.#violate(
        'durable votes',
        `${machine.name} votes for ${votedFor} in term ${message.term}, on its disk is term ${kept.term}`,
      );
  }

  #contentOf(entry: LogEntry): number {
    let content = this.#contents.get(entry);
    if (content === undefined) {
      content = entry.kind === 'command' ? hashOf(entry.command) : hashOfText(textOf(entry));
      this.#contents.set(entry, content);
    }
    return content;
  }

  #violate(check: string, what: string): void {
    this.#world.violate(check, what);
  }
}

export function changesText(changes: readonly KeyChange[]): string {
  return changes
    .map(
      ({ kind, entry }) =>
        `${kind} ${entry.key} ${entry.modRevision} ${entry.version} ${hashOf(entry.value)}`,
    )
    .join(';');
}

function textOf(entry: Exclude<LogEntry, { kind: 'command' }>): string {
  if (entry.kind === 'blank') return entry.kind;
  const { incoming, outgoing } = entry.configuration;
  return `${incoming.join()} ${outgoing.join()}`;
}

function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5 ^ bytes.length;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

function hashOfText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
