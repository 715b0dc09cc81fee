/**
 * What other servers were heard to promise, so that one whose disk went back in time is found out.
 *
 * A term never goes down, and within a term no server takes back entries that it acknowledged to that term's leader, nor
 * a leader any at all: of its own disk it says in every append how far it is. So
 * whoever restarts with less than it was heard to have has lost promises (an old disk image was restored, a disk lied
 * about its syncs), and must not count as that server any more. Each node knows what it heard itself since it started:
 * this finds what the surviving leader or candidate saw, not what only a dead one knew.
 */
import { limits } from '../../kernel/limits.ts';
import type { LogIndex, RaftMessage, ServerId, Term } from '../raft/types.ts';

/** The state of a disk when its node started. */
export interface Claim {
  readonly term: Term;
  readonly lastIndex: LogIndex;
}

export class Evidence {
  readonly #heard = new Map<ServerId, Claim>();

  /** A message that only goes out once what it says is on its sender's disk. */
  note(message: RaftMessage): void {
    switch (message.kind) {
      case 'voteRequest':
      case 'voteAnswer':
        if (message.isPreVote || (message.kind === 'voteAnswer' && !message.granted)) return;
        this.#raise(message.from, message.term, 0);
        return;
      case 'appendAnswer':
        if (message.ok) this.#raise(message.from, message.term, message.index);
        return;
      case 'append':
        this.#raise(message.from, message.term, message.stable);
        return;
      default:
    }
  }

  contradicts(server: ServerId, claim: Claim): boolean {
    const heard = this.#heard.get(server);
    if (heard === undefined) return false;
    return claim.term < heard.term || (claim.term === heard.term && claim.lastIndex < heard.lastIndex);
  }

  #raise(server: ServerId, term: Term, lastIndex: LogIndex): void {
    const heard = this.#heard.get(server);
    if (heard !== undefined && (heard.term > term || (heard.term === term && heard.lastIndex >= lastIndex)))
      return;
    this.#heard.set(server, { term, lastIndex });
    if (this.#heard.size <= limits.raftServers) return;
    const oldest = this.#heard.keys().next();
    if (oldest.done !== true) this.#heard.delete(oldest.value);
  }
}
