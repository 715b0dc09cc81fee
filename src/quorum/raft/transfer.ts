/**
 * Handing leadership to a chosen voter (Ongaro 2014, 3.10): take no new proposals, wait until the other has every entry,
 * then tell it to stand at once. Abandoned after an election timeout.
 */
import type { Deadline } from '../../kernel/time.ts';
import { isVoter } from '../arithmetic/joint.ts';
import type { Replication } from './replication.ts';
import type { Server } from './server.ts';
import type { ServerId } from './types.ts';

export class Transfer {
  readonly #server: Server;
  readonly #replication: Replication;
  #current:
    | { readonly token: number; readonly to: ServerId; readonly untilMs: number; isSent: boolean }
    | undefined;

  constructor(server: Server, replication: Replication) {
    this.#server = server;
    this.#replication = replication;
  }

  /** Proposals must wait. */
  get isUnderWay(): boolean {
    return this.#current !== undefined;
  }

  deadline(): Deadline | undefined {
    if (this.#current === undefined) return undefined;
    return { atMs: this.#current.untilMs, reason: 'raft: transfer timeout' };
  }

  handleAsked(token: number, to: ServerId): void {
    const { role, log, self, nowMs, config } = this.#server;
    const reason =
      role !== 'leader'
        ? 'notLeader'
        : to === self || !isVoter(log.configuration, to)
          ? 'invalid'
          : this.#current !== undefined
            ? 'busy'
            : undefined;
    if (reason !== undefined) {
      this.#server.emit({ kind: 'refused', token, reason });
      return;
    }
    this.#current = { token, to, untilMs: nowMs + config.electionTimeoutMs, isSent: false };
  }

  /** Tells the other to stand as soon as it has everything. True where it was told: leases are void from then on. */
  advance(): boolean {
    const current = this.#current;
    const server = this.#server;
    if (current === undefined || current.isSent || server.role !== 'leader') return false;
    if (this.#replication.progressOf(current.to)?.match !== server.log.lastIndex) return false;
    current.isSent = true;
    this.tellToStand(current.to);
    return true;
  }

  tellToStand(to: ServerId): void {
    const { self, term, mustAwaitDisk } = this.#server;
    this.#server.send({ kind: 'timeoutNow', from: self, to, term }, mustAwaitDisk);
  }

  /** A leader is known: the one that was wanted, or another. */
  handleLeader(leader: ServerId): void {
    const current = this.#current;
    if (current === undefined || leader === this.#server.self) return;
    this.#current = undefined;
    if (leader === current.to) this.#server.emit({ kind: 'transferred', token: current.token, leader });
    else this.#server.emit({ kind: 'refused', token: current.token, reason: 'notLeader' });
  }

  expire(): void {
    if (this.#current !== undefined && this.#current.untilMs <= this.#server.nowMs) this.abandon();
  }

  abandon(): void {
    if (this.#current === undefined) return;
    this.#server.emit({ kind: 'refused', token: this.#current.token, reason: 'busy' });
    this.#current = undefined;
  }
}
