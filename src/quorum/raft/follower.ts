/**
 * What a follower does with a leader's entries (Ongaro 2014, 3.5), and what it answers.
 *
 * An answer never claims more than is on this server's disk. One that acknowledges new entries waits for the disk; one
 * that only shows that the leader was heard does not: a slow disk must not look like a lost follower, nor delay reads.
 */
import type { Server } from './server.ts';
import type { LogEntry, LogIndex, RaftMessage, Term } from './types.ts';

type Append = Extract<RaftMessage, { kind: 'append' }>;

export class Follower {
  readonly #server: Server;
  /** The latest round of the leader that was answered. */
  #round = 0;

  constructor(server: Server) {
    this.#server = server;
  }

  /** Another leader counts its own rounds. */
  forgetLeader(): void {
    this.#round = 0;
  }

  /** The message is of the current term and from the leader. */
  handleAppend(message: Append): void {
    const server = this.#server;
    const { log } = server;
    const { previousIndex, entries } = message;
    const known = log.termAt(previousIndex);
    // Before the beginning of the log all is committed, and so the same as the leader has (3.6.3).
    if (previousIndex >= log.firstIndex - 1 && known !== message.previousTerm) {
      if (previousIndex <= server.commitIndex) this.#report(previousIndex, message);
      else this.#refuse(message, known);
      return;
    }
    const fresh = this.#firstNew(entries);
    const first = entries[fresh];
    if (first !== undefined) {
      const isContradiction =
        first.index <= server.commitIndex || first.term < (log.termAt(first.index - 1) ?? 0);
      if (isContradiction) {
        this.#report(first.index, message);
        return;
      }
      if (first.index <= log.lastIndex) server.truncateLog(first.index);
      for (let place = fresh; place < entries.length; place++) log.append(entries[place] as LogEntry);
      server.persistLog();
    }
    const matched = previousIndex + entries.length;
    server.commitTo(Math.min(message.commit, matched));
    this.#accept(message, matched);
  }

  /** After a snapshot of the leader was installed. */
  confirm(message: { readonly from: Append['from'] }, index: LogIndex): void {
    this.#answer(message.from, true, index, 0, 0, this.#server.mustAwaitDisk);
  }

  #firstNew(entries: readonly LogEntry[]): number {
    const { log } = this.#server;
    let place = 0;
    for (; place < entries.length; place++) {
      const entry = entries[place] as LogEntry;
      if (entry.index >= log.firstIndex && log.termAt(entry.index) !== entry.term) break;
    }
    return place;
  }

  #accept(message: Append, matched: LogIndex): void {
    const { commitIndex, disk, mustAwaitDisk } = this.#server;
    const isNewRound = message.round > this.#round;
    this.#round = Math.max(this.#round, message.round);
    // What is committed is the same everywhere, whatever this message was about.
    const held = Math.max(matched, commitIndex);
    if (isNewRound || (message.entries.length > 0 && held <= disk.stableIndex)) {
      const stable = Math.min(held, disk.stableIndex);
      this.#answer(message.from, true, stable, 0, message.round, mustAwaitDisk);
    }
    if (message.entries.length > 0 && held > disk.stableIndex) {
      this.#answer(message.from, true, held, 0, message.round, true);
    }
  }

  /** Tells where the leader should try next: before all entries of the term that does not fit (3.5). */
  #refuse(message: Append, known: Term | undefined): void {
    const { log, commitIndex, mustAwaitDisk } = this.#server;
    const index = known === undefined ? log.lastIndex + 1 : Math.max(log.firstOfTerm(known), commitIndex + 1);
    this.#round = Math.max(this.#round, message.round);
    this.#answer(message.from, false, index, known ?? 0, message.round, mustAwaitDisk);
  }

  #answer(
    to: Append['from'],
    ok: boolean,
    index: LogIndex,
    conflictTerm: Term,
    round: number,
    afterDisk: boolean,
  ): void {
    const { self, term } = this.#server;
    this.#server.send(
      { kind: 'appendAnswer', from: self, to, term, ok, index, conflictTerm, round },
      afterDisk,
    );
  }

  /** No leader that follows the protocol can ask for this (3.6.3): what is committed here stays. */
  #report(index: LogIndex, message: Append): void {
    this.#server.mark('error', 'raft.contradicted', {
      index,
      leader: message.from,
      term: message.term,
      commitIndex: this.#server.commitIndex,
    });
  }
}
