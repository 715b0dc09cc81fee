/**
 * Looks at a Yjs update (v1) of a free document before Yjs does: one pass over the bytes, nothing allocated for what
 * is merely announced. Any client may write any shared type here, but what would stay pending (because something that
 * it refers to has not come) is told apart first, and what Yjs would choke on is refused.
 *
 * Source: `yjs/src/utils/encoding.js`, `structs/*.js`, `lib0/encoding.js` of Yjs 13.6.
 */
import { ByteReader, ByteWriter } from '../kernel/bytes.ts';

/** Structs and delete ranges in one update. */
export const MOST_STRUCTS = 65_536;
/** The same for the whole of a large document. */
export const MOST_STRUCTS_IN_ALL = 1_048_576;
/** No honest document has had more characters than this. */
const MOST_CLOCK = 2 ** 32;
const MOST_DEPTH = 32;
/** Kinds of content up to this one are what is left of something deleted. */
const DELETED = 1;
/** Top-level types that a document, and one update, may name: Yjs searches all of a document's for each. */
export const MOST_ROOTS = 1_024;
const POISONED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Where the parts of an update are. */
export interface DocumentLayout {
  /** Clients that it brings structs of. */
  readonly clients: number;
  readonly structsAt: number;
  readonly deletesAt: number;
  /** Structs of this node's own are among them. */
  readonly hasOwn: boolean;
  /** It brings content, and not only deletes. */
  readonly grows: boolean;
  /** Clocks behind what it brings, by client. */
  readonly ends: ReadonlyMap<number, number>;
  /** It brings everything of every client that it names. */
  readonly fromStart: boolean;
  /** Top-level types that it names. */
  readonly roots: ReadonlySet<string>;
}

export type DocumentVerdict =
  | { readonly kind: 'fits'; readonly layout: DocumentLayout }
  /** It refers to something that is not here. */
  | { readonly kind: 'gap' }
  | { readonly kind: 'refused'; readonly reason: string };

const REFUSED: DocumentVerdict = { kind: 'refused', reason: 'malformed document update' };

interface Scan {
  readonly reader: ByteReader;
  /** Clock behind what the update brings, by client. */
  readonly ends: Map<number, number>;
  readonly starts: Map<number, number>;
  /** Client and clock of everything referred to. */
  readonly references: number[];
  structs: number;
  readonly mostStructs: number;
  readonly clockOf: (client: number) => number;
  grows: boolean;
  /** Names of top-level types. */
  readonly roots: Set<string>;
}

/** `clockOf` is the document's state vector; `self` writes here alone under its own client id. */
export function checkDocumentUpdate(
  update: Uint8Array,
  clockOf: (client: number) => number,
  self: number,
  mostStructs = MOST_STRUCTS,
): DocumentVerdict {
  const scan: Scan = {
    reader: new ByteReader(update),
    ends: new Map(),
    starts: new Map(),
    references: [],
    structs: 0,
    mostStructs,
    clockOf,
    grows: false,
    roots: new Set(),
  };
  const clients = scan.reader.varuint();
  const structsAt = scan.reader.at;
  if (!scanStructs(scan, clients)) return REFUSED;
  const deletesAt = scan.reader.at;
  if (!scanDeletes(scan) || !scan.reader.done) return REFUSED;
  for (const [client, start] of scan.starts) {
    if (start > clockOf(client)) return { kind: 'gap' };
    if (client === self && (scan.ends.get(client) as number) > clockOf(client)) {
      return { kind: 'refused', reason: 'written under the client id of this node' };
    }
  }
  const { references } = scan;
  for (let at = 0; at < references.length; at += 2) {
    const client = references[at] as number;
    const known = Math.max(clockOf(client), scan.ends.get(client) ?? 0);
    if ((references[at + 1] as number) >= known) return { kind: 'gap' };
  }
  const { ends, starts, grows } = scan;
  const fromStart = [...starts.values()].every((start) => start === 0);
  return {
    kind: 'fits',
    layout: {
      clients,
      structsAt,
      deletesAt,
      hasOwn: starts.has(self),
      grows,
      ends,
      fromStart,
      roots: scan.roots,
    },
  };
}

/**
 * An update with one collected clock of `self` added, so that nobody has that clock without what the update deletes.
 * Where it holds structs of `self` itself, the tick is an update of its own that deletes the same.
 */
export function withTick(
  update: Uint8Array,
  layout: DocumentLayout,
  self: number,
  clock: number,
): readonly Uint8Array[] {
  const { clients, structsAt, deletesAt, hasOwn } = layout;
  const writer = new ByteWriter(update.length + 32);
  writer.varuint(hasOwn ? 1 : clients + 1);
  for (const number of [1, self, clock, 0, 1]) writer.varuint(number);
  writer.raw(update.subarray(hasOwn ? deletesAt : structsAt));
  return hasOwn ? [update, writer.take()] : [writer.take()];
}

