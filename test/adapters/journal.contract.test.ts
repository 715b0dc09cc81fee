import { diskContract } from '../contracts/disk.contract.ts';
import { journalHarness } from './journal-support.ts';

diskContract('journal', journalHarness);
