/**
 * Taking in what peers bring, section by section: whose it is, whether they may bring it, whether it passes the gate,
 * and whether it must wait. What is taken in goes to the journal and to those who follow the Yjs documents.
 */

import { ByteReader } from '../kernel/bytes.ts';
import { equalBytes } from '../kernel/codec.ts';
import { journalRecord, type Mark } from '../kernel/effects.ts';
import type { BoardName, NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Cryptography } from '../kernel/ports.ts';
import type { Instant } from '../kernel/time.ts';
import { SIGNATURE_COST } from '../replication/budget.ts';
import type { Merged } from '../replication/lattice.ts';
import type { Board } from './board.ts';
import { deletionUpTo } from './documents.ts';
import type { DocumentsLattice, MergeOutcome } from './documents-lattice.ts';
import { checkLaneUpdate } from './gate.ts';
import { isBehindHead } from './head.ts';
import { Held } from './held.ts';
import { Lane } from './lane.ts';
import { type LaneUpdate, MOST_STRUCTS, readLaneUpdate } from './lane-update.ts';
import { Relay } from './relay.ts';
import {
  type CompareSection,
  type DeletedSection,
  type DocumentSection,
  type DocumentsSection,
  documentSection,
  isOfDocument,
  type LaneSection,
  markerSection,
  type PartSection,
  readSections,
  type Section,
  type ShortSection,
} from './sections.ts';
import type { Shorts } from './short.ts';
import type { BoardStore } from './store.ts';

interface YjsChange {
  readonly board: BoardName;
  readonly document: string | undefined;
  readonly update: Uint8Array;
}

type Outcome = { readonly kind: 'merged'; readonly changed: boolean } | { readonly kind: 'behind' } | Refused;
type Raw<Each> = Each & { readonly raw: Uint8Array };
type Refused = { readonly kind: 'refused'; readonly reason: string };

/** Heads of others in one delta whose signature is checked: about 0.1 ms each. */
const MOST_CHECKS = 512;
/** Work, in structs of a lane: a section apart from its contents, and as many bytes of a document as one may stand for. */
const SECTION_COST = 2;
const BYTES_PER_DOCUMENT_STRUCT = 16;
/** Of smaller deltas a copy for the journal costs less than what it would keep. */
const KEPT_BYTES = 16 * 1024;

const KNOWN: Outcome = { kind: 'merged', changed: false };
const NEW: Outcome = { kind: 'merged', changed: true };
const BEHIND: Outcome = { kind: 'behind' };
const JOURNAL_ONLY: Refused = { kind: 'refused', reason: 'a section that only journals have' };

export class Intake {
  readonly held = new Held();
  readonly #store: BoardStore;
  readonly #documents: DocumentsLattice;
  readonly #relay: Relay;
  readonly #shorts: Shorts;
  readonly #isUp: (node: NodeId) => boolean;
  #records: Uint8Array[] = [];
  #updates: YjsChange[] = [];
  #marks: Mark[] = [];
  /** Boards on which a document of others found no room. */
  readonly #crowded = new Set<BoardName>();

  constructor(options: {
    readonly store: BoardStore;
    readonly cryptography: Cryptography;
    readonly documents: DocumentsLattice;
    readonly shorts: Shorts;
    readonly isUp: (node: NodeId) => boolean;
  }) {
    this.#store = options.store;
    this.#documents = options.documents;
    this.#shorts = options.shorts;
    this.#isUp = options.isUp;
    this.#relay = new Relay(options.cryptography);
  }

  /** Records for the journal since the last call. */
  takeRecords(): readonly Uint8Array[] {
    return this.#records.splice(0);
  }

  takeUpdates(): readonly YjsChange[] {
    return this.#updates.splice(0);
  }

  takeMarks(): readonly Mark[] {
    return this.#marks.splice(0);
  }

