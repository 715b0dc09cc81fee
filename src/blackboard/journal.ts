/** The blackboard on disk: sections as they were pushed and merged, replayed in order; doing so twice is harmless. */

import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import { journalRecord } from '../kernel/effects.ts';
import type { BoardName } from '../kernel/ids.ts';
import type { Board } from './board.ts';
import type { DocumentsLattice } from './documents-lattice.ts';
import { type EntryHead, readEntryHead } from './entry.ts';
import type { HybridClock } from './hlc.ts';
import { detachedItem, type Lane } from './lane.ts';
import { readLaneUpdate } from './lane-update.ts';
import {
  type DeletedSection,
  type DocumentSection,
  type LaneSection,
  markerSection,
  readSections,
  type Section,
  writeDeleted,
  writeDocumentSection,
  writeGhost,
  writeHeadSection,
  writeLaneSection,
} from './sections.ts';
import type { BoardStore } from './store.ts';

/** One record of a checkpoint: small enough to be encoded between two frames. */
const RECORD_BYTES = 256 * 1024;
/** Board name under which an incarnation is noted: it concerns every board. */
const ANY_BOARD = 'any' as BoardName;

/** Takes back what the journal held. Damaged records are passed over: the rest heals from peers. */
export function load(
  records: readonly Uint8Array[],
  store: BoardStore,
  documents: DocumentsLattice,
  clock: HybridClock,
): void {
  for (const record of records) {
    for (const section of readSections(record) ?? []) restore(section, store, documents);
  }
  for (const board of store.boards.values()) {
    for (const document of documents.of(board.name)) documents.settle(board.name, document);
    for (const lane of board.lanes.values()) {
      lane.own = store.own.has(lane.incarnation);
      lane.owner = store.ownerOf(lane.incarnation);
      lane.forgetDeletes();
      if (lane.own) for (const item of lane.items()) clock.restore(item.revision);
    }
    board.findTrims();
    board.settle();
  }
}

/** This incarnation belongs to this node: found again by later ones. */
export function ownRecord(incarnation: number): Uint8Array {
  return journalRecord('board', markerSection('own', ANY_BOARD, incarnation));
}

export function* checkpoint(store: BoardStore, documents: DocumentsLattice): Generator<Uint8Array> {
  for (const incarnation of store.own) yield ownRecord(incarnation);
  const writer = new ByteWriter(4096);
  for (const board of [...store.boards.values()]) {
    for (const lane of [...board.lanes.values()]) yield* checkpointLane(board, lane, writer);
    for (const item of [...board.view.ghosts()]) {
      writeGhost(writer, board.name, item.lane.incarnation, item.clock, item.bytes());
      yield journalRecord('board', writer.take());
    }
    for (const document of documents.of(board.name)) {
      if (document.isDeleted) writeDeleted(writer, board.name, document.name, document.stateVector);
      else writeDocumentSection(writer, board.name, document.name, document.encode());
      yield journalRecord('document', writer.take());
    }
  }
}

function* checkpointLane(board: Board, lane: Lane, writer: ByteWriter): Generator<Uint8Array> {
  if (lane.head !== undefined) {
    writeHeadSection(writer, lane.head);
    yield journalRecord('board', writer.take());
  }
  let fromClock = 0;
  // The lane may go on growing, or be dropped, between two records; then the log that follows says so.
  const end = lane.clock;
  while (fromClock < end && board.lanes.get(lane.incarnation) === lane) {
    const { bytes, toClock } = lane.encode(fromClock, RECORD_BYTES, []);
    const deps = fromClock === 0 ? lane.deps : NO_DEPS;
    writeLaneSection(writer, { kind: 'lane', board: board.name, deps, hold: false, update: bytes });
    yield journalRecord('board', writer.take());
    fromClock = toClock;
  }
}

const NO_DEPS: ReadonlyMap<number, number> = new Map();

function restore(section: Section, store: BoardStore, documents: DocumentsLattice): void {
  if (section.kind === 'own') {
    store.own.add(section.incarnation);
    return;
  }
  // Only between nodes.
  if (section.kind === 'short') return;
  const board = store.board(section.board);
  if (board === undefined) return;
  switch (section.kind) {
    case 'lane':
    case 'relay':
      restoreLane(board, section, store);
      break;
    case 'document':
    case 'copy':
    case 'deleted':
      restoreDocument(board.name, section, documents);
      break;
    case 'head': {
      const lane = board.lanes.get(section.head.incarnation) ?? store.lane(board, section.head.incarnation);
      lane.head = section.head;
      break;
    }
    case 'reset': {
      const lane = board.lanes.get(section.incarnation);
      if (lane !== undefined) board.drop(lane);
      break;
    }
    case 'ghost': {
      const lane = board.lanes.get(section.incarnation);
      const head = readEntryHead(new ByteReader(section.bytes));
      if (lane !== undefined && head !== undefined) {
        board.view.haunt(detachedItem(lane, section.clock, head, section.bytes.slice()));
      }
      break;
    }
    default:
      break;
  }
}

function restoreDocument(
  board: BoardName,
  section: DocumentSection | DeletedSection,
  documents: DocumentsLattice,
): void {
  const document = documents.restored(board, section.document);
  if (document === undefined) return;
  if (section.kind === 'deleted') document.deleteUpTo(section.clocks);
  else if (section.kind === 'copy') document.replace(section.update);
  else document.restore(section.update);
}

function restoreLane(board: Board, section: LaneSection, store: BoardStore): void {
  const reader = new ByteReader(section.update);
  const update = readLaneUpdate(reader);
  if (update === undefined || update.client === 0) return;
  const lane = store.lane(board, update.client);
  // Records of one lane are in order; a gap means that one before was lost with its file.
  if (update.structs.length > 0 && update.fromClock > lane.clock) return;
  const heads: EntryHead[] = [];
  for (let at = 0; at < update.structs.length; at += 3) {
    const offset = update.structs[at + 1] as number;
    if (offset < 0 || (update.structs[at] as number) < lane.clock) continue;
    const head = readEntryHead(
      new ByteReader(section.update, offset, offset + (update.structs[at + 2] as number)),
    );
    if (head === undefined) return;
    heads.push(head);
  }
  board.addDeps(lane, section.deps);
  board.apply(lane, update, section.update, heads);
}
