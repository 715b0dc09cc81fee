/** Whom a leader tells that they came too late, and what of a leader that was deposed meanwhile. */
import { describe, expect, it } from 'vitest';
import { seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import { RAFT_CONFIG } from '../../../src/node/quorum-config.ts';
import type { QuorumEffect } from '../../../src/quorum/messages.ts';
import type { LogEntry, RaftMessage, ServerId } from '../../../src/quorum/raft/types.ts';
import { type Command, encodeCommand } from '../../../src/quorum/register/command.ts';
import { Register } from '../../../src/quorum/register/register.ts';
import type { StorageId } from '../../../src/quorum/server.ts';
import { Replica, type ReplicaFact } from '../../../src/quorum/store/replica.ts';
import { EMPTY_POINT, StorageWriter } from '../../../src/quorum/store/storage.ts';
import { nodeNumber, serverNumber, storeNumber } from '../names.ts';
import { put, transactCommand } from '../register/support.ts';

const [SELF, OTHER, THIRD] = [serverNumber(0), serverNumber(1), serverNumber(2)];
const [FIRST_CLIENT, SECOND_CLIENT, THIRD_CLIENT] = [1, 2, 3];

type Body<M> = M extends RaftMessage ? Omit<M, 'from' | 'to'> : never;

/** Reads `k` at `revision` and writes it. */
function overwrite(client: number, sequence: number, revision: number): Command {
  const compare = { target: 'modRevision', key: 'k', is: '=', than: revision } as const;
  return transactCommand(sequence, { compares: [compare], then: [put('k', `${client}`)] }, 1, client);
}

/** The leader of three voters; the test plays the two others, and its disk takes everything. */
class Leader {
  readonly replica: Replica;
  /** Sequences of own calls that were told that they came too late. */
  readonly told: number[] = [];
  #token = 0;
  #now: Instant = { monoMs: 1_000, wallMs: 0 };

  constructor() {
    const configuration = { incoming: [SELF, OTHER, THIRD], outgoing: [] };
    this.replica = new Replica({
      self: nodeNumber(0),
      carried: { store: storeNumber(5), storage: 1 as StorageId },
      restored: {
        hardState: { term: 0, votedFor: undefined },
        point: { ...EMPTY_POINT, configuration },
        entries: [],
      },
      register: new Register(),
      writer: new StorageWriter(0),
      config: RAFT_CONFIG,
      newestFormat: 1,
      generation: 1,
      rng: seededRng(1),
      now: this.#now,
    });
    this.replica.trust();
    this.#note(this.replica.reach([OTHER, THIRD], this.#now));
    this.expire(2 * RAFT_CONFIG.electionTimeoutMs);
    this.receive(OTHER, { kind: 'voteAnswer', term: 1, isPreVote: true, granted: true });
    this.receive(OTHER, { kind: 'voteAnswer', term: 1, isPreVote: false, granted: true });
    expect(this.replica.isLeader).toBe(true);
    for (const client of [FIRST_CLIENT, SECOND_CLIENT, THIRD_CLIENT])
      this.propose({ kind: 'openClient', client });
    this.propose(transactCommand(1, { then: [put('k', '0')] }, 1, FIRST_CLIENT));
    this.commitAll();
  }

  get revision(): number {
    return this.replica.register.get('k')?.modRevision ?? 0;
  }

  propose(...commands: readonly Command[]): void {
    const asked = commands.map((command) => ({ token: ++this.#token, command: encodeCommand(command) }));
    this.#note(this.replica.propose(asked, this.#now));
  }

  receive(from: ServerId, body: Body<RaftMessage>): void {
    const message = { ...body, from, to: SELF } as RaftMessage;
    this.#note(this.replica.received(from, { kind: 'raft', message }, this.#now));
  }

  /** A majority has all that is in the log. */
  commitAll(): void {
    this.expire(0);
    const { lastIndex: index, term } = this.replica.raft;
    this.receive(OTHER, { kind: 'appendAnswer', term, ok: true, index, conflictTerm: 0, round: 0 });
  }

  expire(afterMs: number): void {
    this.#now = { monoMs: this.#now.monoMs + afterMs, wallMs: 0 };
    this.#note(this.replica.expire(this.#now));
  }

  #note(effects: readonly (QuorumEffect | ReplicaFact)[]): void {
    for (const effect of effects) {
      if (effect.kind === 'outdated') this.told.push(effect.sequence);
      if (effect.kind === 'awaitDisk') this.#note(this.replica.diskReached(effect.sequence, this.#now));
    }
  }
}

describe('a call that waits for its turn', () => {
  it('is told that it came too late by what this leader appended after it and a majority has', () => {
    const leader = new Leader();
    leader.propose(overwrite(FIRST_CLIENT, 2, leader.revision));
    leader.propose(overwrite(SECOND_CLIENT, 2, leader.revision));
    leader.commitAll();
    expect(leader.told).toEqual([]);
    leader.propose({ kind: 'openClient', client: 9 });
    leader.commitAll();
    leader.propose(overwrite(THIRD_CLIENT, 2, leader.revision));
    expect(leader.told).toEqual([2]);
  });

  it('is told nothing by what another leader committed, though it stands behind all that the log had when it came (6.4)', () => {
    const leader = new Leader();
    const { revision } = leader;
    const { appliedIndex: previousIndex, appliedPoint } = leader.replica;
    leader.propose(overwrite(FIRST_CLIENT, 2, revision));
    leader.propose(overwrite(SECOND_CLIENT, 2, revision));
    // Elected without it, a while ago: it may have committed more than this message of it knows.
    const term = leader.replica.raft.term + 1;
    const command = (sequence: number, at: number) =>
      encodeCommand(overwrite(THIRD_CLIENT, sequence, revision + at));
    const entries: LogEntry[] = [
      { kind: 'blank', index: previousIndex + 1, term },
      { kind: 'command', index: previousIndex + 2, term, command: command(1, 0) },
      { kind: 'command', index: previousIndex + 3, term, command: command(2, 1) },
    ];
    const head = { term, previousIndex, previousTerm: appliedPoint.term, round: 1, stable: 0 };
    leader.receive(THIRD, { kind: 'append', ...head, entries, commit: previousIndex + 3 });
    expect(leader.replica.isLeader).toBe(false);
    expect(leader.revision).toBe(revision + 2);
    expect(leader.told).toEqual([]);
  });
});
