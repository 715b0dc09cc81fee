/** What the orchestrator does about one purse, from what it knows of it: advice turned into grants, moves and recalls. */
import {
  AHEAD_MS,
  chunkOf,
  expected,
  type Holder,
  type Move,
  rebalance,
  STRANDED_PARTS,
  spareOf,
} from '../allocation.ts';
import { type Amount, ZERO } from '../amount.ts';
import type { AccountId } from '../names.ts';
import type { Reserve } from '../reserve-register.ts';

/** What a node may at least have left before it gets more: news of it may be two seconds old. */
const LOW_MS = 2_500;
/** Of what a caller wants evened out, and of what is owed to a lowered limit, this is left to who spends it. */
const SOON_MS = 5_000;
/** What nobody needs for so long is recalled, where the reserve runs low. */
const IDLE_MS = 60_000;
/** Moves and recalls of less than this part of the limit are not worth their messages: who lacks that little gets it in a round trip once it needs it. */
const LEAST_PARTS = 200;

export interface Grant {
  readonly to: AccountId;
  readonly amount: Amount;
}

export interface Decisions {
  readonly grants: readonly Grant[];
  readonly moves: readonly Move[];
  /** Back to the reserve. */
  readonly recalls: readonly { readonly from: AccountId; readonly amount: Amount }[];
}

/**
 * Where there is a reserve, those who run short get chunks of it ahead of need. Where there is none, rights move from who
 * can spare them to who runs short; where it is low, what nobody will need comes back to it. Where the limit was lowered below what is
 * granted, what can be spared comes back until that is paid, and nothing is granted.
 */
export function decide({ limit, reserve, owed }: Reserve, holders: readonly Holder[]): Decisions {
  if (owed > 0) return { grants: [], moves: [], recalls: recallsOf(owed, holders, SOON_MS) };
  const most = Math.max(1, Math.floor(limit / STRANDED_PARTS));
  const least = Math.max(1, Math.floor(limit / LEAST_PARTS)) as Amount;
  const grants = reserve > 0 ? grantsOf({ limit, reserve, owed }, holders) : [];
  const granted = grants.reduce((sum, { amount }) => sum + amount, 0);
  const isLow = reserve - granted < most;
  const moves = isLow && grants.length === 0 ? rebalance(holders, LOW_MS, least, most) : [];
  const isWanted = holders.some(({ burnPerMs }) => burnPerMs > 0);
  const wanted = isLow && isWanted && moves.length === 0 ? most - (reserve - granted) : 0;
  const recalls = recallsOf(wanted, holders, IDLE_MS).filter(({ amount }) => amount >= least);
  return { grants, moves, recalls };
}

/** Moves that a caller asked for: as evenly as spending needs it, however small. */
export function evenedOut(limit: Amount, holders: readonly Holder[]): readonly Move[] {
  const most = Math.max(1, Math.floor(limit / STRANDED_PARTS));
  return rebalance(holders, SOON_MS, 1 as Amount, most);
}

function grantsOf({ limit, reserve }: Reserve, holders: readonly Holder[]): readonly Grant[] {
  const spenders = holders.filter(({ burnPerMs }) => burnPerMs > 0).length;
  const grants: Grant[] = [];
  let left = reserve as number;
  for (const { account, rights, burnPerMs } of holders) {
    if (burnPerMs === 0 || rights >= expected(burnPerMs, LOW_MS)) continue;
    const { amount } = chunkOf({
      limit,
      reserve: left as Amount,
      rights,
      need: ZERO,
      burnPerMs,
      horizonMs: AHEAD_MS,
      spenders,
    });
    // What comes to little more than what is there is asked for by the node itself, once it needs it.
    if (amount < Math.max(1, (expected(burnPerMs, LOW_MS) - rights) / 2)) continue;
    grants.push({ to: account, amount });
    left -= amount;
  }
  return grants;
}

function recallsOf(
  wanted: number,
  holders: readonly Holder[],
  horizonMs: number,
): readonly { readonly from: AccountId; readonly amount: Amount }[] {
  const spares = holders
    .map((holder) => ({ from: holder.account, spare: spareOf(holder, horizonMs) as number }))
    .filter(({ spare }) => spare > 0)
    .sort((one, other) => other.spare - one.spare || (one.from < other.from ? -1 : 1));
  const recalls: { from: AccountId; amount: Amount }[] = [];
  let left = wanted;
  for (const { from, spare } of spares) {
    if (left <= 0) break;
    const amount = Math.min(spare, left) as Amount;
    recalls.push({ from, amount });
    left -= amount;
  }
  return recalls;
}
