/**
 * The calls of this node, from when they are asked to their answers: writes on their way into the log, and strong reads.
 * Which store they go to, and what becomes of it, is none of their business.
 */
import { type ErrorBody, fail, ok, type Result } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import type { Deadline, Instant } from '../../kernel/time.ts';
import { type QuorumEffect, unavailable } from '../messages.ts';
import type { ClientId } from '../register/command.ts';
import type { Applied } from '../register/outcome.ts';
import type { Unavailability } from '../status.ts';
import type { Replica, ReplicaFact } from '../store/replica.ts';
import { answerOf } from './answers.ts';
import { Proposals, portions } from './proposals.ts';
import { Reads } from './reads.ts';
import { commandOf, type LookUp, read, tooManyCalls, type WriteCall, wrongWith } from './requests.ts';

type Told = Extract<ReplicaFact, { kind: 'refused' | 'readReady' | 'readRefused' | 'outdated' }>;
type Effects = readonly (QuorumEffect | ReplicaFact)[];

const NOTHING: Effects = [];

export class Calls {
  readonly #freshId: () => number;
  readonly #answer: (id: number, result: Result<unknown>) => void;
  readonly #proposals: Proposals;
  readonly #reads = new Reads();

  /** `freshId` gives random safe integers above 0, none twice. */
  constructor(freshId: () => number, answer: (id: number, result: Result<unknown>) => void) {
    this.#freshId = freshId;
    this.#answer = answer;
    this.#proposals = new Proposals(freshId);
  }

  /** Nobody waits for an answer. */
  get isIdle(): boolean {
    return this.#proposals.size === 0 && this.#reads.size === 0;
  }

  /** Writes wait to be handed to the leader. */
  get deadline(): Deadline | undefined {
    return this.#proposals.deadline;
  }

  ask(id: number, call: WriteCall | LookUp, replica: Replica | undefined, now: Instant): Effects {
    const wrong = wrongWith(call) ?? this.#tooMany();
    if (wrong !== undefined) {
      this.#answer(id, fail(wrong));
      return NOTHING;
    }
    if (call.op !== 'get' && call.op !== 'range') {
      this.#proposals.submit(id, commandOf(call, this.#freshId), now);
      return NOTHING;
    }
    const token = this.#reads.add(id, call, now);
    return replica?.step({ kind: 'readAsked', token }, now) ?? NOTHING;
  }

  cancel(id: number): void {
    this.#proposals.cancel(id);
    this.#reads.cancel(id);
  }

  /** Hands what is due to the leader, if there is one that can be reached, and a disk to learn its answers with. */
  propose(replica: Replica | undefined, isDiskBroken: boolean, now: Instant): Effects {
    const leader = replica?.raft.leader;
    const isHeard = leader !== undefined && (replica?.isLeader === true || replica?.isReachable(leader));
    if (replica === undefined || leader === undefined || !isHeard || isDiskBroken) {
      this.#proposals.postpone();
      return NOTHING;
    }
    const requests = this.#proposals.takeDue(now);
    if (requests.length === 0) return NOTHING;
    if (!replica.isLeader)
      return [...portions(requests)].flatMap((part) =>
        replica.sendTo(leader, { kind: 'propose', requests: part }),
      );
    return replica.propose(
      requests.map(({ sequence, command }) => ({ token: sequence, command })),
      now,
    );
  }

  /** Another member says that it took none of these. */
  refusedElsewhere(sequences: readonly number[], isBusy: boolean, now: Instant): void {
    for (const sequence of sequences) this.#proposals.refusedElsewhere(sequence, isBusy, now);
  }

  /** What the transaction reads otherwise is read from the own copy, once that is at `index`. */
  outdated(client: ClientId, sequence: number, index: number): void {
    const call = this.#proposals.outdated(client, sequence);
    if (call === undefined) return;
    const { id, otherwise: operations, deadlineMs } = call;
    this.#reads.addProved(id, { op: 'otherwise', operations }, index, deadlineMs);
  }

  told(fact: Told, now: Instant): void {
    switch (fact.kind) {
      case 'refused':
        if (fact.token > 0) this.#proposals.refused(fact.token, fact.reason !== 'notLeader', now);
        return;
      case 'outdated':
        this.outdated(fact.client, fact.sequence, fact.index);
        return;
      case 'readReady':
        this.#reads.ready(fact.token, fact.index);
        return;
      case 'readRefused':
        this.#reads.refused(fact.token, now);
    }
  }

  applied(applied: Applied, now: Instant): void {
    const { result, client, sequence } = applied;
    if (result.kind === 'refused') {
      if (result.why === 'unknownClient') this.#fail(this.#proposals.clientUnknown(client, sequence, now));
      else if (result.why === 'busy') this.#proposals.busy(client, sequence, now);
    } else if (client !== 0) {
      this.#answerApplied(applied);
    }
  }

  /** There is another leader, or a copy that may hold answers: asking again is answered with the same. */
  resendAll(): void {
    this.#proposals.resendAll();
  }

  /** Some of what waits was sent so long ago that it is probably lost, or never. */
  wake(): void {
    this.#proposals.wake();
  }

  askAgain(replica: Replica | undefined, now: Instant): Effects {
    const tokens = this.#reads.takeAgain(now);
    return tokens.flatMap((token) => replica?.step({ kind: 'readAsked', token }, now) ?? NOTHING);
  }

  /** Calls whose time is up; `why` says what is missing. */
  giveUpLate(now: Instant, why: () => Unavailability): void {
    this.#fail(this.#proposals.takeLate(now, why));
    for (const { id } of this.#reads.takeLate(now)) {
      const { what, details } = why();
      this.#answer(id, fail(unavailable(what, 'not-done', details, 'read')));
    }
  }

  /** Another store takes the place of the one that was asked; `tookNoEffect`: nothing that waits was applied there. */
  restart(tookNoEffect: boolean, now: Instant): void {
    // What goes on from the old store may begin before what proved that the call comes too late.
    for (const { id } of this.#reads.restart(now)) {
      const what = 'The store gave way to another before it had answered.';
      this.#answer(id, fail(unavailable(what, tookNoEffect ? 'not-done' : 'unknown', {}, 'read')));
    }
    this.#fail(this.#proposals.restart(tookNoEffect));
  }

  /** Reads that the copy has come far enough for. */
  answerReads(replica: Replica): void {
    if (this.#reads.size === 0) return;
    for (const { id, call } of this.#reads.takeReady(replica.appliedIndex))
      this.#answer(id, ok(read(replica.register, call)));
  }

  #tooMany(): ErrorBody | undefined {
    return this.#proposals.size + this.#reads.size < limits.quorumCalls ? undefined : tooManyCalls();
  }

  #answerApplied(applied: Applied): void {
    const { client, sequence } = applied;
    if (sequence === 0) {
      this.#proposals.clientOpened(client);
      return;
    }
    const id = this.#proposals.applied(client, sequence);
    const answer = id === undefined ? undefined : answerOf(applied);
    if (id !== undefined && answer !== undefined) this.#answer(id, answer);
  }

  #fail(unanswered: readonly { readonly id: number; readonly error: ErrorBody }[]): void {
    for (const { id, error } of unanswered) this.#answer(id, fail(error));
  }
}
