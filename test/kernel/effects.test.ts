import { describe, expect, it } from 'vitest';
import { JOURNAL_TAGS, journalRecord } from '../../src/kernel/effects.ts';

describe('a record for the journal', () => {
  it('is a copy with the tag in front', () => {
    const bytes = Uint8Array.of(9, 1, 2);
    const record = journalRecord('board', bytes.subarray(1));
    expect([...record]).toEqual([JOURNAL_TAGS.board, 1, 2]);
    expect(record.buffer).not.toBe(bytes.buffer);
    expect([...bytes]).toEqual([9, 1, 2]);
  });

  it('stands where its body stood, where the byte before that is free', () => {
    const bytes = Uint8Array.of(8, 9, 1, 2);
    const record = journalRecord('document', bytes.subarray(2), 1);
    expect([...record]).toEqual([JOURNAL_TAGS.document, 1, 2]);
    expect(record.buffer).toBe(bytes.buffer);
    expect([...bytes]).toEqual([8, JOURNAL_TAGS.document, 1, 2]);
  });
});
