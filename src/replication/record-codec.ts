/**
 * Signed records as bytes: what is signed, what travels, what lies in the journal.
 *
 * What is signed has a layout of its own rather than an encoder's, so that signer and verifier cannot differ in it:
 * the domain, then owner, kind and key each behind its length (16 bits), the sequence (64 bits), the body.
 */
import { concatBytes, decode, encode, fromUtf8, utf8 } from '../kernel/codec.ts';
import { type NodeId, parseNodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { RecordKind, SignedRecord } from './record.ts';

const DOMAIN = utf8('skein/record/1');
/** Kinds of later versions are carried like any other, so that replicas of two versions can be equal. */
const KIND = /^[a-z][a-z-]{0,31}$/;
const SIGNATURE_BYTES = 64;

type Unsigned = Omit<SignedRecord, 'signature'>;

export function signedBytes(record: Unsigned): Uint8Array {
  return concatBytes([
    DOMAIN,
    ...[record.owner, record.kind, record.key].flatMap((text) => lengthPrefixed(utf8(text))),
    uint64(record.sequence),
    record.body,
  ]);
}

function lengthPrefixed(bytes: Uint8Array): Uint8Array[] {
  return [Uint8Array.of(bytes.length >>> 8, bytes.length & 255), bytes];
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** Records, and owners (by tag, see `record-digest.ts`) of whose records the asker should send a list. */
interface RecordDelta {
  readonly records: readonly SignedRecord[];
  readonly hints: readonly Uint8Array[];
}

/** msgpack: `[[[owner, [[kind, key, sequence, body, signature], …]], …], [hint, …]]`. */
export function encodeDelta({ records, hints }: RecordDelta): Uint8Array {
  const owners = new Map<NodeId, unknown[]>();
  for (const record of records) {
    const rows = owners.get(record.owner) ?? [];
    owners.set(record.owner, rows);
    rows.push(row(record));
  }
  return encode([[...owners], hints]);
}

/** `undefined` where the bytes are no delta within bounds. Bodies and signatures are copies. */
export function decodeDelta(bytes: Uint8Array): RecordDelta | undefined {
  const value = decode(bytes);
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [owners, hints] = value as [unknown, unknown];
  if (!Array.isArray(owners) || !isHints(hints)) return undefined;
  const records: SignedRecord[] = [];
  for (const entry of owners as unknown[]) {
    if (!Array.isArray(entry) || entry.length !== 2 || !Array.isArray(entry[1])) return undefined;
    const owner = parseNodeId(entry[0]);
    if (owner === undefined || records.length + entry[1].length > limits.recordsPerFrame) return undefined;
    for (const fields of entry[1] as unknown[]) {
      const record = parseRow(owner, fields);
      if (record === undefined) return undefined;
      records.push(record);
    }
  }
  return { records, hints };
}

/** One record, for the journal. */
export function encodeRecord(record: SignedRecord): Uint8Array {
  return encode([record.owner, ...row(record)]);
}

export function decodeRecord(bytes: Uint8Array): SignedRecord | undefined {
  const value = decode(bytes);
  if (!Array.isArray(value)) return undefined;
  const owner = parseNodeId(value[0]);
  return owner === undefined ? undefined : parseRow(owner, value.slice(1));
}

function row({ kind, key, sequence, body, signature }: SignedRecord): unknown[] {
  return [kind, key, sequence, body, signature];
}

function parseRow(owner: NodeId, fields: unknown): SignedRecord | undefined {
  if (!Array.isArray(fields) || fields.length !== 5) return undefined;
  const [kind, key, sequence, body, signature] = fields as unknown[];
  if (typeof kind !== 'string' || !KIND.test(kind) || !isRecordKey(key)) return undefined;
  if (typeof sequence !== 'number' || !Number.isSafeInteger(sequence) || sequence <= 0) return undefined;
  if (!(body instanceof Uint8Array) || body.length > limits.recordBytes) return undefined;
  if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_BYTES) return undefined;
  return {
    owner,
    kind: kind as RecordKind,
    key,
    sequence,
    body: new Uint8Array(body),
    signature: new Uint8Array(signature),
  };
}

/** Only text that survives UTF-8: otherwise two keys could share one signature. */
export function isRecordKey(key: unknown): key is string {
  if (typeof key !== 'string' || key.length > limits.recordKeyBytes) return false;
  const bytes = utf8(key);
  return bytes.length <= limits.recordKeyBytes && fromUtf8(bytes) === key;
}

function isHints(value: unknown): value is readonly Uint8Array[] {
  return (
    Array.isArray(value) &&
    value.length <= limits.members &&
    value.every((hint) => hint instanceof Uint8Array && hint.length === 8)
  );
}
