/** What nobody can ask for, since nobody has heard of it: it is stranded with its sender. */
import { type Position, wentOn } from '../../src/budget/conservation.ts';
import type { Ledger } from '../../src/budget/ledger.ts';
import type { PurseKey } from '../../src/budget/names.ts';

/** Sent to these accounts by others that no machine stands for any more, in rows that came to none of these. */
export function sentUnheard(
  purse: PurseKey,
  positions: readonly Position[],
  living: readonly Pick<Ledger, 'account' | 'rows'>[],
): number {
  const rowOf = new Map(positions.map(({ account, row }) => [account, row]));
  const isAlive = new Set(living.map(({ account }) => account));
  let sum = 0;
  for (const position of positions) {
    const { account: from, row } = position;
    if (row === undefined || isAlive.has(from) || wentOn(position)) continue;
    for (const [to, total] of row.sent) {
      if (!isAlive.has(to)) continue;
      const received = rowOf.get(to)?.received.get(from) ?? 0;
      const heard = living.map(({ rows }) => rows.row(purse, from)?.sent.get(to) ?? 0);
      sum += Math.max(0, total - Math.max(received, ...heard));
    }
  }
  return sum;
}
