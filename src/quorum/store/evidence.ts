/**
 * What other servers were heard to promise, so that one whose disk went back in time is found out.
 *
 * A term never goes down, and within a term no server takes back entries that it acknowledged to that term's leader, nor
 * a leader any at all: of its own disk it says in every append how far it is. So
 * whoever restarts with less than it was heard to have has lost promises (an old disk image was restored, a disk lied
 * about its syncs), and must not count as that server any more. Each node knows what it heard itself since it started. A
 * voter tells the other voters too what it promised, soon after (`promises.ts`): a leader that is gone takes little along.
 */
import { limits } from '../../kernel/limits.ts';
import type { LogIndex, RaftMessage, ServerId, Term } from '../raft/types.ts';

/** The state of a disk when its node started. */
export interface Claim {
  readonly term: Term;
  readonly lastIndex: LogIndex;
}

/** What a message says is on its sender's disk: it only goes out once that is so. `undefined` where it says nothing. */
export function promiseIn(message: RaftMessage): Claim | undefined {
  const { kind, term } = message;
  switch (kind) {
    case 'voteRequest':
      return message.isPreVote ? undefined : { term, lastIndex: 0 };
    case 'voteAnswer':
      return message.isPreVote || !message.granted ? undefined : { term, lastIndex: 0 };
    case 'appendAnswer':
      return message.ok ? { term, lastIndex: message.index } : undefined;
    case 'append':
      return { term, lastIndex: message.stable };
    default:
      return undefined;
  }
}

/** Whether who holds `claim` has forgotten some of what it promised. */
export function isLess(claim: Claim, promised: Claim): boolean {
  return claim.term < promised.term || (claim.term === promised.term && claim.lastIndex < promised.lastIndex);
}

export class Evidence {
  readonly #heard = new Map<ServerId, Claim>();

  note(message: RaftMessage): void {
    const promised = promiseIn(message);
    if (promised !== undefined) this.promised(message.from, promised);
  }

  promised(server: ServerId, promised: Claim): void {
    const heard = this.#heard.get(server);
    if (heard !== undefined && !isLess(heard, promised)) return;
    this.#heard.set(server, promised);
    if (this.#heard.size <= limits.raftServers) return;
    const oldest = this.#heard.keys().next();
    if (oldest.done !== true) this.#heard.delete(oldest.value);
  }

  contradicts(server: ServerId, claim: Claim): boolean {
    const heard = this.#heard.get(server);
    return heard !== undefined && isLess(claim, heard);
  }
}
