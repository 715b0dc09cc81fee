/** What a caller is told where a document takes nothing in. */
import { type ErrorBody, failWith } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { Board } from './board.ts';
import type { Accepted, DocumentsLattice } from './documents-lattice.ts';

type Refusal = { readonly ok: false; readonly error: ErrorBody };

export function noRoom(
  board: Board,
  documents: DocumentsLattice,
  of: (Accepted & { readonly kind: 'full' })['of'],
): Refusal {
  const { quotaBytes } = board;
  const { bytes, living } = documents.shelf(board.name);
  const details = { board: board.name, quotaBytes, bytes: board.bytes + bytes, documents: living };
  if (of === 'board') {
    return failWith(
      'QUOTA_EXCEEDED',
      `The board "${board.name}" has its ${quotaBytes} bytes.`,
      'Delete entries and documents that are no longer needed, or raise its quota.bytes in the configuration.',
      { details },
    );
  }
  if (of === 'document') {
    return failWith(
      'QUOTA_EXCEEDED',
      `The document would be larger than ${limits.documentBytes} bytes, or has had its ${limits.documentClients} clients or its top-level types.`,
      'Start another document; deleted text counts a little too.',
      { details },
    );
  }
  const isFull = living >= limits.documents;
  return failWith(
    'QUOTA_EXCEEDED',
    isFull
      ? `The board "${board.name}" has its ${limits.documents} documents.`
      : `The board "${board.name}" has had its ${limits.documentNames} document names, deleted ones included.`,
    isFull
      ? 'Delete documents that are no longer needed, or use another board.'
      : 'Use the name of a deleted document again, or another board.',
    { details },
  );
}

export function deletedDocument(): Refusal {
  return failWith(
    'INVALID_ARGUMENT',
    'The document was deleted, and this builds on what was in it.',
    'Load the document anew, with an empty Yjs document, and write again.',
  );
}

export function tooMuchWork(): Refusal {
  return failWith(
    'RATE_LIMITED',
    'Only a part of the update was taken in: it collides with too much that others wrote at the same places.',
    'Synchronise the document again: that brings the next part.',
    { retryAfterMs: 1_000 },
  );
}
