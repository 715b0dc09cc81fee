/** The leader's part in leases: when they run out, by its clock, as long as it leads. */
import type { Deadline, Instant } from '../../kernel/time.ts';
import type { LeaseId } from '../port.ts';
import type { LeaseChange } from '../register/outcome.ts';
import { LeaseClock } from './lease-clock.ts';
import type { Replica } from './replica.ts';

export class LeaseKeeper {
  readonly #clock = new LeaseClock();

  get deadline(): Deadline | undefined {
    return this.#clock.deadline;
  }

  /** A new leader gives every lease its whole time; who does not lead keeps none. */
  led(replica: Replica | undefined, now?: Instant): void {
    this.#clock.clear();
    if (now === undefined || replica?.isLeader !== true) return;
    for (const { id, ttlMs } of replica.register.leases()) this.#clock.renew(id, ttlMs, now);
  }

  changed(replica: Replica | undefined, changes: readonly LeaseChange[], now: Instant): void {
    if (replica?.isLeader !== true) return;
    for (const change of changes) {
      if (change.kind === 'ended') this.#clock.forget(change.id);
      else this.#clock.renew(change.lease.id, change.lease.ttlMs, now);
    }
  }

  /** Leases whose time is up, as they are now: a renewal that gets into the log first saves them. */
  takeDue(replica: Replica, now: Instant): readonly { readonly id: LeaseId; readonly renewals: number }[] {
    return this.#clock.takeDue(now).flatMap((id) => {
      const lease = replica.isLeader ? replica.register.lease(id) : undefined;
      return lease === undefined ? [] : [{ id, renewals: lease.renewals }];
    });
  }
}
