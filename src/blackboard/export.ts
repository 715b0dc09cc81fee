/** A board's entries as one Yjs document: what Yjs clients synchronise with. */

import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import type { Board } from './board.ts';
import type { Lane } from './lane.ts';

/** Yjs writes clients from the highest to the lowest. */
function lanesOf(board: Board | undefined): Lane[] {
  return [...(board?.lanes.values() ?? [])]
    .filter((lane) => lane.clock > 0)
    .sort((left, right) => right.incarnation - left.incarnation);
}

export function encodeStateVector(board: Board | undefined): Uint8Array {
  const lanes = lanesOf(board);
  const writer = new ByteWriter(64);
  writer.varuint(lanes.length);
  for (const lane of lanes) {
    writer.varuint(lane.incarnation);
    writer.varuint(lane.clock);
  }
  return writer.take();
}

/** A Yjs update (v1) with what the holder of `stateVector` lacks; everything where there is none or it is malformed. */
export function encodeLanes(board: Board | undefined, stateVector: Uint8Array | undefined): Uint8Array {
  const known = stateVector === undefined ? new Map<number, number>() : readStateVector(stateVector);
  const structs = new ByteWriter(4096);
  const deletes = new ByteWriter(1024);
  let blocks = 0;
  let deleters = 0;
  for (const lane of lanesOf(board)) {
    const from = Math.min(known.get(lane.incarnation) ?? 0, lane.clock);
    if (lane.writeBlock(structs, from)) blocks++;
    const ranges = lane.deletedRanges(0, lane.clock);
    if (ranges.length === 0) continue;
    deleters++;
    deletes.varuint(lane.incarnation);
    deletes.varuint(ranges.length / 2);
    for (const number of ranges) deletes.varuint(number);
  }
  const whole = new ByteWriter(structs.length + deletes.length + 16);
  whole.varuint(blocks);
  whole.raw(structs.view());
  whole.varuint(deleters);
  whole.raw(deletes.view());
  return whole.copy();
}

function readStateVector(bytes: Uint8Array): Map<number, number> {
  const reader = new ByteReader(bytes);
  const clocks = new Map<number, number>();
  const count = reader.varuint();
  if (count * 2 > reader.remaining) return clocks;
  for (let index = 0; index < count && !reader.failed; index++)
    clocks.set(reader.varuint(), reader.varuint());
  return reader.failed ? new Map() : clocks;
}
