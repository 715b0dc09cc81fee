import { diskContract } from '../contracts/disk.contract.ts';
import { journalHarness, WAYS } from './journal-support.ts';

for (const way of WAYS) diskContract(`journal, ${way}`, () => journalHarness(way));
