/**
 * The register's state as bytes: records `[length][tag][fields]` one after the other, cut into pieces without regard
 * to where records begin. Before each piece stands a checksum over it and all pieces before it, so that a piece that
 * is missing, changed or out of order shows at once.
 *
 * The newest history goes along, so that watches of a node that was given a snapshot miss nothing: up to a quarter
 * of what the keys hold, and at least 1 MiB. Changes whose entries still stand cost no more than their keys.
 */
import { ByteWriter } from '../../kernel/bytes.ts';
import type { KeyChange, KeyValue, OperationAnswer } from '../port.ts';
import { crc32 } from './checksum.ts';
import type { ClientState } from './clients.ts';
import type { Revision } from './history.ts';
import type { LeaseState, Outcome } from './outcome.ts';

/** References to what never changes, taken at one moment. */
export interface RegisterState {
  readonly format: number;
  readonly revision: number;
  readonly bytes: number;
  readonly chunks: readonly (readonly KeyValue[])[];
  readonly leases: readonly LeaseState[];
  readonly clients: readonly ClientState[];
  readonly history: readonly Revision[];
}

export interface RestoredState {
  readonly format: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly entries: readonly KeyValue[];
  readonly leases: readonly LeaseState[];
  readonly clients: readonly ClientState[];
  readonly history: readonly Revision[];
}

export const TAG = {
  head: 1,
  lease: 2,
  entry: 3,
  client: 4,
  outcome: 5,
  history: 6,
  change: 7,
  end: 8,
} as const;
export const CHANGE = { deleted: 0, put: 1, standing: 2 } as const;
export const OUTCOME = { transacted: 1, granted: 2, revoked: 3, failed: 4 } as const;
export const FAILURES = ['INVALID_ARGUMENT', 'TOO_LARGE', 'NOT_FOUND', 'CONFLICT', 'QUOTA_EXCEEDED'] as const;
export const ANSWERS = ['put', 'delete', 'deleteRange', 'get', 'range'] as const;

const PIECE_BYTES = 128 * 1024;
const LEAST_HISTORY_BYTES = 1024 * 1024;

export function* encodeSnapshot(state: RegisterState): Generator<Uint8Array> {
  let checksum = 0;
  const out = new ByteWriter(PIECE_BYTES * 2);
  const piece = (bytes: Uint8Array): Uint8Array => {
    checksum = crc32(bytes, checksum);
    const whole = new Uint8Array(4 + bytes.length);
    new DataView(whole.buffer).setUint32(0, checksum);
    whole.set(bytes, 4);
    return whole;
  };
  for (const record of records(state, true)) {
    out.sized(record);
    if (out.length < PIECE_BYTES) continue;
    const bytes = out.take();
    let at = 0;
    for (; at + PIECE_BYTES <= bytes.length; at += PIECE_BYTES) {
      yield piece(bytes.subarray(at, at + PIECE_BYTES));
    }
    out.raw(bytes.subarray(at));
  }
  if (out.length > 0) yield piece(out.take());
}

/** Two checksums of 32 bits; no defence against forgery. */
export function digestOf(state: RegisterState): string {
  let forward = 0;
  let mixed = 0x9e3779b9;
  for (const record of records(state, false)) {
    forward = crc32(record, forward);
    mixed = Math.imul(mixed ^ crc32(record, mixed >>> 0), 0x01000193);
  }
  return [forward, mixed].map((part) => (part >>> 0).toString(16).padStart(8, '0')).join('');
}