  /** So many bytes before `delta` in its buffer as `room` says may be written over. */
  take(delta: Uint8Array, from: NodeId, now: Instant, room = 0): Merged {
    const sections = readSections(delta);
    this.#freeBefore = room > 0 && delta.length >= KEPT_BYTES ? delta : undefined;
    if (sections === undefined) return { kind: 'refused', reason: 'malformed delta' };
    let changed = false;
    let behind = false;
    let structs = 0;
    let cost = 0;
    this.#relay.begin();
    for (const section of sections) {
      if (this.#relay.checks > MOST_CHECKS) return { kind: 'refused', reason: 'too many heads of others' };
      const outcome = this.#section(section, from, now, structs);
      if (outcome.kind === 'refused') return outcome;
      if (outcome.kind === 'behind') behind = true;
      else if (outcome.changed) changed = true;
      structs += this.#lastStructs;
      this.#lastStructs = 0;
      cost += SECTION_COST;
      if (section.kind === 'document') cost += section.update.length / BYTES_PER_DOCUMENT_STRUCT;
    }
    cost += structs + this.#relay.checks * SIGNATURE_COST;
    return behind ? { kind: 'behind', cost } : { kind: 'merged', changed, cost };
  }

  #lastStructs = 0;
  /** The byte before it in its buffer is free. */
  #freeBefore: Uint8Array | undefined;

  /** The node's lanes became known: what waited for that is tried again. */
  retry(now: Instant): void {
    for (const { section, raw, from } of this.held.takeAll()) this.#lane({ ...section, raw }, from, now, 0);
  }

  #section(section: Section, from: NodeId, now: Instant, structs: number): Outcome {
    switch (section.kind) {
      case 'lane':
      case 'relay':
        return this.#lane(section, from, now, structs);
      case 'short':
        return this.#short(section, from, now, structs);
      case 'head':
        return this.#head(section, from);
      case 'proof':
        this.#relay.proof(section);
        return KNOWN;
      case 'compare':
        return this.#compare(section, from);
      case 'documents':
        return this.#documentsDiffer(section);
      case 'document':
      case 'deleted':
      case 'part':
        return this.#document(section, from);
      default:
        return JOURNAL_ONLY;
    }
  }

