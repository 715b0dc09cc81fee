import { JOURNAL_TAGS } from '../kernel/effects.ts';

/** The journal's records without their tags, in order, for each machine that reads some. */
export function byReader(journal: readonly Uint8Array[]) {
  const records: Uint8Array[] = [];
  const boards: Uint8Array[] = [];
  const quorum: Uint8Array[] = [];
  const budgets: Uint8Array[] = [];
  const { record, board, document } = JOURNAL_TAGS;
  const readers = new Map<number | undefined, Uint8Array[]>([
    [record, records],
    [board, boards],
    [document, boards],
    [JOURNAL_TAGS.quorum, quorum],
    [JOURNAL_TAGS.budget, budgets],
  ]);
  for (const tagged of journal) readers.get(tagged[0])?.push(tagged.subarray(1));
  return { records, boards, quorum, budgets };
}
