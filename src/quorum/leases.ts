/**
 * Named leases: one holder at a time, with a fencing token.
 *
 * Intuition: a lease is a key that hangs on a lease of the store. Whoever creates the key holds it; when the store has
 * not heard of the holder for the time to live, the key vanishes and the next may create it. The fencing token is
 * the revision that created the key, so every acquisition has a greater one than all before it: whatever the lease
 * protects refuses a token below the greatest that it has seen, and a holder that slept through its time does no harm.
 *
 * Clocks: the store counts durations on its own clock. Times of day are shown to people only. What a holder is told is
 * counted from before its request left, so it stops no later than the store does; what others are told is counted
 * from after the answer came, and a renewal or a change of leader may prolong it.
 *
 * A holder is an agent on a node: a name alone may be used on two machines.
 */
import { decode, encode, utf8 } from '../kernel/codec.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { Clock } from '../kernel/ports.ts';
import type { KeyValue, LeaseId, Operation, QuorumKey, QuorumStore } from './port.ts';

/** Who holds a lease. */
export interface LeaseHolder {
  readonly agent: string;
  /** Id of the node that the agent uses. */
  readonly node: string;
}

/** What is known of a lease after a call. */
export interface LeaseState {
  readonly name: string;
  /** By the caller. */
  readonly held: boolean;
  /** Of the caller where it holds the lease; else absent, for nobody may act on another's. */
  readonly fencingToken?: number;
  /** Absent where nobody holds it. */
  readonly holder?: LeaseHolder;
  /** Milliseconds since 1970 by this node's clock. Held: at the earliest. By another: at the latest, unless it is renewed. */
  readonly expiresMs?: number;
  /** The caller held it before this call already, and has the token that it had. */
  readonly already?: true;
}

export interface ListedLease {
  readonly name: string;
  readonly holder: LeaseHolder;
  readonly fencingToken: number;
  readonly ttlMs: number;
  /** When it was acquired, by the clock of the holder's node. */
  readonly acquiredMs: number;
}

interface LeaseRequest {
  readonly name: string;
  readonly holder: LeaseHolder;
}

const PREFIX = 'l/';
const TRIES = 8;

interface Body extends LeaseHolder {
  /** As the store granted it: an engine may round up. */
  readonly ttlMs: number;
  readonly askedMs: number;
  readonly acquiredMs: number;
}

/** Errors: those of the store, INVALID_ARGUMENT. Not to hold a lease is no error but an answer. */
export class NamedLeases {
  readonly #store: QuorumStore;
  readonly #clock: Clock;

