/** The second half of the seeds of the budgets: in a file of its own, so that two cores share them. */
import { describe } from 'vitest';
import { budgetSeeds } from './budget-seeds.ts';

describe('budget world: seeds (B01 to B21, B23, B26 to B29; I1 to I9), the second half', () => {
  budgetSeeds(101, 100);
});
