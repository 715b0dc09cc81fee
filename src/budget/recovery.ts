/**
 * A quorum store that was founded anew from what a minority had may have forgotten grants, and would grant the same money
 * again. What it is known to have granted is told to it anew, before anything else is asked of it.
 *
 * Proof that it has forgotten is what this node itself had read in it, or was granted. Only then rows of others are evidence
 * too: else a writer could raise its own grants by claiming them.
 */
import type { Instant } from '../kernel/time.ts';
import { type Amount, ZERO } from './amount.ts';
import type { AccountId, PurseKey } from './names.ts';
import { parsePurseKey } from './names.ts';
import type { Office } from './office.ts';
import { type Entry, planRecovery, type Reserve } from './reserve-register.ts';

export type Entries = ReadonlyMap<PurseKey, ReadonlyMap<AccountId, Entry>>;

/** `before`: what the mirror had, before the store was read anew. */
export function recoverGrants(office: Office, before: Entries, now: Instant): void {
  for (const [purse, grants] of lostGrants(office, before)) {
    const budget = parsePurseKey(purse)?.budget;
    if (budget === undefined) continue;
    for (const [account, granted] of grants) {
      office.order({
        kind: 'mark',
        level: 'error',
        name: 'budget.grantsLost',
        fields: { purse, account, granted },
      });
      office.send<Reserve>(
        { budget, purse, account, plan: (view) => planRecovery(view, granted) },
        { strong: true, done: () => undefined },
        now,
      );
    }
  }
}

function lostGrants(
  { ledger, mirror }: Office,
  before: Entries,
): ReadonlyMap<PurseKey, ReadonlyMap<AccountId, Amount>> {
  const lost = new Map<PurseKey, Map<AccountId, Amount>>();
  const note = (purse: PurseKey, account: AccountId, granted: Amount): void => {
    if (granted <= (mirror.entries(purse).get(account)?.granted ?? 0)) return;
    const grants = lost.get(purse) ?? new Map<AccountId, Amount>();
    if (granted > (grants.get(account) ?? ZERO)) lost.set(purse, grants.set(account, granted));
  };
  for (const [purse, { granted }] of ledger.purses) note(purse, ledger.account, granted);
  for (const [purse, entries] of before)
    for (const [account, { granted }] of entries) note(purse, account, granted);
  for (const purse of lost.keys()) {
    const id = parsePurseKey(purse);
    const definition = id === undefined ? undefined : mirror.definitions.get(id.budget);
    // A budget that was made anew under the name has other money.
    if (definition === undefined || definition.epoch !== id?.epoch) {
      lost.delete(purse);
      continue;
    }
    for (const { account, row } of ledger.rows.of(purse))
      if (row !== undefined && row.granted <= definition.limit) note(purse, account, row.granted);
  }
  return lost;
}
