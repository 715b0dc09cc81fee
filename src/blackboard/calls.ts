/** Checks what callers pass before anything happens: each refusal says what to do. */

import { type ErrorBody, failWith, ok, type Result } from '../kernel/errors.ts';
import { parseBoardName } from '../kernel/ids.ts';
import { checkJson } from '../kernel/json.ts';
import { checkKey, LONE_SURROGATE } from '../kernel/key.ts';
import { limits } from '../kernel/limits.ts';
import { fromBase64Url, fromUtf8, toBase64Url, utf8 } from '../kernel/text.ts';
import {
  type BoardCall,
  type ClientStamp,
  type DocumentEdit,
  LEVELS,
  type ListCall,
  type WaitCall,
} from './api.ts';
import { DOCUMENT_NAME_BYTES } from './sections.ts';

const POISONED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

type Checked = Result<unknown>;
const FINE: Checked = ok(undefined);

function wrong(message: string, hint: string): { readonly ok: false; readonly error: ErrorBody } {
  return failWith('INVALID_ARGUMENT', message, hint);
}

export function checkBoardName(board: unknown): Checked {
  if (parseBoardName(board) !== undefined) return FINE;
  return wrong(
    'The board name is not valid.',
    'Use 1 to 64 of a-z, 0-9, ".", "_" and "-", starting with a letter or digit.',
  );
}

/** Form and bounds of a call; values are checked by `checkValue`. */
export function checkCall(call: BoardCall): Checked {
  const named = checkBoardName(call.board);
  if (!named.ok) return named;
  if (call.level !== undefined && !LEVELS.includes(call.level)) {
    return wrong('The level is not known.', `Use one of ${LEVELS.join(', ')}.`);
  }
  switch (call.op) {
    case 'write':
    case 'delete':
      return isStamp(call.stamp) ? checkKey(call.key) : wrong(NO_STAMP, STAMP_HINT);
    case 'read':
    case 'compareAndSet':
    case 'append':
      return checkKey(call.key);
    case 'list':
      return checkList(call);
    case 'wait':
      return checkWait(call);
    case 'documentRead':
    case 'documentDelete':
      return checkDocumentName(call.document);
    case 'documentEdit': {
      const named = checkDocumentName(call.document);
      return named.ok ? checkEdits(call.edits) : named;
    }
    default:
      // Only programs without types come here.
      call satisfies never;
      return wrong('The operation is not known.', 'See BoardCall for those that there are.');
  }
}

const NO_STAMP = 'The stamp is not valid.';
const STAMP_HINT = 'Pass it as { revision, lane }, whole numbers, or leave it out.';