  #documentsDiffer(section: DocumentsSection): Outcome {
    const board = this.#store.find(section.board);
    if (board !== undefined) this.#documents.compare(board, section);
    return KNOWN;
  }

  /** Documents have no author: a board that comes with one is on its sender's account. */
  #document(section: Raw<DocumentSection | PartSection | DeletedSection>, from: NodeId): Outcome {
    if (section.kind === 'copy') return JOURNAL_ONLY;
    const board = this.#store.draft(section.board);
    const verdict = this.#documents.inspect(section);
    if (verdict.kind !== 'fits') return verdict;
    if (!this.#keep(board, from)) return KNOWN;
    const outcome = this.#mergeDocument(board, section);
    if (outcome.kind !== 'merged') return outcome;
    const { document } = section;
    if (outcome.full !== undefined) this.#noRoom(board, document, outcome.full, from);
    const update = outcome.update ?? updateIn(section);
    if (!outcome.changed || update === undefined) return outcome;
    if (outcome.replaced !== undefined) {
      const whole = outcome.replaced.encode();
      this.#mark('error', 'board.documentReplaced', { board: board.name, document, from });
      this.#journal(documentSection('copy', board.name, document, whole));
    } else if (outcome.update !== undefined) {
      this.#journal(documentSection('document', board.name, document, update));
    } else {
      this.#journal(section.raw);
    }
    this.#updates.push({ board: board.name, document, update });
    return outcome;
  }

  #mergeDocument(board: Board, section: DocumentSection | PartSection | DeletedSection): MergeOutcome {
    if (section.kind === 'part') return this.#documents.part(board, section);
    if (section.kind === 'deleted') return this.#documents.mergeDeleted(board, section);
    return this.#documents.merge(board, section.document, section.update);
  }

  /** Said once for each board. */
  #noRoom(board: Board, document: string, of: string, from: NodeId): void {
    if (this.#crowded.has(board.name)) return;
    this.#crowded.add(board.name);
    this.#mark('warn', 'board.documentNoRoom', { board: board.name, document, of, from });
  }

  #lane(section: Raw<LaneSection>, from: NodeId, now: Instant, structs: number): Outcome {
    const reader = new ByteReader(section.update);
    const update = readLaneUpdate(reader);
    if (update === undefined || !reader.done) return { kind: 'refused', reason: 'malformed update' };
    return this.#laneUpdate(section, update, from, now, structs);
  }

  #laneUpdate(
    section: Raw<LaneSection>,
    update: LaneUpdate,
    from: NodeId,
    now: Instant,
    structs: number,
  ): Outcome {
    const { client } = update;
    this.#lastStructs = update.structs.length / 3 + update.deletes.length / 2;
    if (structs + this.#lastStructs > 2 * MOST_STRUCTS)
      return { kind: 'refused', reason: 'too many structs' };
    if (client === 0) return KNOWN;
    const board = this.#store.draft(section.board);
    if (client === this.#store.incarnation) return this.#ownLane(board, update);
    const owner = this.#store.ownerOf(client);
    if (owner === undefined) {
      this.#hold(section, from, update, now);
      return KNOWN;
    }
    if (this.#isFolded(board, update, owner)) return KNOWN;
    if (section.kind === 'lane' && owner !== from) return { kind: 'refused', reason: "another's lane" };
    return this.#fit(board, section, update, owner, from, now);
  }

  /** As if the long form had come. Before its author's lanes are known nothing is asked for: that news brings a pull. */
  #short(section: ShortSection, from: NodeId, now: Instant, structs: number): Outcome {
    const long = this.#shorts.expand(section, from);
    if (long === 'malformed') return { kind: 'refused', reason: 'malformed delta' };
    if (long === 'unknown') return KNOWN;
    if (long === 'behind') return BEHIND;
    this.#freeBefore = long.section.raw;
    return this.#laneUpdate(long.section, long.update, from, now, structs);
  }

  /** True where nothing of the lane is wanted any more. */
  #isFolded(board: Board, update: LaneUpdate, owner: NodeId): boolean {
    const { client, toClock } = update;
    if (!this.#store.retired.has(client)) return false;
    const head = Math.max(this.#relay.clockOf(client), board.lanes.get(client)?.head?.clock ?? 0);
    if (this.#store.isFolded(board, client, Math.max(toClock, head))) return true;
    if (owner === this.#store.self) this.#store.revive(client, owner);
    return false;
  }

  /** Nobody but this node writes here: what others hold of it came from here. */
  #ownLane(board: Board, update: LaneUpdate): Outcome {
    const lane = board.lanes.get(update.client);
    return update.toClock > (lane?.clock ?? 0)
      ? { kind: 'refused', reason: 'a forged continuation of the lane of this node' }
      : KNOWN;
  }

  #fit(
    board: Board,
    section: Raw<LaneSection>,
    update: LaneUpdate,
    owner: NodeId,
    from: NodeId,
    now: Instant,
  ): Outcome {
    const { client } = update;
    const known = board.lanes.get(client);
    const verdict = checkLaneUpdate(update, section.update, known?.clock ?? 0, now.wallMs);
    if (verdict.kind === 'refused') return verdict;
    if (verdict.kind === 'early') {
      this.#mark('warn', 'board.clocksDisagree', { board: board.name, from, owner });
      return KNOWN;
    }
    if (verdict.kind === 'gap') {
      this.#hold(section, from, update, now);
      return BEHIND;
    }
    const room = this.#hasRoom(board, section.update.length, known);
    if (room !== undefined) return { kind: 'refused', reason: room };
    if (section.hold && !this.#hasCauses(board, section)) {
      this.#hold(section, from, update, now);
      return BEHIND;
    }
    if (known?.refetch === true && this.#replaces(known, section, update, now)) {
      const { head } = known;
      this.reset(board, known);
      this.#store.lane(board, client).head = head;
      return this.#fit(board, section, update, owner, from, now);
    }
    const lane = this.#store.lane(board, client);
    lane.owner = owner;
    if (section.kind === 'relay' && from !== owner) {
      const allowed = this.#relay.allows(lane, update, section.update, verdict.heads, {
        authorAway: owner === this.#store.self || !this.#isUp(owner),
      });
      if (allowed === 'forged' && lane.own && lane.clock > 0) {
        // This node may itself have trimmed what its signature still counts as living: see the whole first.
        lane.refetch = true;
        return KNOWN;
      }
      if (allowed === 'forged')
        return { kind: 'refused', reason: 'a relayed lane that its author did not sign' };
      if (allowed === 'no') return KNOWN;
    }
    if (!board.mayRely(lane, section.deps)) return { kind: 'refused', reason: 'it relies on too many lanes' };
    if (!this.#keep(board, owner)) return KNOWN;
    board.addDeps(lane, section.deps);
    const changed = board.apply(lane, update, section.update, verdict.heads);
    this.#shorts.seen(lane, update, section.update);
    this.#relay.learn(lane);
    if (!changed) return KNOWN;
    this.#journal(section.raw);
    this.#updates.push({ board: board.name, document: undefined, update: section.update });
    this.#retryHeld(board, lane, now);
    return NEW;
  }

  /** False where there are too many boards: nobody is to blame, as who brings one cannot know what is held here. */
  #keep(board: Board, owner: NodeId): boolean {
    const known = this.#store.unkept.size;
    if (this.#store.keep(board, owner) !== 'full') return true;
    if (this.#store.unkept.size > known) this.#mark('warn', 'board.noRoom', { board: board.name, owner });
    return false;
  }

  /** True where the update, from the lane's start, is what this node signed before its disk lost a part. */
  #replaces(lane: Lane, section: LaneSection, update: LaneUpdate, now: Instant): boolean {
    if (section.kind !== 'relay' || update.fromClock > 0 || !isBehindHead(lane)) return false;
    const verdict = checkLaneUpdate(update, section.update, 0, now.wallMs);
    if (verdict.kind !== 'fits') return false;
    const empty = new Lane(lane.incarnation, true);
    const context = { authorAway: false };
    return this.#relay.allows(empty, update, section.update, verdict.heads, context) === 'yes';
  }

  #hasRoom(board: Board, bytes: number, lane: Lane | undefined): string | undefined {
    if (lane === undefined && board.lanes.size >= limits.boardLanes) return 'too many lanes';
    const slack = limits.quotaSlack;
    const held = board.bytes + board.view.ghostBytes;
    if (held + bytes > board.quotaBytes * slack || board.view.keys > board.quotaKeys * slack) {
      return 'far beyond the quota of the board';
    }
    return undefined;
  }

  #hasCauses(board: Board, section: LaneSection): boolean {
    for (const [incarnation, clock] of section.deps) {
      if (!board.reached(incarnation, clock)) return false;
    }
    return true;
  }

  #hold(section: Raw<LaneSection>, from: NodeId, update: LaneUpdate, now: Instant): void {
    // A copy: the frame that it stands in may be much larger.
    const raw = section.raw.slice();
    const offset = section.update.byteOffset - section.raw.byteOffset;
    this.held.add({
      from,
      raw,
      section: { ...section, update: raw.subarray(offset, offset + section.update.length) },
      incarnation: update.client,
      fromClock: update.fromClock,
      untilMs: now.monoMs + limits.heldMs,
    });
  }

  #retryHeld(board: Board, lane: Lane, now: Instant): void {
    if (this.held.size === 0) return;
    for (const { section, raw, from } of this.held.take(board.name, lane.incarnation)) {
      this.#lane({ ...section, raw }, from, now, 0);
    }
    // Lanes held back for this one's sake are few; trying them all is simpler than an index.
    for (const other of this.held.waitingFor(board.name, lane.incarnation)) {
      for (const { section, raw, from } of this.held.take(board.name, other)) {
        this.#lane({ ...section, raw }, from, now, 0);
      }
    }
  }

  #head(section: Section & { kind: 'head' }, from: NodeId): Outcome {
    const { head } = section;
    const board = this.#store.find(section.board);
    const lane = board?.lanes.get(head.incarnation);
    const owner = this.#store.ownerOf(head.incarnation);
    if (owner === undefined || head.incarnation === this.#store.incarnation) return KNOWN;
    const outcome = this.#relay.head(lane, head, owner, owner === from);
    if (outcome === 'forged') return { kind: 'refused', reason: 'a head that its author did not sign' };
    if (outcome === 'equivocation') {
      this.#mark('error', 'board.equivocation', {
        board: section.board,
        author: owner,
        incarnation: head.incarnation,
      });
    }
    if (outcome === 'newer') this.#journal(section.raw);
    return KNOWN;
  }

  /** The author says how its lane stands at a clock; a copy that differs there although all was sent is discarded. */
  #compare(section: CompareSection, from: NodeId): Outcome {
    const board = this.#store.find(section.board);
    const lane = board?.lanes.get(section.incarnation);
    if (board === undefined || lane === undefined || lane.running) return KNOWN;
    const isAuthor = lane.owner === from;
    const beyond = lane.clock > section.clock && isAuthor && section.answered !== undefined;
    if (lane.clock !== section.clock && !beyond) {
      lane.compare = false;
      return KNOWN;
    }
    const mine = lane.root(this.#relay.hash);
    if (equalBytes(mine, section.root)) {
      lane.compare = false;
      return KNOWN;
    }
    if (section.answered === undefined) {
      lane.compare = true;
      return KNOWN;
    }
    lane.compare = false;
    // An answer to an older question says nothing about what this copy has become since.
    if (!equalBytes(section.answered, mine)) return KNOWN;
    if (!isAuthor && !this.#relay.hasProven(lane, section)) return KNOWN;
    this.#mark('error', 'board.laneReset', {
      board: board.name,
      author: lane.owner,
      incarnation: lane.incarnation,
      clock: lane.clock,
      from,
    });
    this.#store.resets++;
    this.reset(board, lane);
    return NEW;
  }

  /** Discards a copy of a lane, to be fetched anew. */
  reset(board: Board, lane: Lane): void {
    board.drop(lane);
    this.#journal(markerSection('reset', board.name, lane.incarnation));
  }

  #journal(section: Uint8Array): void {
    const isFirst =
      section.buffer === this.#freeBefore?.buffer && section.byteOffset === this.#freeBefore.byteOffset;
    this.#records.push(journalRecord(isOfDocument(section) ? 'document' : 'board', section, isFirst ? 1 : 0));
  }

  #mark(level: Mark['level'], name: string, fields: Mark['fields']): void {
    this.#marks.push({ kind: 'mark', level, name, fields });
  }
}

function updateIn(section: DocumentSection | PartSection | DeletedSection): Uint8Array | undefined {
  if (section.kind === 'deleted') return deletionUpTo(section.clocks);
  return section.kind === 'part' ? undefined : section.update;
}