  constructor(store: QuorumStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Takes the lease where it is free. The holder that has it already keeps its token, and has `ttlMs` from now on. */
  async acquire(
    request: LeaseRequest & { readonly ttlMs: number },
    signal?: AbortSignal,
  ): Promise<Result<LeaseState>> {
    const checked = checkRequest(request, request?.ttlMs ?? Number.NaN);
    if (!checked.ok) return checked;
    const { name, holder, ttlMs } = request;
    const read = await this.#find(name, signal);
    if (!read.ok) return read;
    let found = read.value;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      if (found === undefined) {
        const taken = await this.#take(name, holder, ttlMs, signal);
        if (!taken.ok || taken.value.held) return taken;
      } else if (!isHeldBy(found, holder)) {
        return ok(this.#heldByOther(name, found));
      } else {
        const renewed = await this.#prolong(name, found, ttlMs, signal);
        if (!renewed.ok) return renewed;
        if (renewed.value !== undefined) return ok({ ...renewed.value, already: true });
      }
      const again = await this.#find(name, signal);
      if (!again.ok) return again;
      found = again.value;
    }
    return failWith(
      'CONFLICT',
      `The lease "${name}" changed hands again and again while it was asked for.`,
      'Try again.',
      { retryable: true, details: { outcome: 'not-done' } },
    );
  }

  /** Default of `ttlMs`: what it was acquired with. With `fencingToken` only that acquisition is renewed. */
  async renew(
    request: LeaseRequest & {
      readonly ttlMs?: number | undefined;
      readonly fencingToken?: number | undefined;
    },
    signal?: AbortSignal,
  ): Promise<Result<LeaseState>> {
    const checked = checkRequest(request, request?.ttlMs);
    if (!checked.ok) return checked;
    const { name, holder, ttlMs, fencingToken } = request;
    const found = await this.#find(name, signal);
    if (!found.ok) return found;
    if (found.value === undefined) return ok({ name, held: false });
    if (!isHeldBy(found.value, holder, fencingToken)) return ok(this.#heldByOther(name, found.value));
    const renewed = await this.#prolong(name, found.value, ttlMs, signal);
    if (!renewed.ok) return renewed;
    return ok(renewed.value ?? { name, held: false });
  }

  /** Gives the lease up at once, so that nobody need wait for its end. Harmless where the caller does not hold it. */
  async release(
    request: LeaseRequest & { readonly fencingToken?: number | undefined },
    signal?: AbortSignal,
  ): Promise<Result<LeaseState>> {
    const checked = checkRequest(request, undefined);
    if (!checked.ok) return checked;
    const { name, holder, fencingToken } = request;
    const found = await this.#find(name, signal);
    if (!found.ok) return found;
    if (found.value === undefined) return ok({ name, held: false });
    if (!isHeldBy(found.value, holder, fencingToken)) return ok(this.#heldByOther(name, found.value));
    const { createRevision, lease } = found.value;
    const answer = await this.#store.transact(
      {
        compares: [{ target: 'createRevision', key: keyOf(name), is: '=', than: createRevision }],
        then: [{ op: 'delete', key: keyOf(name) }],
        otherwise: [],
      },
      signal,
    );
    if (!answer.ok) return answer;
    this.#drop(lease);
    return ok({ name, held: false });
  }

  /** In the order of names; `after` is the last name of the page before. */
  async list(
    page: { readonly limit: number; readonly after?: string | undefined },
    signal?: AbortSignal,
  ): Promise<Result<{ readonly leases: readonly ListedLease[]; readonly more: boolean }>> {
    if (typeof page !== 'object' || (page as unknown) === null)
      return failWith('INVALID_ARGUMENT', 'The page is not an object.', 'Pass { limit, after }.');
    const { limit, after } = page;
    const from = after === undefined ? PREFIX : `${keyOf(after)}\0`;
    const answer = await this.#store.range({ from, to: 'l0' }, limit, 'strong', signal);
    if (!answer.ok) return answer;
    const leases = answer.value.found.map((found): ListedLease => {
      const { agent, node, ttlMs, acquiredMs } = bodyOf(found);
      const name = found.key.slice(PREFIX.length);
      return { name, holder: { agent, node }, fencingToken: found.createRevision, ttlMs, acquiredMs };
    });
    return ok({ leases, more: answer.value.more });
  }

  async #find(name: string, signal?: AbortSignal): Promise<Result<KeyValue | undefined>> {
    const answer = await this.#store.get(keyOf(name), 'strong', signal);
    return answer.ok ? ok(answer.value.found[0]) : answer;
  }

  /** `held: false` where somebody else was quicker. */
  async #take(
    name: string,
    holder: LeaseHolder,
    ttlMs: number,
    signal?: AbortSignal,
  ): Promise<Result<LeaseState>> {
    const before = this.#clock.now();
    const granted = await this.#store.grantLease(ttlMs, signal);
    if (!granted.ok) return granted;
    const { id, ttlMs: grantedMs } = granted.value;
    const acquiredMs = Math.round(before.wallMs);
    const body: Body = { ...holder, ttlMs: grantedMs, askedMs: ttlMs, acquiredMs };
    const key = keyOf(name);
    const put: Operation = { op: 'put', key, value: bytesOf(body), lease: id };
    const answer = await this.#store.transact(
      {
        compares: [{ target: 'version', key, is: '=', than: 0 }],
        then: [put],
        otherwise: [],
      },
      signal,
    );
    if (answer.ok && answer.value.succeeded) {
      const expiresMs = before.wallMs + grantedMs;
      return ok({ name, held: true, fencingToken: answer.value.revision, holder, expiresMs });
    }
    // Of a transaction whose outcome is not known the key may stand: then it must keep its lease.
    if (answer.ok || answer.error.details?.outcome !== 'unknown') this.#drop(id);
    if (answer.ok) return ok({ name, held: false });
    // The lease ran out on its way.
    return answer.error.code === 'NOT_FOUND' ? ok({ name, held: false }) : answer;
  }

  /** `undefined` where it has ended meanwhile. */
  async #prolong(
    name: string,
    found: KeyValue,
    ttlMs: number | undefined,
    signal?: AbortSignal,
  ): Promise<Result<LeaseState | undefined>> {
    const body = bodyOf(found);
    const before = this.#clock.now();
    const state = (forMs: number): LeaseState => ({
      name,
      held: true,
      fencingToken: found.createRevision,
      holder: { agent: body.agent, node: body.node },
      expiresMs: before.wallMs + forMs,
    });
    if (ttlMs === undefined || ttlMs === body.askedMs) {
      const renewed = await this.#store.renewLease(found.lease, signal);
      if (renewed.ok) return ok(state(renewed.value.ttlMs));
      return renewed.error.code === 'NOT_FOUND' ? ok(undefined) : renewed;
    }
    const granted = await this.#store.grantLease(ttlMs, signal);
    if (!granted.ok) return granted;
    const { id, ttlMs: grantedMs } = granted.value;
    const key = keyOf(name);
    const put: Operation = {
      op: 'put',
      key,
      value: bytesOf({ ...body, ttlMs: grantedMs, askedMs: ttlMs }),
      lease: id,
    };
    const answer = await this.#store.transact(
      {
        compares: [{ target: 'createRevision', key, is: '=', than: found.createRevision }],
        then: [put],
        otherwise: [],
      },
      signal,
    );
    if (answer.ok && answer.value.succeeded) {
      this.#drop(found.lease);
      return ok(state(grantedMs));
    }
    if (answer.ok || answer.error.details?.outcome !== 'unknown') this.#drop(id);
    return answer.ok || answer.error.code === 'NOT_FOUND' ? ok(undefined) : answer;
  }

  #heldByOther(name: string, found: KeyValue): LeaseState {
    const { agent, node, ttlMs } = bodyOf(found);
    return { name, held: false, holder: { agent, node }, expiresMs: this.#clock.now().wallMs + ttlMs };
  }

  /** Nothing hangs on it any more; where this does not arrive, it ends by itself. */
  #drop(lease: LeaseId): void {
    if (lease !== 0) this.#store.revokeLease(lease).catch(() => undefined);
  }
}