function isStamp(stamp: ClientStamp | null | undefined): boolean {
  if (stamp === undefined) return true;
  return isCount(stamp?.revision) && isCount(stamp?.lane);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The value as JSON text, once it is known to be plain, well-formed and small enough. */
export function checkValue(value: unknown, what: string): Result<string> {
  const room = roomIn(value, limits.valueBytes);
  if (room < 0) return tooLarge(what);
  // A text is plain by itself.
  if (typeof value !== 'string') {
    const checked = checkJson(value, what);
    if (!checked.ok) return checked;
  }
  const text = JSON.stringify(value);
  if (text.length > limits.valueBytes) return tooLarge(what);
  if (text.length * 3 > limits.valueBytes && utf8(text).length > limits.valueBytes) return tooLarge(what);
  if (text.includes('\\ud') && hasLoneSurrogate(value)) {
    return wrong(`${what} is not valid Unicode (a lone surrogate).`, 'Send well-formed text.');
  }
  return ok(text);
}

function tooLarge(what: string): { readonly ok: false; readonly error: ErrorBody } {
  return failWith(
    'TOO_LARGE',
    `${what} is larger than ${limits.valueBytes} bytes as JSON.`,
    'Split it over several keys, or store it elsewhere and write a reference.',
  );
}

/** `room` less the characters of all texts in the value; stops as soon as it is negative. */
function roomIn(value: unknown, room: number, depth = 0): number {
  if (typeof value === 'string') return room - value.length;
  if (value === null || typeof value !== 'object' || depth > limits.jsonDepth) return room - 1;
  let left = room;
  for (const [key, child] of Object.entries(value)) {
    left = roomIn(child, Array.isArray(value) ? left : left - key.length, depth + 1);
    if (left < 0) break;
  }
  return left;
}

function hasLoneSurrogate(value: unknown): boolean {
  if (typeof value === 'string') return LONE_SURROGATE.test(value);
  if (value === null || typeof value !== 'object') return false;
  return Object.entries(value).some(([key, child]) => LONE_SURROGATE.test(key) || hasLoneSurrogate(child));
}

export function checkTtl(ttlSeconds: unknown): Checked {
  if (ttlSeconds === undefined) return FINE;
  if (typeof ttlSeconds === 'number' && Number.isInteger(ttlSeconds)) {
    if (ttlSeconds >= 1 && ttlSeconds <= limits.ttlSeconds) return FINE;
  }
  return wrong('The time to live is not valid.', `Pass whole seconds from 1 to ${limits.ttlSeconds}.`);
}

function checkList(call: ListCall): Checked {
  const { limit = 100 } = call;
  if (!Number.isInteger(limit) || limit < 1 || limit > limits.listPage) {
    return wrong('The limit is not valid.', `Pass a whole number from 1 to ${limits.listPage}.`);
  }
  if (call.cursor !== undefined && readListCursor(call.cursor) === undefined) {
    return wrong('The cursor is not valid.', 'Pass the cursor of the page before unchanged, or none.');
  }
  return checkKey(call.prefix ?? '', 'prefix');
}

function checkWait(call: WaitCall): Checked {
  if ((call.key === undefined) === (call.prefix === undefined)) {
    return wrong(
      'Pass either a key or a prefix.',
      'Pass exactly one of the two; an empty prefix means every key.',
    );
  }
  if (!Number.isFinite(call.timeoutMs) || call.timeoutMs < 0 || call.timeoutMs > limits.waitMs) {
    return wrong('The time-out is not valid.', `Pass 0 to ${limits.waitMs} milliseconds.`);
  }
  const { afterRevision = 0 } = call;
  if (!Number.isSafeInteger(afterRevision) || afterRevision < 0) {
    return wrong('The revision to wait beyond is not valid.', 'Pass the revision of an earlier answer.');
  }
  return call.key === undefined ? checkKey(call.prefix ?? '', 'prefix') : checkKey(call.key);
}

export function checkDocumentName(name: unknown): Checked {
  if (typeof name === 'string' && name !== '' && !LONE_SURROGATE.test(name) && !POISONED.has(name)) {
    if (utf8(name.slice(0, DOCUMENT_NAME_BYTES + 1)).length <= DOCUMENT_NAME_BYTES) return FINE;
  }
  return wrong(
    'The document name is not valid.',
    `Use well-formed text of 1 to ${DOCUMENT_NAME_BYTES} bytes.`,
  );
}

function checkEdits(edits: readonly DocumentEdit[]): Checked {
  if (!Array.isArray(edits) || edits.length === 0 || edits.length > limits.edits) {
    return wrong('The list of edits is not valid.', `Pass 1 to ${limits.edits} edits.`);
  }
  let room: number = limits.editBytes;
  for (const edit of edits as readonly (DocumentEdit | null | undefined)[]) {
    if (typeof edit !== 'object' || edit === null) {
      return wrong('An edit is not an object.', 'Pass edits as { kind, text, find }.');
    }
    const texts = edit.kind === 'append' ? [edit.text] : [edit.text, edit.find];
    if (texts.some((text) => typeof text !== 'string' || LONE_SURROGATE.test(text))) {
      return wrong('An edit has no well-formed text.', 'Pass texts without lone surrogates.');
    }
    for (const text of texts) room -= text.length;
    if (room < 0) {
      return failWith(
        'TOO_LARGE',
        `The edits hold more than ${limits.editBytes} characters.`,
        'Edit in smaller steps.',
      );
    }
    if (edit.kind !== 'append' && edit.find === '') {
      return wrong('The text to find is empty.', 'Pass text that occurs exactly once, or use "append".');
    }
  }
  return FINE;
}

export function listCursor(key: string): string {
  return toBase64Url(utf8(key));
}

export function readListCursor(cursor: unknown): string | undefined {
  if (typeof cursor !== 'string' || cursor.length > limits.keyBytes * 2) return undefined;
  const bytes = fromBase64Url(cursor);
  return bytes === undefined ? undefined : fromUtf8(bytes);
}