function scanStructs(scan: Scan, clients: number): boolean {
  const { reader } = scan;
  for (let index = 0; index < clients; index++) {
    const count = reader.varuint();
    const client = reader.varuint();
    let clock = reader.varuint();
    if (reader.failed || count === 0 || count * 2 > reader.remaining) return false;
    scan.structs += count;
    if (scan.structs > scan.mostStructs || scan.starts.has(client)) return false;
    scan.starts.set(client, clock);
    const known = scan.clockOf(client);
    for (let at = 0; at < count; at++) {
      const content = (reader.bytes[reader.at] ?? 0) & 31;
      const length = scanStruct(scan);
      clock += length;
      if (content > DELETED && clock > known) scan.grows = true;
      if (reader.failed || length <= 0 || clock > MOST_CLOCK) return false;
    }
    scan.ends.set(client, clock);
  }
  return !reader.failed;
}

/** Passes over one struct; the clocks that it takes, 0 where it is malformed. */
export function skipStruct(reader: ByteReader): number {
  return scanStruct({ reader, references: [], roots: new Set() });
}

/** Clocks that the struct takes; 0 where it is malformed. */
function scanStruct(scan: Pick<Scan, 'reader' | 'references' | 'roots'>): number {
  const { reader, references, roots } = scan;
  const info = reader.byte();
  const content = info & 31;
  if (content === 0) return reader.varuint();
  if (info & 0x80) references.push(reader.varuint(), reader.varuint());
  if (info & 0x40) references.push(reader.varuint(), reader.varuint());
  if ((info & 0xc0) === 0) {
    const isRoot = reader.varuint();
    if (isRoot === 1) {
      roots.add(reader.text(reader.remaining));
      if (roots.size > MOST_ROOTS) return 0;
    } else if (isRoot === 0) references.push(reader.varuint(), reader.varuint());
    else return 0;
    if (info & 0x20) {
      const key = reader.text(1024);
      if (POISONED.has(key)) return 0;
    }
  }
  return scanContent(reader, content);
}

function scanContent(reader: ByteReader, content: number): number {
  switch (content) {
    case 1:
      return reader.varuint();
    case 2: {
      const count = reader.varuint();
      if (count > reader.remaining) return 0;
      for (let at = 0; at < count; at++) if (!skipJson(reader, true)) return 0;
      return count;
    }
    case 3:
      reader.skip(reader.varuint());
      return 1;
    case 4:
      return reader.text(reader.remaining).length;
    case 5:
      return skipJson(reader, false) ? 1 : 0;
    case 6:
      skipText(reader);
      return skipJson(reader, true) ? 1 : 0;
    case 7: {
      const type = reader.varuint();
      if (type > 6) return 0;
      if (type === 3 || type === 5) skipText(reader);
      return 1;
    }
    case 8: {
      const count = reader.varuint();
      if (count > reader.remaining) return 0;
      for (let at = 0; at < count; at++) if (!skipAny(reader, 0)) return 0;
      return count;
    }
    default:
      // Skips and subdocuments: the first only stand for what is missing, the second nobody here serves.
      return 0;
  }
}

function scanDeletes(scan: Scan): boolean {
  const { reader, references } = scan;
  const clients = reader.varuint();
  for (let index = 0; index < clients; index++) {
    const client = reader.varuint();
    const count = reader.varuint();
    if (reader.failed || count * 2 > reader.remaining) return false;
    scan.structs += count;
    if (scan.structs > scan.mostStructs) return false;
    for (let at = 0; at < count; at++) {
      const clock = reader.varuint();
      const length = reader.varuint();
      if (length === 0 || clock + length > MOST_CLOCK) return false;
      references.push(client, clock + length - 1);
    }
  }
  return !reader.failed;
}

function skipText(reader: ByteReader): void {
  reader.skip(reader.varuint());
}

function skipJson(reader: ByteReader, mayBeUndefined: boolean): boolean {
  const text = reader.text(reader.remaining);
  if (reader.failed) return false;
  if (mayBeUndefined && text === 'undefined') return true;
  try {
    return isPlain(JSON.parse(text), 0);
  } catch {
    return false;
  }
}

function isPlain(value: unknown, depth: number): boolean {
  if (depth > MOST_DEPTH) return false;
  if (value === null || typeof value !== 'object') return true;
  return Object.entries(value).every(([key, child]) => !POISONED.has(key) && isPlain(child, depth + 1));
}

/** Values of lib0's `writeAny`. */
function skipAny(reader: ByteReader, depth: number): boolean {
  if (depth > MOST_DEPTH) return false;
  switch (reader.byte()) {
    case 127:
    case 126:
    case 121:
    case 120:
      return !reader.failed;
    case 125:
      // Signed: six bits in the first byte; for skipping only the continuation bits matter.
      while (!reader.failed && reader.byte() >= 0x80);
      return !reader.failed;
    case 124:
      reader.skip(4);
      return !reader.failed;
    case 123:
    case 122:
      reader.skip(8);
      return !reader.failed;
    case 119:
    case 116:
      skipText(reader);
      return !reader.failed;
    case 118: {
      const count = reader.varuint();
      if (count * 2 > reader.remaining) return false;
      for (let at = 0; at < count; at++) {
        if (POISONED.has(reader.text(1024)) || !skipAny(reader, depth + 1)) return false;
      }
      return !reader.failed;
    }
    case 117: {
      const count = reader.varuint();
      if (count > reader.remaining) return false;
      for (let at = 0; at < count; at++) if (!skipAny(reader, depth + 1)) return false;
      return !reader.failed;
    }
    default:
      return false;
  }
}
