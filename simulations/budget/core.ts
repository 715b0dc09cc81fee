/**
 * What of a node has to do with money: the budgets' machine, and the signed records that carry its rows, put together as
 * the node's core does. Everybody who is connected counts as admitted.
 */
import type { Budgets } from '../../src/budget/budgets.ts';
import type { PublishRow } from '../../src/budget/ledger-messages.ts';
import type { BudgetEffect, BudgetEvent } from '../../src/budget/messages.ts';
import { decode } from '../../src/kernel/codec.ts';
import type {
  Channel,
  DiskFailed,
  DiskRecovered,
  PeerDown,
  PeerUp,
  Received,
} from '../../src/kernel/effects.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { type Deadline, earliest, type Instant, isDue } from '../../src/kernel/time.ts';
import type { Membership, MembershipEffect, MembershipEvent } from '../../src/mesh/membership/membership.ts';
import type { Lagged } from '../../src/node/executor.ts';
import { cargoOf, withCargo } from '../../src/replication/cargo.ts';
import type { SignedRecord } from '../../src/replication/record.ts';
import type { Records, RecordsEffect } from '../../src/replication/records.ts';

export type CoreEvent =
  | Exclude<
      BudgetEvent,
      { kind: 'received' | 'rowHeard' | 'peerUp' | 'peerDown' | 'diskFailed' | 'diskRecovered' }
    >
  | { readonly kind: 'frame'; readonly from: NodeId; readonly channel: Channel; readonly bytes: Uint8Array }
  | { readonly kind: 'dropped'; readonly peer: NodeId; readonly channel: Channel }
  /** The budgets' order to publish a row has passed the disk. */
  | (Pick<PublishRow, 'key' | 'body' | 'to'> & { readonly kind: 'publish' })
  | PeerUp
  | PeerDown
  | DiskFailed
  | DiskRecovered
  | Lagged;

export type CoreEffect = BudgetEffect | Exclude<RecordsEffect, { kind: 'recordChanged' | 'ownReturned' }>;

export class BudgetCore implements Machine<CoreEvent, CoreEffect> {
  readonly budgets: Budgets;
  readonly records: Records;
  /** Only sends what a node sends anyway, on which rows ride; who is alive, the machine says. */
  readonly #membership: Membership;
  readonly liveBytes = 0;

  constructor(budgets: Budgets, records: Records, membership: Membership) {
    this.budgets = budgets;
    this.records = records;
    this.#membership = membership;
  }

  /** Journal records without their tags, of the signed records and of the account. */
  load(
    records: readonly Uint8Array[],
    budgets: readonly Uint8Array[],
    isSuspect: boolean,
    now: Instant,
  ): readonly CoreEffect[] {
    const effects: CoreEffect[] = [...this.#routed(this.records.load(records, now), now)];
    // The account first: rows that were heard are judged by what it knows of itself.
    effects.push(...this.budgets.load(budgets, now, isSuspect));
    for (const { owner, key, body } of this.records.ofKind('budget')) {
      const version = this.records.sequenceOf(owner, 'budget', key);
      effects.push(
        ...this.budgets.handle({ kind: 'rowHeard', owner, key, version, body, isKept: true }, now),
      );
    }
    return effects;
  }

  handle(event: CoreEvent, now: Instant): readonly CoreEffect[] {
    return this.#withCargo(this.#handle(event, now), now);
  }

  #handle(event: CoreEvent, now: Instant): readonly CoreEffect[] {
    switch (event.kind) {
      case 'lagged':
        return this.#member(event, now);
      case 'publish':
        return this.#routed(
          this.records.publish('budget', event.key, event.body, now, { to: event.to ?? [] }),
          now,
        );
      case 'frame': {
        const received = { kind: 'received', from: event.from, bytes: event.bytes } as const;
        if (event.channel === 'call') return this.budgets.handle(received, now);
        if (event.channel === 'mesh') return this.#mesh(received, now);
        return event.channel === 'records' ? this.#routed(this.records.handle(received, now), now) : [];
      }
      case 'dropped':
        return event.channel === 'records' || event.channel === 'mesh'
          ? this.#routed(this.records.handle({ kind: 'dropped', peer: event.peer }, now), now)
          : [];
      case 'peerUp':
      case 'peerDown':
        return [
          ...this.#member(event, now),
          ...this.#routed(this.records.handle(event, now), now),
          ...this.budgets.handle(event, now),
        ];
      default:
        return this.budgets.handle(event, now);
    }
  }

  expire(now: Instant): readonly CoreEffect[] {
    const effects: CoreEffect[] = [];
    if (isDue(this.#membership.deadline(), now)) effects.push(...alone(this.#membership.expire(now)));
    if (isDue(this.budgets.deadline(), now)) effects.push(...this.budgets.expire(now));
    if (isDue(this.records.deadline(), now)) effects.push(...this.#routed(this.records.expire(now), now));
    return this.#withCargo(effects, now);
  }

  deadline(): Deadline | undefined {
    return earliest([this.budgets.deadline(), this.records.deadline(), this.#membership.deadline()]);
  }

  #member(event: MembershipEvent, now: Instant): readonly CoreEffect[] {
    return alone(this.#membership.handle(event, now));
  }

  #mesh({ from, bytes }: Received, now: Instant): readonly CoreEffect[] {
    const cargo = cargoOf(bytes);
    const effects = this.#member({ kind: 'received', from, bytes }, now);
    if (cargo === undefined) return effects;
    return [
      ...effects,
      ...this.#routed(this.records.handle({ kind: 'received', from, bytes: cargo }, now), now),
    ];
  }

  #withCargo(effects: readonly CoreEffect[], now: Instant): readonly CoreEffect[] {
    if (!this.records.hasCargo) return effects;
    return withCargo(effects, (peer) => this.records.cargoFor(peer, now));
  }

  *checkpoint(): Generator<Uint8Array> {
    yield* this.budgets.checkpoint();
    yield* this.records.checkpoint();
  }

  #routed(effects: readonly RecordsEffect[], now: Instant): readonly CoreEffect[] {
    return effects.flatMap((effect): readonly CoreEffect[] =>
      effect.kind === 'recordChanged' || effect.kind === 'ownReturned'
        ? this.#changed(effect.record, now)
        : [effect],
    );
  }

  #changed(record: SignedRecord, now: Instant): readonly CoreEffect[] {
    if (record.kind !== 'budget') return [];
    const body = record.body.length === 0 ? undefined : decode(record.body.subarray());
    const { owner, key, sequence: version } = record;
    return this.budgets.handle({ kind: 'rowHeard', owner, key, version, body }, now);
  }
}

/** Without what it says of others. */
function alone(effects: readonly MembershipEffect[]): readonly CoreEffect[] {
  return effects.filter((effect) => effect.kind === 'send');
}
