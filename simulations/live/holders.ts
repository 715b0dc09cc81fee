/** Agents that hold leases, and what may be said of several that hold one name: one at a time, with growing tokens. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Recorder } from './agents.ts';
import type { Client } from './clients.ts';

/** One acquisition as its holder saw it; times as in the history. */
export interface Holding {
  readonly name: string;
  readonly holder: string;
  readonly token: number;
  /** The request left, and the answer was there: from then on it believes to hold. */
  readonly start: number;
  readonly held: number;
  /** Until then, and no longer, it believes to hold. */
  readonly until: number;
}

const TTL_SECONDS = 2;
const TTL_NS = TTL_SECONDS * 1e9;

export class Holder {
  readonly #name: string;
  readonly #client: Client;
  readonly #recorder: Recorder;
  readonly #holdings: Holding[];
  readonly #dice: () => number;

  constructor(name: string, client: Client, recorder: Recorder, holdings: Holding[], dice: () => number) {
    this.#name = name;
    this.#client = client;
    this.#recorder = recorder;
    this.#holdings = holdings;
    this.#dice = dice;
  }

  async work(leases: readonly string[], until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      const lease = leases[Math.floor(this.#dice() * leases.length)] as string;
      await this.#tryOnce(lease, until);
      await pause(100 + 200 * this.#dice(), until);
    }
    await this.#client.close();
  }

  async #tryOnce(name: string, until: AbortSignal): Promise<void> {
    const start = this.#recorder.now();
    const mine = { name, agent_id: this.#name };
    const told = await this.#client.call('lease_acquire', { ...mine, ttl_seconds: TTL_SECONDS });
    const held = this.#recorder.now();
    this.#recorder.fail(told);
    if (told.kind !== 'done' || told.value.held !== true) return;
    const token = told.value.fencing_token as number;
    const end = await this.#hold({ name, token, start }, until);
    // An acquisition that it gave up without a word, and made again while it still had the lease, ends with this one.
    for (const [at, { name: other, holder, token: same, until: earlier }] of this.#holdings.entries())
      if (end.isGivenUp && other === name && holder === this.#name && same === token)
        this.#holdings[at] = { ...(this.#holdings[at] as Holding), until: Math.min(earlier, end.until) };
    this.#holdings.push({ name, holder: this.#name, token, start, held, until: end.until });
    if (end.isGivenUp)
      this.#recorder.fail(await this.#client.call('lease_release', { ...mine, fencing_token: token }));
  }

  /** Renews a few times; says until when it believes to hold. */
  async #hold(
    { name, token, start }: { name: string; token: number; start: number },
    until: AbortSignal,
  ): Promise<{ readonly until: number; readonly isGivenUp: boolean }> {
    const mine = { name, agent_id: this.#name };
    let end = start + TTL_NS;
    for (let renewals = Math.floor(this.#dice() * 4); renewals > 0 && !until.aborted; renewals--) {
      await pause(TTL_SECONDS * 250, until);
      const asked = this.#recorder.now();
      const renewed = await this.#client.call('lease_renew', { ...mine, fencing_token: token });
      this.#recorder.fail(renewed);
      if (renewed.kind === 'done' && renewed.value.held === true) end = asked + TTL_NS;
      // Told that it has lost it: from when it asked it may have been another's.
      else if (renewed.kind === 'done') end = Math.min(end, asked);
      if (renewed.kind === 'done' && renewed.value.held !== true) break;
    }
    if (this.#dice() < 0.6) return { until: Math.min(end, this.#recorder.now()), isGivenUp: true };
    return { until: end, isGivenUp: false };
  }
}

/** What is wrong with these holdings; empty where nothing is. */
export function leaseViolations(holdings: readonly Holding[]): readonly string[] {
  const wrong: string[] = [];
  for (const [name, all] of grouped(holdings, ({ name }) => name)) {
    for (const [token, sharers] of grouped(all, ({ token }) => token))
      if (new Set(sharers.map(({ holder }) => holder)).size > 1)
        wrong.push(
          `lease ${name}: token ${token} was given to ${sharers.map(({ holder }) => holder).join(' and ')}`,
        );
    const byStart = all.toSorted((left, right) => left.start - right.start);
    for (const later of byStart)
      for (const earlier of byStart) {
        if (earlier.held < later.start && earlier.token > later.token)
          wrong.push(
            `lease ${name}: ${described(later)} has a lesser token than the earlier ${described(earlier)}`,
          );
        // Of two that overlap each is seen once: by the lesser token.
        const overlap = Math.min(earlier.until, later.until) - Math.max(earlier.held, later.held);
        if (earlier.token < later.token && earlier.holder !== later.holder && overlap > 0)
          wrong.push(
            `lease ${name}: two holders for ${(overlap / 1e6).toFixed(1)} ms: ${described(earlier)} and ${described(later)}`,
          );
      }
  }
  return wrong;
}

function grouped<Key>(
  holdings: readonly Holding[],
  keyOf: (holding: Holding) => Key,
): ReadonlyMap<Key, readonly Holding[]> {
  const groups = new Map<Key, Holding[]>();
  for (const holding of holdings) {
    const group = groups.get(keyOf(holding));
    if (group === undefined) groups.set(keyOf(holding), [holding]);
    else group.push(holding);
  }
  return groups;
}

function described({ holder, token, held, until }: Holding): string {
  return `${holder} with token ${token} [${(held / 1e6).toFixed(1)} to ${(until / 1e6).toFixed(1)} ms]`;
}

async function pause(ms: number, until: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal: until }).catch(() => {});
}
