/**
 * 80 % of the demand on a fifth of the nodes, shifting, until 99 % of the limit is spent: how many reservations are refused
 * although the money is there, and how many messages that takes.
 */
import { definitionOf } from '../support.ts';
import { type Outcome, Toy, type ToyOptions } from './toy.ts';

export interface SkewedOptions extends Partial<ToyOptions> {
  readonly limit: number;
  /** Of a reservation on average; what is settled is half to all of it. */
  readonly amount: number;
  /** On all nodes together. */
  readonly perSecond: number;
  readonly shiftMs: number;
}

export interface SkewedResult {
  readonly reservations: number;
  readonly granted: number;
  readonly denied: number;
  readonly falselyDenied: number;
  /** Spent of the limit. */
  readonly spent: number;
  readonly transfers: number;
  readonly calls: number;
  readonly storeCalls: number;
  /** Rows, one for each receiver. */
  readonly rows: number;
  readonly perThousand: { readonly calls: number; readonly storeCalls: number; readonly rows: number };
  readonly waited: number;
  readonly longestMs: number;
  readonly simulatedMs: number;
}

const HELD_MS = 50;

export function skewedWorkload(options: SkewedOptions): SkewedResult {
  const { limit, amount, perSecond, shiftMs, nodes = 10 } = options;
  const world = new Toy({ ...options, nodes, limit }, definitionOf({ limit }));
  world.run(1_000);
  const counts = { reservations: 0, granted: 0, denied: 0, falselyDenied: 0, waited: 0, longestMs: 0 };
  const done = (outcome: Outcome): void => {
    if (outcome.waitedMs > 0) counts.waited++;
    counts.longestMs = Math.max(counts.longestMs, outcome.waitedMs);
    if (outcome.kind === 'granted') counts.granted++;
    else counts.denied++;
    if (outcome.isFalse) counts.falselyDenied++;
  };
  const spent = (): number =>
    world.nodes.reduce((sum, { host }) => sum + (host.ledger.purses.get(world.purse)?.spent ?? 0), 0);
  const isOver = (): boolean => spent() >= 0.99 * limit;
  const step = (): void => {
    const hot = Math.floor(world.now.monoMs / shiftMs) * 2;
    const isHot = world.rng.chance(0.8);
    const index = isHot ? hot + world.rng.below(2) : world.rng.below(nodes);
    const node = world.nodes[index % nodes]!;
    const asked = 1 + world.rng.below(2 * amount - 1);
    const used = Math.ceil(asked * (0.5 + world.rng.float() / 2));
    counts.reservations++;
    node.reserve(asked, done, undefined, (id) => {
      world.at(world.now.monoMs + HELD_MS, () => node.settle(id, used));
    });
    world.at(world.now.monoMs + 1_000 / perSecond, step);
  };
  step();
  const startMs = world.now.monoMs;
  world.run(startMs + 3_600_000, isOver);
  const { transfers, calls, storeCalls, rows } = world;
  const perThousand = (count: number): number => Math.round((count / counts.reservations) * 1_000_00) / 100;
  return {
    ...counts,
    spent: spent() / limit,
    transfers,
    calls,
    storeCalls,
    rows,
    perThousand: { calls: perThousand(calls), storeCalls: perThousand(storeCalls), rows: perThousand(rows) },
    simulatedMs: world.now.monoMs - startMs,
  };
}
