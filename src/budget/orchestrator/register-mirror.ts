import type { NodeId } from '../../kernel/ids.ts';
import type { Instant } from '../../kernel/time.ts';
import type { Mirror } from '../mirror.ts';
import { type AccountId, type BudgetName, type PurseKey, parsePurseKey, purseKey } from '../names.ts';
import { periodAt } from '../period.ts';
import type { View } from '../reserve-register.ts';
import { currentAccount } from '../status.ts';
import type { RegisterMirror } from './messages.ts';

/** The mirror of the budgets' machine, as the orchestrator reads it. `heardAt`: when a row of each account was heard last. */
export function registerMirrorOf(mirror: Mirror, heardAt: ReadonlyMap<string, number>): RegisterMirror {
  return {
    view: (purse: PurseKey, account: AccountId): View | undefined => {
      const budget = parsePurseKey(purse)?.budget;
      return budget === undefined || !mirror.isFilled ? undefined : mirror.view(budget, purse, account);
    },
    currentAccount: (node: NodeId) => currentAccount(mirror, heardAt, node),
    *purses(now: Instant): Generator<{ readonly budget: BudgetName; readonly purse: PurseKey }> {
      for (const { name: budget, epoch, window } of mirror.definitions.values())
        yield { budget, purse: purseKey({ budget, epoch, period: periodAt(window, now.wallMs) }) };
    },
  };
}