function keyOf(name: string): QuorumKey {
  return `${PREFIX}${name}`;
}

function isHeldBy(found: KeyValue, holder: LeaseHolder, fencingToken = found.createRevision): boolean {
  const body = bodyOf(found);
  return body.agent === holder.agent && body.node === holder.node && fencingToken === found.createRevision;
}

function bytesOf({ agent, node, ttlMs, askedMs, acquiredMs }: Body): Uint8Array {
  return encode([agent, node, ttlMs, askedMs, acquiredMs]);
}

/** What is not ours to read belongs to nobody who could ask. */
function bodyOf({ value }: KeyValue): Body {
  const parts = decode(value);
  const [agent, node, ttlMs, askedMs, acquiredMs] = (Array.isArray(parts) ? parts : []) as readonly unknown[];
  return {
    agent: typeof agent === 'string' ? agent : '',
    node: typeof node === 'string' ? node : '',
    ttlMs: typeof ttlMs === 'number' ? ttlMs : 0,
    askedMs: typeof askedMs === 'number' ? askedMs : 0,
    acquiredMs: typeof acquiredMs === 'number' ? acquiredMs : 0,
  };
}

/** Programs without types may pass anything. */
function checkRequest(
  request: Partial<LeaseRequest> | null | undefined,
  ttlMs: number | undefined,
): Result<undefined> {
  const name = request?.name;
  const { agent, node }: Partial<LeaseHolder> = request?.holder ?? {};
  if (typeof agent !== 'string' || typeof node !== 'string') {
    return failWith(
      'INVALID_ARGUMENT',
      'The request names no holder.',
      'Pass { name, holder: { agent, node } }.',
    );
  }
  if (
    typeof name !== 'string' ||
    name === '' ||
    utf8(name).length > limits.leaseNameBytes ||
    /[\p{Cc}\p{Cs}]/u.test(name)
  ) {
    return failWith(
      'INVALID_ARGUMENT',
      `The name of the lease is empty, longer than ${limits.leaseNameBytes} bytes, or holds control characters.`,
      'Use a short path, such as "deploy/production".',
    );
  }
  const isTime =
    ttlMs === undefined || (typeof ttlMs === 'number' && ttlMs >= 1_000 && ttlMs <= limits.ttlSeconds * 1000);
  if (isTime) return ok(undefined);
  return failWith(
    'INVALID_ARGUMENT',
    `The time to live must be 1 to ${limits.ttlSeconds} seconds.`,
    'Take a few times what it takes to renew, such as 30 seconds.',
  );
}
