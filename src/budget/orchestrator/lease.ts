/** Who is orchestrator: whoever holds a lease of the quorum store on one key. */
import { decode, encode } from '../../kernel/codec.ts';
import type { Result } from '../../kernel/errors.ts';
import { type NodeId, parseNodeId } from '../../kernel/ids.ts';
import type { Rng } from '../../kernel/rng.ts';
import type { Deadline, Instant } from '../../kernel/time.ts';
import type { KeyChange, KeyValue, Lease, LeaseId, TransactionAnswer } from '../../quorum/port.ts';
import type { StoreCall } from '../messages.ts';
import { type Lead, ORCHESTRATOR_KEY } from './messages.ts';

/** After a kill the key vanishes within this, so that another leads well within three seconds. */
const TTL_MS = 2_000;
const RENEW_MS = 900;
const RENEW_AGAIN_MS = 200;
/** Those who may lead try at different moments, so that mostly one does. */
const CAMPAIGN_JITTER_MS = 200;
const RETRY_MS = 1_000;

type Stage =
  | { readonly kind: 'following' }
  /** A lease is asked for, then the key. */
  | { readonly kind: 'asking'; readonly lease: LeaseId | undefined; readonly sentMs: number }
  | {
      readonly kind: 'leading';
      readonly lease: LeaseId;
      readonly createRevision: number;
      /** Until the store could have given it up, on this node's clock of durations. */
      untilMs: number;
    };

/** The lease as this node has it and as the mirror shows it. Calls to the store go out one at a time. */
export class Leadership {
  readonly #self: NodeId;
  readonly #isCandidate: boolean;
  readonly #rng: Rng;
  readonly #ask: (call: StoreCall) => void;
  #stage: Stage = { kind: 'following' };
  #lead: Lead | undefined;
  #isMirrorFilled = false;
  /** What the store was asked last, while it has not answered. */
  #asked: { readonly call: StoreCall['op']; readonly sentMs: number } | undefined;
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(self: NodeId, isCandidate: boolean, rng: Rng, ask: (call: StoreCall) => void) {
    this.#self = self;
    this.#isCandidate = isCandidate;
    this.#rng = rng;
    this.#ask = ask;
  }

  get lead(): Lead | undefined {
    return this.#lead;
  }

  /** This node has the lease, as far as it was told: unlike the mirror, not once it could not renew it. */
  get isLeading(): boolean {
    return this.#stage.kind === 'leading';
  }

  /** This node's, as long as nobody else can have it. */
  held(now: Instant): Lead | undefined {
    const stage = this.#stage;
    if (stage.kind !== 'leading' || now.monoMs >= stage.untilMs) return undefined;
    return { node: this.#self, fence: { key: ORCHESTRATOR_KEY, createRevision: stage.createRevision } };
  }

  read(revision: number, entries: readonly KeyValue[]): void {
    this.#isMirrorFilled = true;
    this.#see(
      entries.find(({ key }) => key === ORCHESTRATOR_KEY),
      revision,
    );
  }

  changed(changes: readonly KeyChange[]): void {
    for (const { kind, entry } of changes)
      if (entry.key === ORCHESTRATOR_KEY) this.#see(kind === 'put' ? entry : undefined, entry.modRevision);
  }

  answered(result: Result<TransactionAnswer | Lease | { readonly revision: number }>, now: Instant): void {
    const asked = this.#asked;
    this.#asked = undefined;
    switch (asked?.call) {
      case 'grantLease':
        this.#granted(result as Result<Lease>, asked.sentMs, now);
        return;
      case 'transact':
        this.#taken(result as Result<TransactionAnswer>, now);
        return;
      case 'renewLease':
        this.#renewed(result as Result<Lease>, asked.sentMs, now);
        return;
      default:
        return;
    }
  }

