/** Commands that other members hand to this node as leader: into its log, or back with the reason why not. */
import type { Instant } from '../../kernel/time.ts';
import type { QuorumEffect } from '../messages.ts';
import type { ServerId } from '../raft/types.ts';
import { nodeOf } from '../server.ts';
import { isForLeadersOnly } from '../store/endings.ts';
import type { Replica, ReplicaFact } from '../store/replica.ts';
import type { Request } from './proposals.ts';

export class Forwarded {
  /** Below zero, so that they are not taken for sequences of this node. */
  #lastToken = 0;

  propose(
    replica: Replica,
    from: ServerId,
    requests: readonly Request[],
    now: Instant,
  ): readonly (QuorumEffect | ReplicaFact)[] {
    const sequences = new Map<number, number>();
    const allowed = requests.filter(({ command }) => !isForLeadersOnly(command));
    const proposals = allowed.map(({ sequence, command }) => {
      const token = --this.#lastToken;
      sequences.set(token, sequence);
      return { token, command, from };
    });
    const refused = { notLeader: [] as number[], busy: [] as number[] };
    const rest = replica.propose(proposals, now).filter((effect) => {
      const sequence = effect.kind === 'refused' ? sequences.get(effect.token) : undefined;
      if (effect.kind !== 'refused' || sequence === undefined) return true;
      if (sequence > 0) refused[effect.reason === 'notLeader' ? 'notLeader' : 'busy'].push(sequence);
      return false;
    });
    const answers = (['notLeader', 'busy'] as const)
      .filter((reason) => refused[reason].length > 0)
      .flatMap((reason) => replica.sendTo(from, { kind: 'refuse', reason, sequences: refused[reason] }));
    if (allowed.length === requests.length) return [...answers, ...rest];
    const reason = 'a command for the quorum store that only its leader gives';
    return [...answers, ...rest, { kind: 'penalise', peer: nodeOf(from), reason }];
  }
}
