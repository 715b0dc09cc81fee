/**
 * Whether a message could have been sent by a server that follows the protocol, as far as it alone tells. The decoder
 * vouches for types; this is about relations. What fails here is ignored: nothing a peer sends may throw.
 */
import { limits } from '../../kernel/limits.ts';
import type { Configuration, LogEntry, RaftMessage, Term } from './types.ts';

export function isSane(message: RaftMessage): boolean {
  if (!isCount(message.term)) return false;
  switch (message.kind) {
    case 'voteRequest':
      return isCount(message.lastIndex) && isCount(message.lastTerm) && message.lastTerm <= message.term;
    case 'append':
      return (
        isCount(message.previousIndex) &&
        isCount(message.previousTerm) &&
        isCount(message.commit) &&
        isCount(message.round) &&
        isCount(message.stable) &&
        (message.previousIndex > 0 || message.previousTerm === 0) &&
        doFollow(message.entries, message.previousIndex, message.previousTerm, message.term)
      );
    case 'appendAnswer':
      return isCount(message.index) && isCount(message.conflictTerm) && isCount(message.round);
    case 'readAnswer':
      return isCount(message.index) && message.reads.length <= limits.raftReads;
    case 'readRequest':
      return message.reads.length > 0 && message.reads.length <= limits.raftReads;
    case 'voteAnswer':
    case 'timeoutNow':
      return true;
  }
}

/** At least one and at most `limits.raftVoters` voters on either side, none of them twice. */
export function isValidConfiguration(configuration: Configuration): boolean {
  const { incoming, outgoing } = configuration;
  return (
    incoming.length > 0 &&
    incoming.length <= limits.raftVoters &&
    outgoing.length <= limits.raftVoters &&
    new Set(incoming).size === incoming.length &&
    new Set(outgoing).size === outgoing.length
  );
}

function doFollow(
  entries: readonly LogEntry[],
  previousIndex: number,
  previousTerm: Term,
  leaderTerm: Term,
): boolean {
  let index = previousIndex;
  let term = previousTerm;
  for (const entry of entries) {
    index++;
    if (entry.index !== index || entry.term < term || !Number.isSafeInteger(entry.term)) return false;
    term = entry.term;
    if (entry.kind === 'configuration' && !isValidConfiguration(entry.configuration)) return false;
  }
  return term <= leaderTerm && Number.isSafeInteger(index);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
