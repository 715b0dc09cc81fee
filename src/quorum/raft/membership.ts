/**
 * Changing the voters by joint consensus (Ongaro 2014, 4.3): first a configuration in which both the old and the new
 * majority must agree, then, once that is committed, the new one alone.
 *
 * Each is in force as soon as it is in a server's log. A leader that finds a joint configuration in its log, its own or
 * a predecessor's, completes it. A leader that the new configuration leaves out goes once that is committed (4.2.2).
 */
import { isVoter } from '../arithmetic/joint.ts';
import { isValidConfiguration } from './sane.ts';
import type { Server } from './server.ts';
import type { Configuration, ServerId } from './types.ts';

export class Membership {
  readonly #server: Server;
  readonly #onChange: () => void;
  /** Who asked for the change that is under way, if it was asked here. */
  #token: number | undefined;

  constructor(server: Server, onChange: () => void) {
    this.#server = server;
    this.#onChange = onChange;
  }

  handleAsked(token: number, wanted: readonly ServerId[], isTransferring: boolean): void {
    const server = this.#server;
    const voters = [...new Set(wanted)].sort();
    const change: Configuration = { incoming: voters, outgoing: server.log.configuration.incoming };
    const reason =
      server.role !== 'leader'
        ? 'notLeader'
        : !isValidConfiguration(change)
          ? 'invalid'
          : server.isChanging
            ? 'changing'
            : isTransferring || !server.hasCommittedInTerm
              ? 'busy'
              : undefined;
    if (reason !== undefined) {
      server.emit({ kind: 'refused', token, reason });
    } else if (voters.join() === server.log.configuration.incoming.join()) {
      server.emit({ kind: 'reconfigured', token, configuration: server.log.configuration });
    } else {
      this.#token = token;
      this.#append(change);
    }
  }

  /** The commit index moved at the leader. True where this leader has no place in what is committed now. */
  handleCommitted(): boolean {
    const { log, commitIndex, self } = this.#server;
    if (log.configurationIndex > commitIndex) return false;
    const { configuration } = log;
    if (configuration.outgoing.length > 0) {
      this.#append({ incoming: configuration.incoming, outgoing: [] });
      return false;
    }
    if (this.#token !== undefined) {
      this.#server.emit({ kind: 'reconfigured', token: this.#token, configuration });
      this.#token = undefined;
    }
    return !isVoter(configuration, self);
  }

  /** This server leads no more: what becomes of the change is up to the next leader. */
  end(): void {
    if (this.#token !== undefined) {
      this.#server.emit({ kind: 'refused', token: this.#token, reason: 'notLeader' });
    }
    this.#token = undefined;
  }

  #append(configuration: Configuration): void {
    this.#server.appendOwn({ kind: 'configuration', configuration });
    this.#server.mark('info', 'raft.configuration', { ...configuration, index: this.#server.log.lastIndex });
    this.#onChange();
  }
}