  /** Tries to lead where nobody does and there is something to do; gives up the lease where there is not. */
  step(isNeeded: boolean, now: Instant): void {
    const stage = this.#stage;
    if (this.#asked !== undefined) return;
    if (stage.kind === 'leading') {
      if (!isNeeded || now.monoMs >= stage.untilMs) this.resign();
      else if (now.monoMs >= this.#wakeMs) this.#send({ op: 'renewLease', id: stage.lease }, now);
      return;
    }
    const mayLead = this.#isCandidate && this.#isMirrorFilled && isNeeded && this.#lead === undefined;
    if (!mayLead) {
      this.#wakeMs = Number.POSITIVE_INFINITY;
      return;
    }
    if (this.#wakeMs === Number.POSITIVE_INFINITY)
      this.#wakeMs = now.monoMs + this.#rng.float() * CAMPAIGN_JITTER_MS;
    if (now.monoMs < this.#wakeMs) return;
    this.#stage = { kind: 'asking', lease: undefined, sentMs: now.monoMs };
    this.#send({ op: 'grantLease', ttlMs: TTL_MS }, now);
  }

  /** Gives the lease back, so that the next need not wait for it to run out. */
  resign(): void {
    const stage = this.#stage;
    this.#stage = { kind: 'following' };
    this.#wakeMs = Number.POSITIVE_INFINITY;
    if (stage.kind === 'leading') this.#ask({ op: 'revokeLease', id: stage.lease });
  }

  deadline(): Deadline | undefined {
    if (this.#asked !== undefined || this.#wakeMs === Number.POSITIVE_INFINITY) return undefined;
    return { atMs: this.#wakeMs, reason: 'budget.lease' };
  }

  /** `revision`: of when it was so. */
  #see(entry: KeyValue | undefined, revision: number): void {
    const stage = this.#stage;
    // Older news may still come after the key was taken.
    if (stage.kind === 'leading' && revision < stage.createRevision) return;
    const body = entry === undefined ? undefined : decode(entry.value);
    const node = parseNodeId((body as { readonly node?: unknown } | undefined | null)?.node);
    const createRevision = entry?.createRevision ?? 0;
    this.#lead = node === undefined ? undefined : { node, fence: { key: ORCHESTRATOR_KEY, createRevision } };
    if (stage.kind === 'leading' && createRevision !== stage.createRevision) this.resign();
  }

  #granted(result: Result<Lease>, sentMs: number, now: Instant): void {
    if (this.#stage.kind !== 'asking') return;
    if (!result.ok) {
      this.#failed(now);
      return;
    }
    const lease = result.value.id;
    this.#stage = { kind: 'asking', lease, sentMs };
    this.#send(
      {
        op: 'transact',
        transaction: {
          compares: [{ target: 'version', key: ORCHESTRATOR_KEY, is: '=', than: 0 }],
          then: [{ op: 'put', key: ORCHESTRATOR_KEY, value: encode({ node: this.#self }).slice(), lease }],
          otherwise: [{ op: 'get', key: ORCHESTRATOR_KEY }],
        },
      },
      now,
    );
  }

  #taken(result: Result<TransactionAnswer>, now: Instant): void {
    const stage = this.#stage;
    if (stage.kind !== 'asking' || stage.lease === undefined) return;
    if (!result.ok || !result.value.succeeded) {
      // Also where it is not known whether it was done: the key goes with the lease.
      this.#ask({ op: 'revokeLease', id: stage.lease });
      this.#failed(now);
      return;
    }
    const { revision: createRevision } = result.value;
    const untilMs = stage.sentMs + TTL_MS;
    this.#stage = { kind: 'leading', lease: stage.lease, createRevision, untilMs };
    this.#lead = { node: this.#self, fence: { key: ORCHESTRATOR_KEY, createRevision } };
    this.#wakeMs = now.monoMs + RENEW_MS;
  }

  #renewed(result: Result<Lease>, sentMs: number, now: Instant): void {
    const stage = this.#stage;
    if (stage.kind !== 'leading') return;
    if (result.ok) {
      stage.untilMs = sentMs + TTL_MS;
      this.#wakeMs = now.monoMs + RENEW_MS;
    } else if (result.error.code === 'NOT_FOUND') {
      this.#lead = undefined;
      this.#stage = { kind: 'following' };
      this.#wakeMs = Number.POSITIVE_INFINITY;
    } else this.#wakeMs = now.monoMs + RENEW_AGAIN_MS;
  }

  #failed(now: Instant): void {
    this.#stage = { kind: 'following' };
    this.#wakeMs = now.monoMs + RETRY_MS;
  }

  #send(call: StoreCall, now: Instant): void {
    this.#asked = { call: call.op, sentMs: now.monoMs };
    this.#ask(call);
  }
}