/** Each is valid until the next is asked for. */
function* records(state: RegisterState, withHistory: boolean): Generator<Uint8Array> {
  const out = new ByteWriter(4096);
  const record = (tag: number, write: (out: ByteWriter) => void): Uint8Array => {
    out.clear();
    out.byte(tag);
    write(out);
    return out.view();
  };
  yield record(TAG.head, () => {
    out.varuint(state.format);
    out.varuint(state.revision);
  });
  const leases = state.leases.toSorted((left, right) => left.id - right.id);
  for (const lease of leases) {
    yield record(TAG.lease, () => {
      out.varuint(lease.id);
      out.varuint(lease.ttlMs);
      out.varuint(lease.renewals);
    });
  }
  const oldest = state.history[0]?.revision ?? Number.POSITIVE_INFINITY;
  const standing = new Set<KeyValue>();
  let entries = 0;
  for (const chunk of state.chunks) {
    for (const entry of chunk) {
      entries++;
      if (withHistory && entry.modRevision >= oldest) standing.add(entry);
      yield record(TAG.entry, () => writeEntry(out, entry));
    }
  }
  for (const client of state.clients) {
    yield record(TAG.client, () => {
      out.varuint(client.id);
      out.varuint(client.lastIndex);
      out.varuint(client.lowestOutstanding);
      out.varuint(client.outcomes.length);
    });
    for (const [sequence, outcome] of client.outcomes) {
      yield record(TAG.outcome, () => {
        out.varuint(sequence);
        writeOutcome(out, outcome);
      });
    }
  }
  if (withHistory) yield* historyRecords(state, standing, record);
  yield record(TAG.end, () => {
    out.varuint(entries);
    out.varuint(leases.length);
    out.varuint(state.clients.length);
  });
}

function* historyRecords(
  state: RegisterState,
  standing: ReadonlySet<KeyValue>,
  record: (tag: number, write: (out: ByteWriter) => void) => Uint8Array,
): Generator<Uint8Array> {
  const most = Math.max(LEAST_HISTORY_BYTES, state.bytes / 4);
  const from = newestWithin(state.history, most, ({ entry }) =>
    standing.has(entry) ? entry.key.length + 16 : entry.key.length + entry.value.length + 32,
  );
  yield record(TAG.history, (out) => out.varuint(state.history[from]?.revision ?? state.revision + 1));
  for (const { revision, changes } of state.history.slice(from)) {
    for (const change of changes) {
      yield record(TAG.change, (out) => {
        out.varuint(revision);
        writeChange(out, change, standing);
      });
    }
  }
}

/** Where the newest revisions begin that come to `most` together. */
function newestWithin(
  history: readonly Revision[],
  most: number,
  weigh: (change: KeyChange) => number,
): number {
  let bytes = 0;
  for (let at = history.length - 1; at >= 0; at--) {
    for (const change of (history[at] as Revision).changes) bytes += weigh(change);
    if (bytes > most) return at + 1;
  }
  return 0;
}

function writeChange(out: ByteWriter, change: KeyChange, standing: ReadonlySet<KeyValue>): void {
  if (change.kind === 'put' && !standing.has(change.entry)) {
    out.byte(CHANGE.put);
    writeEntry(out, change.entry);
  } else {
    out.byte(change.kind === 'put' ? CHANGE.standing : CHANGE.deleted);
    out.text(change.entry.key);
  }
}

function writeEntry(out: ByteWriter, entry: KeyValue): void {
  out.text(entry.key);
  out.sized(entry.value);
  out.varuint(entry.createRevision);
  out.varuint(entry.modRevision);
  out.varuint(entry.version);
  out.varuint(entry.lease);
}

function writeOutcome(out: ByteWriter, outcome: Outcome): void {
  out.byte(OUTCOME[outcome.kind]);
  switch (outcome.kind) {
    case 'transacted':
      out.byte(outcome.answer.succeeded ? 1 : 0);
      out.varuint(outcome.answer.revision);
      out.varuint(outcome.answer.answers.length);
      for (const answer of outcome.answer.answers) writeAnswer(out, answer);
      return;
    case 'granted':
      out.varuint(outcome.lease.id);
      out.varuint(outcome.lease.ttlMs);
      return;
    case 'revoked':
      out.varuint(outcome.revision);
      return;
    case 'failed':
      out.byte(FAILURES.indexOf(outcome.code));
      out.text(outcome.message);
  }
}

function writeAnswer(out: ByteWriter, answer: OperationAnswer): void {
  out.byte(ANSWERS.indexOf(answer.op));
  switch (answer.op) {
    case 'put':
      return;
    case 'delete':
    case 'deleteRange':
      out.varuint(answer.deleted);
      return;
    case 'get':
      out.byte(answer.found === undefined ? 0 : 1);
      if (answer.found !== undefined) writeEntry(out, answer.found);
      return;
    case 'range':
      out.byte(answer.more ? 1 : 0);
      out.varuint(answer.found.length);
      for (const entry of answer.found) writeEntry(out, entry);
  }
}
