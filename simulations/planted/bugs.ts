/**
 * Known ways to break the quorum store, each as an edit of its source: the simulator must find every one. An edit's text
 * stands in its file exactly once, or else the list is out of date and that is told loudly.
 */
export interface Edit {
  /** Under `src/quorum/`, or `src/budget/` where the world is `budget` or `hours`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface PlantedBug {
  readonly name: string;
  /** What goes wrong, and where the dissertation says how it is right. */
  readonly about: string;
  readonly edits: readonly Edit[];
  /** The world that must find it; default `quorum`. */
  readonly world?: 'quorum' | 'stores' | 'budget' | 'hours';
}

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: 'vote-twice',
    about: 'a second candidate gets a vote in the same term (3.4)',
    edits: [
      {
        file: 'raft/election.ts',
        find: '      (server.votedFor === undefined || server.votedFor === message.from) &&\n',
        replace: '',
      },
      {
        file: 'raft/server.ts',
        find: '(term === this.#term && this.#votedFor !== undefined && votedFor !== this.#votedFor)',
        replace: 'false',
      },
    ],
  },
  {
    name: 'vote-forgotten',
    about: 'the vote is not read back after a restart (3.8)',
    edits: [
      {
        file: 'raft/server.ts',
        find: 'this.#votedFor = isBehind ? undefined : hardState.votedFor;',
        replace: 'this.#votedFor = undefined;',
      },
    ],
  },
  {
    name: 'vote-before-disk',
    about: 'term and vote are said before they are on disk (3.8)',
    edits: [
      { file: 'raft/server.ts', find: 'return !this.disk.isHardStateStable;', replace: 'return false;' },
    ],
  },
  {
    name: 'vote-for-older-log',
    about: 'a candidate is elected whose log lacks committed entries (3.6.1)',
    edits: [
      {
        file: 'raft/log.ts',
        find: 'return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);',
        replace: 'return lastTerm >= 0 && lastIndex >= 0;',
      },
    ],
  },
  {
    name: 'older-term-by-count',
    about: 'a leader counts copies of an entry of an older term as its commitment (3.6.2)',
    edits: [
      {
        file: 'raft/replication.ts',
        find: 'if (index <= this.#server.commitIndex || log.termAt(index) !== term) return false;',
        replace: 'if (index <= this.#server.commitIndex || term < 0) return false;',
      },
    ],
  },
  {
    name: 'acknowledged-before-disk',
    about: 'a follower acknowledges entries that its disk does not have yet (3.8)',
    edits: [
      {
        file: 'raft/follower.ts',
        find: 'this.#answer(message.from, true, held, 0, message.round, true);',
        replace: 'this.#answer(message.from, true, held, 0, message.round, false);',
      },
    ],
  },
  {
    name: 'leader-counts-itself-early',
    about: 'a leader counts its own copy before its disk has it (10.2.1)',
    edits: [
      {
        file: 'raft/replication.ts',
        find: 'voter === self ? disk.stableIndex : (this.#progress.get(voter)?.match ?? 0),',
        replace:
          'voter === self && disk.stableIndex >= 0 ? log.lastIndex : (this.#progress.get(voter)?.match ?? 0),',
      },
    ],
  },
  {
    name: 'commit-before-majority',
    about: 'a leader applies and answers what it has appended at once (3.5)',
    edits: [
      {
        file: 'raft/raft.ts',
        find: "server.emit({ kind: 'appended', token, index, term });",
        replace:
          "server.emit({ kind: 'appended', token, index, term });\n        if (server.hasCommittedInTerm) server.commitTo(index);",
      },
    ],
  },
  {
    name: 'read-without-confirmation',
    about: 'a leader answers reads without asking whether it still leads (6.4)',
    edits: [
      {
        file: 'raft/reads.ts',
        find: 'if (confirming === undefined || this.#replication.confirmedRound < confirming.round) return;',
        replace: 'if (confirming === undefined) return;',
      },
    ],
  },
  {
    name: 'read-before-own-entry',
    about: 'a new leader answers reads before it knows what was committed before it (6.4)',
    edits: [
      {
        file: 'raft/reads.ts',
        find: '    if (!this.#server.hasCommittedInTerm) return false;\n',
        replace: '',
      },
      {
        file: 'raft/reads.ts',
        find: 'this.#replication.isFlushWanted ||= this.#confirming === undefined && server.hasCommittedInTerm;',
        replace: 'this.#replication.isFlushWanted ||= this.#confirming === undefined;',
      },
    ],
  },
  {
    name: 'asker-counted-as-majority',
    about: 'a leader takes the word of any voter that asks it to read for that of a majority (6.4)',
    edits: [
      {
        file: 'raft/reads.ts',
        find: "return hasCommittedInTerm && jointTally(log.configuration, isOfThisTerm) === 'won';",
        replace: "return hasCommittedInTerm && jointTally(log.configuration, isOfThisTerm) !== 'lost';",
      },
    ],
  },
  {
    name: 'lease-too-long',
    about: 'reads rest on a lease that outlasts the election timeout of the others (6.4.1)',
    edits: [
      {
        file: 'raft/replication.ts',
        find: 'startMs + electionTimeoutMs - leaseDriftMs;',
        replace: 'startMs + 5 * electionTimeoutMs - leaseDriftMs;',
      },
      {
        file: 'raft/replication.ts',
        find: 'const sinceMs = nowMs - config.electionTimeoutMs;',
        replace: 'const sinceMs = nowMs - 5 * config.electionTimeoutMs;',
      },
    ],
  },
  {
    name: 'joint-majority-forgotten',
    about: 'during a change of voters the old majority is not asked (4.3)',
    edits: [
      {
        file: 'arithmetic/joint.ts',
        find: 'return voters.outgoing.length === 0 ? incoming : both(incoming, majorityTally(voters.outgoing, voteOf));',
        replace: 'return voters.outgoing.length < 0 ? both(incoming, incoming) : incoming;',
      },
      {
        file: 'arithmetic/joint.ts',
        find: ': Math.min(incoming, majorityIndex(voters.outgoing, indexOf));',
        replace: ': incoming;',
      },
    ],
  },
  {
    name: 'learner-counted',
    about: 'who has no vote counts for commitment (4.2.1)',
    edits: [
      {
        file: 'raft/replication.ts',
        find: 'const index = jointIndex(log.configuration, (voter) =>',
        replace:
          'const index = jointIndex({ incoming: [self, ...this.#progress.keys()], outgoing: [] }, (voter) =>',
      },
    ],
  },
  {
    name: 'consistency-unchecked',
    about: 'entries are taken although what stands before them is of another term (3.5)',
    edits: [
      {
        file: 'raft/follower.ts',
        find: 'if (previousIndex >= log.firstIndex - 1 && known !== message.previousTerm) {',
        replace: 'if (previousIndex >= log.firstIndex - 1 && known === undefined) {',
      },
    ],
  },
  {
    name: 'truncated-without-conflict',
    about: 'an append that comes late cuts off entries that do not contradict it (3.5)',
    edits: [
      {
        file: 'raft/follower.ts',
        find: 'const fresh = this.#firstNew(entries);',
        replace:
          'const later = entries.findIndex((each) => each.index > server.commitIndex);\n    const fresh = later < 0 ? this.#firstNew(entries) : later;',
      },
    ],
  },
  {
    name: 'commit-beyond-match',
    about: "a follower takes the leader's commit index for entries that it did not compare (3.5)",
    edits: [
      {
        file: 'raft/follower.ts',
        find: 'server.commitTo(Math.min(message.commit, matched));',
        replace: 'server.commitTo(Math.min(message.commit, Math.max(matched, log.lastIndex)));',
      },
    ],
  },
  {
    name: 'retry-applied-twice',
    about: 'a request that comes twice takes effect twice (6.3)',
    edits: [
      {
        file: 'register/clients.ts',
        find: '    if (outcome !== undefined) return outcome;\n',
        replace: '',
      },
    ],
  },
  {
    name: 'snapshot-without-clients',
    about: 'a snapshot forgets what clients were told (6.3)',
    edits: [
      {
        file: 'register/register.ts',
        find: 'clients: this.#clients.capture(),',
        replace: 'clients: [],',
      },
    ],
  },
  {
    name: 'lease-ends-early',
    about: 'a lease runs out in a quarter of its time',
    edits: [
      {
        file: 'store/lease-clock.ts',
        find: 'const tick = Math.floor((now.monoMs + ttlMs) / TICK_MS) + 1;',
        replace: 'const tick = Math.floor((now.monoMs + ttlMs / 4) / TICK_MS) + 1;',
      },
    ],
  },
  {
    name: 'lease-outlives-its-leader',
    about: 'a new leader does not take over the leases of the one before, and they never end',
    edits: [
      {
        file: 'store/lease-keeper.ts',
        find: 'for (const { id, ttlMs } of replica.register.leases()) this.#clock.renew(id, ttlMs, now);',
        replace:
          'for (const { id, ttlMs } of [...replica.register.leases()].slice(0, 0)) this.#clock.renew(id, ttlMs, now);',
      },
    ],
  },
  {
    name: 'damaged-disk-votes',
    about: 'a server whose journal lost records goes on voting under its old name',
    edits: [
      {
        file: 'store/carrier.ts',
        find: 'const isLost = isSuspect || reader.damaged;',
        replace: 'const isLost = isSuspect && reader.lastSequence < 0;',
      },
    ],
  },
  {
    name: 'watch-loses-changes',
    about: 'of a transaction that changes several keys, those who watch on from a revision are told one',
    edits: [
      {
        file: 'register/register.ts',
        find: 'this.#history.add(this.#revision, changes);',
        replace: 'this.#history.add(this.#revision, changes.slice(0, 1));',
      },
    ],
  },
  {
    name: 'format-ignored',
    about: 'a copy goes on behind a command that raises the format beyond what its program understands',
    edits: [
      {
        file: 'store/replica.ts',
        find: 'if (format <= this.#newestFormat) return false;',
        replace: 'if (format >= 0) return false;',
      },
      {
        file: 'store/replica.ts',
        find: 'if (this.formatToCome > this.#newestFormat) this.#neededFormat = this.formatToCome;',
        replace: '',
      },
    ],
  },
  {
    name: 'told-outdated-unproved',
    about: 'a leader tells at once who came too late, without asking whether it still leads (6.4)',
    edits: [
      {
        file: 'store/turns.ts',
        find: "    this.#hold(\n      { asked, overwrite, key, behind: lastIndex, isFollowed: false, read: 'none', isPatient: false },\n      now,\n    );\n",
        replace:
          "    this.#hold(\n      { asked, overwrite, key, behind: lastIndex, isFollowed: false, read: 'given', isPatient: false },\n      now,\n    );\n    for (const place of this.#queues.get(key) ?? []) this.#tell(place, register, now);\n",
      },
    ],
  },
  {
    name: 'everybody-founds',
    about: 'of several that see each other each founds a store of its own',
    world: 'stores',
    edits: [
      {
        file: 'voters/founding.ts',
        find: '    if (greeting.mayFound && node < self) return false;\n',
        replace: '',
      },
    ],
  },
  {
    name: 'store-with-data-gives-way',
    about: 'of two stores that meet one is given up although it holds data',
    world: 'stores',
    edits: [
      {
        file: 'voters/founding.ts',
        find: 'if (ours.hasData || ours.store === theirs.store) return false;',
        replace: 'if (ours.store === theirs.store) return false;',
      },
      {
        file: 'store/endings.ts',
        find: '  if (command[0] === DISSOLVE && !isEmpty) return undefined;\n',
        replace: '',
      },
    ],
  },
  {
    name: 'recovery-forgets-tokens',
    about: 'a store that goes on after its voters are lost hands out revisions that they had handed out',
    world: 'stores',
    edits: [
      {
        file: 'store/carrier.ts',
        find: 'register.revision + RECOVERY_STEP',
        replace: 'register.revision + 0 * RECOVERY_STEP',
      },
    ],
  },
  {
    name: 'recovery-forgets-log',
    about: 'a node that goes on alone does so from nothing',
    world: 'stores',
    edits: [
      {
        file: 'store/carrier.ts',
        find: 'const { register } = old;\n    let last',
        replace: 'const register = new Register();\n    let last',
      },
    ],
  },
];
