/**
 * What a Yjs client wrote into the entries document of a board, taken apart.
 *
 * Intuition: a client writes as nodes do, by appending items to a lane of its own (`lane:CLIENT`, in the same codec). That lane
 * is never kept: the node copies each item into its own running lane, under the identity that the client gave it
 * (its stamp and the client), just as it folds its own earlier lanes. So an item that is brought twice, to one node or
 * to two, is one write; and the client sees its item leave its lane once the copy is on the node's disk.
 *
 * Everything else in an update is somebody else's: a client that comes back repeats deletes and lanes that the node
 * knows, or has folded away, which is passed over; what would change anything is told as `foreign` and not done.
 */

import { ByteReader, decodeUtf8 } from '../kernel/bytes.ts';
import type { Json } from '../kernel/json.ts';
import type { ClientUpdate, ClientWrite } from './api.ts';
import type { Board } from './board.ts';
import { skipStruct } from './document-gate.ts';
import { KIND, readEntryBody, readEntryHead } from './entry.ts';
import { isJson } from './gate.ts';
import { wallMsOf } from './hlc.ts';
import { MOST_STRUCTS, readStruct } from './lane-update.ts';

/** Client ids of Yjs are below this; incarnations of nodes hardly ever are. */
const CLIENTS = 2 ** 32;
const CONTENT_MASK = 31;
const CONTENT_DELETED = 1;

/** Whether an incarnation is a node's, and if so whether its lane was folded away. */
type NodeLane = (incarnation: number) => 'kept' | 'folded' | undefined;

interface Reading {
  readonly reader: ByteReader;
  readonly board: Board | undefined;
  readonly nodeLane: NodeLane;
  readonly writes: ClientWrite[];
  lane: number | undefined;
  foreign: boolean;
  structs: number;
}

/**
 * `lane` is the client whose lane the connection has; without one, the first lane that the update appends to is it;
 * the lanes of nodes no client has. `undefined` where the update is malformed.
 */
export function readClientUpdate(
  update: Uint8Array,
  lane: number | undefined,
  board: Board | undefined,
  nodeLane: NodeLane,
): ClientUpdate | undefined {
  const reader = new ByteReader(update);
  const reading: Reading = { reader, board, nodeLane, writes: [], lane, foreign: false, structs: 0 };
  const clients = reader.varuint();
  for (let index = 0; index < clients; index++) if (!readBlock(reading)) return undefined;
  if (!readDeletes(reading) || !reader.done) return undefined;
  return { lane: reading.lane, writes: reading.writes, foreign: reading.foreign };
}

function readBlock(reading: Reading): boolean {
  const { reader } = reading;
  const count = reader.varuint();
  const client = reader.varuint();
  let clock = reader.varuint();
  if (reader.failed || count === 0 || count * 2 > reader.remaining) return false;
  reading.structs += count;
  if (reading.structs > MOST_STRUCTS) return false;
  const known = reading.board?.clockOf(client) ?? 0;
  const node = reading.nodeLane(client);
  const mayBeOwn = client > 0 && client < CLIENTS && known === 0 && node === undefined;
  for (let at = 0; at < count; at++) {
    const from = reader.at;
    const content = (reader.bytes[from] ?? 0) & CONTENT_MASK;
    const isOwn = mayBeOwn && (reading.lane === undefined || reading.lane === client);
    let next = isOwn ? readOwn(reading, client, clock) : undefined;
    if (next === undefined) {
      reader.at = from;
      reader.failed = false;
      next = clock + skipStruct(reader);
      // What is deleted brings nothing, whoever deleted it.
      if (content > CONTENT_DELETED && next > known && node !== 'folded') reading.foreign = true;
    }
    if (reader.failed || next <= clock || !Number.isSafeInteger(next)) return false;
    clock = next;
  }
  return true;
}

/** The clock behind an item of the client's lane, which is noted; `undefined` where it is none. */
function readOwn(reading: Reading, client: number, clock: number): number | undefined {
  const spans: number[] = [];
  const next = readStruct(reading.reader, client, clock, spans);
  const [, offset = -1, length = 0] = spans;
  if (next === undefined || offset < 0) return next;
  reading.lane = client;
  reading.writes.push(writeOf(clock, reading.reader.bytes, offset, offset + length));
  return next;
}

function writeOf(clock: number, bytes: Uint8Array, from: number, to: number): ClientWrite {
  const reader = new ByteReader(bytes, from, to);
  const head = readEntryHead(reader);
  if (head === undefined || head.origin !== 0) return { clock };
  const { key, revision, expiresMs } = head;
  if (head.kind === KIND.delete) return { clock, entry: { kind: 'delete', key, revision } };
  if (head.kind !== KIND.set || !isJson(bytes, reader.at, to)) return { clock };
  const { value } = readEntryBody(new ByteReader(bytes, from, to));
  const ttl = expiresMs === 0 ? {} : { ttlSeconds: Math.round((expiresMs - wallMsOf(revision)) / 1_000) };
  const json = JSON.parse(decodeUtf8(value) ?? 'null') as Json;
  return { clock, entry: { kind: 'set', key, revision, value: json, ...ttl } };
}

/** Deletes in the client's own lane take nothing back; of others' items only those that live here would change anything. */
function readDeletes(reading: Reading): boolean {
  const { reader } = reading;
  const clients = reader.varuint();
  for (let index = 0; index < clients; index++) {
    const client = reader.varuint();
    const count = reader.varuint();
    if (reader.failed || count * 2 > reader.remaining) return false;
    const lane = reading.board?.lanes.get(client);
    for (let at = 0; at < count; at++) {
      const clock = reader.varuint();
      const end = clock + reader.varuint();
      if (reader.failed || end <= clock) return false;
      if (lane !== undefined && !reading.foreign && lane.items(clock, end).next().done !== true) {
        reading.foreign = true;
      }
    }
  }
  return !reader.failed;
}
