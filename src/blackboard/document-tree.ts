/**
 * Hash and size of a Yjs document, kept up to date at the cost of what changed.
 *
 * Intuition: whatever a client made stands at clocks of its own. So its clocks are cut into leaves of 1,024; a change
 * makes the leaves dirty that it touches, and only these are read again. Leaves are hashed into groups, these into
 * clients, these into the root.
 *
 * Both are functions of content alone: equal on nodes that hold the same, however Yjs cuts it into structs. A unit
 * counts with its place (what it was inserted between, or its parent and key) and its content. What was deleted is
 * what is missing.
 *
 * Limits: each change costs a look at every client of the document, and at all content in the leaves that it touches.
 */
import * as encoding from 'lib0/encoding';
import * as Y from 'yjs';
import { ByteWriter } from '../kernel/bytes.ts';
import { HASH_BYTES, type Hash } from './lane.ts';

const LEAF_CLOCKS = 1_024;
const GROUP_LEAVES = 64;
/** What Yjs needs for a run of deleted clocks, about. */
const GAP_BYTES = 4;
/** The same for a client. */
export const CLIENT_BYTES = 16;
const ORIGIN = 1;
const RIGHT_ORIGIN = 2;
const KEY = 4;
/** The unit follows the one before in the place where that was written. */
const CONTINUES = 8;

interface Leaf {
  readonly hash: Uint8Array;
  readonly bytes: number;
}

interface ClientTree {
  /** Those with anything living in them, by index. */
  readonly leaves: Map<number, Leaf>;
  readonly groups: Map<number, Uint8Array>;
  root: Uint8Array | undefined;
}

interface Range {
  readonly client: number;
  readonly from: number;
  readonly to: number;
}

const LONE_SURROGATE = /\p{Surrogate}/u;

type Content = Y.Item['content'];

const NOTHING = new Uint8Array(HASH_BYTES);

export class DocumentTree {
  /** Bytes hashed since the tree was made: what keeping it up to date has cost. */
  work = 0;
  readonly #hash: Hash;
  readonly #clients = new Map<number, ClientTree>();
  readonly #writer = new ByteWriter(4_096);
  #dirty: Range[] = [];
  #bytes = 0;
  #leaves = 0;
  /** Names of top-level types; Yjs would search for each. */
  #names = new Map<unknown, string>();

  constructor(hash: Hash) {
    this.#hash = hash;
  }

  /** What a transaction added and deleted. */
  touch(transaction: Y.Transaction): void {
    for (const [client, to] of transaction.afterState) {
      const from = transaction.beforeState.get(client) ?? 0;
      if (to > from) this.#dirty.push({ client, from, to });
    }
    for (const [client, ranges] of transaction.deleteSet.clients) {
      for (const { clock, len } of ranges) this.#dirty.push({ client, from: clock, to: clock + len });
    }
  }

  /** About the bytes that Yjs needs for the document. */
  bytes(doc: Y.Doc): number {
    this.#refresh(doc);
    return this.#bytes + doc.store.clients.size * CLIENT_BYTES;
  }

  /** True where anything in it is not deleted. */
  isLiving(doc: Y.Doc): boolean {
    this.#refresh(doc);
    return this.#leaves > 0;
  }

  /** 16 bytes over the clocks and what lives at them; without `doc`, where nothing does. */
  root(clocks: ReadonlyMap<number, number>, doc: Y.Doc | undefined): Uint8Array {
    if (doc !== undefined) this.#refresh(doc);
    const writer = this.#writer;
    writer.clear();
    for (const [id, clock] of [...clocks].sort(([left], [right]) => left - right)) {
      writer.varuint(id);
      writer.varuint(clock);
      writer.raw(this.#clientRoot(id));
    }
    return this.#digest();
  }

  #clientRoot(id: number): Uint8Array {
    const client = this.#clients.get(id);
    if (client === undefined || client.groups.size === 0) return NOTHING;
    if (client.root !== undefined) return client.root;
    const writer = new ByteWriter(client.groups.size * 24);
    for (const [index, hash] of [...client.groups].sort(([left], [right]) => left - right)) {
      writer.varuint(index);
      writer.raw(hash);
    }
    this.work += writer.length;
    client.root = this.#hash(writer.view()).slice(0, HASH_BYTES);
    return client.root;
  }

  #digest(): Uint8Array {
    this.work += this.#writer.length;
    return this.#hash(this.#writer.view()).slice(0, HASH_BYTES);
  }

  #refresh(doc: Y.Doc): void {
    if (this.#dirty.length === 0) return;
    if (this.#names.size !== doc.share.size) {
      this.#names = new Map([...doc.share].map(([name, type]) => [type, name]));
    }
    const dirty = new Map<number, Set<number>>();
    for (const range of this.#dirty.splice(0)) {
      const leaves = dirty.get(range.client) ?? new Set();
      dirty.set(range.client, leaves);
      this.#leavesOf(doc, range, leaves);
    }
    for (const [id, indices] of dirty) {
      const client = this.#clients.get(id) ?? { leaves: new Map(), groups: new Map(), root: undefined };
      this.#clients.set(id, client);
      const structs = doc.store.clients.get(id) ?? [];
      const groups = new Set<number>();
      for (const index of indices) {
        this.#setLeaf(client, index, this.#readLeaf(structs, index));
        groups.add(Math.floor(index / GROUP_LEAVES));
      }
      for (const group of groups) this.#setGroup(client, group);
      client.root = undefined;
      if (client.leaves.size === 0) this.#clients.delete(id);
    }
  }

  /** Leaves in the range that hold something, or did: a range of clocks may be huge and empty. */
  #leavesOf(doc: Y.Doc, { client, from, to }: Range, into: Set<number>): void {
    const known = this.#clients.get(client)?.leaves;
    const first = Math.floor(from / LEAF_CLOCKS);
    const last = Math.floor((to - 1) / LEAF_CLOCKS);
    if (known !== undefined) {
      if (last - first < known.size) {
        for (let index = first; index <= last; index++) if (known.has(index)) into.add(index);
      } else {
        for (const index of known.keys()) if (index >= first && index <= last) into.add(index);
      }
    }
    const structs = doc.store.clients.get(client) ?? [];
    if (structs.length === 0) return;
    for (let at = Y.findIndexSS(structs, from); at < structs.length; at++) {
      const struct = structs[at] as Y.Item | Y.GC;
      if (struct.id.clock >= to) break;
      if (!isLive(struct)) continue;
      const start = Math.max(from, struct.id.clock);
      const end = Math.min(to, struct.id.clock + struct.length);
      for (let index = Math.floor(start / LEAF_CLOCKS); index * LEAF_CLOCKS < end; index++) into.add(index);
    }
  }

  #setLeaf(client: ClientTree, index: number, leaf: Leaf | undefined): void {
    const before = client.leaves.get(index);
    if (before !== undefined) {
      this.#bytes -= before.bytes;
      this.#leaves--;
    }
    if (leaf === undefined) {
      client.leaves.delete(index);
      return;
    }
    client.leaves.set(index, leaf);
    this.#bytes += leaf.bytes;
    this.#leaves++;
  }

  #setGroup(client: ClientTree, group: number): void {
    const writer = this.#writer;
    writer.clear();
    for (let index = group * GROUP_LEAVES; index < (group + 1) * GROUP_LEAVES; index++) {
      const leaf = client.leaves.get(index);
      if (leaf === undefined) continue;
      writer.varuint(index);
      writer.raw(leaf.hash);
    }
    if (writer.length === 0) client.groups.delete(group);
    else client.groups.set(group, this.#digest());
  }

  /** `undefined` where nothing in it lives. */
  #readLeaf(structs: readonly (Y.Item | Y.GC)[], index: number): Leaf | undefined {
    const writer = this.#writer;
    writer.clear();
    const from = index * LEAF_CLOCKS;
    const to = from + LEAF_CLOCKS;
    const last = structs.at(-1);
    if (last === undefined || last.id.clock + last.length <= from) return undefined;
    const run = new LeafWriter(writer, this.#names);
    for (let at = Y.findIndexSS(structs as (Y.Item | Y.GC)[], from); at < structs.length; at++) {
      const struct = structs[at] as Y.Item | Y.GC;
      if (struct.id.clock >= to) break;
      if (isLive(struct)) run.item(struct, Math.max(from, struct.id.clock), to);
      else run.gap();
    }
    run.end();
    return writer.length === 0 ? undefined : { hash: this.#digest(), bytes: run.bytes };
  }
}

function isLive(struct: Y.Item | Y.GC): struct is Y.Item {
  return struct instanceof Y.Item && !struct.deleted;
}

/** Writes living units one after the other, in a form that does not depend on how they are cut into items. */
class LeafWriter {
  bytes = 0;
  readonly #writer: ByteWriter;
  readonly #names: ReadonlyMap<unknown, string>;
  #text = '';
  /** Clock behind the last unit, where another may follow on. */
  #next = -1;
  #rightOrigin: Y.ID | null = null;
  #inGap = false;

  constructor(writer: ByteWriter, names: ReadonlyMap<unknown, string>) {
    this.#writer = writer;
    this.#names = names;
  }

  item(item: Y.Item, from: number, end: number): void {
    const { content } = item;
    this.#inGap = false;
    const to = Math.min(end, item.id.clock + item.length);
    if (content instanceof Y.ContentString) {
      if (!this.#continues(item, from) || this.#text === '') this.#place(item, from);
      this.#text += content.str.slice(from - item.id.clock, to - item.id.clock);
      this.#next = to;
      this.#rightOrigin = item.rightOrigin;
      return;
    }
    for (let clock = from; clock < to; clock++) {
      this.#place(item, clock);
      this.#content(content, clock - item.id.clock);
      this.#next = clock + 1;
      this.#rightOrigin = item.rightOrigin;
    }
  }

  gap(): void {
    this.#flush();
    if (!this.#inGap) this.bytes += GAP_BYTES;
    this.#inGap = true;
    this.#next = -1;
  }

  end(): void {
    this.#flush();
  }

  #continues(item: Y.Item, clock: number): boolean {
    if (this.#next !== clock || !isSame(item.rightOrigin, this.#rightOrigin)) return false;
    if (clock > item.id.clock) return true;
    return item.origin !== null && item.origin.client === item.id.client && item.origin.clock === clock - 1;
  }

  /** Which clock, and where it was inserted. */
  #place(item: Y.Item, clock: number): void {
    this.#flush();
    const writer = this.#writer;
    const before = writer.length;
    writer.varuint(clock % LEAF_CLOCKS);
    if (this.#continues(item, clock)) {
      writer.byte(CONTINUES);
      this.bytes += 1;
      return;
    }
    const origin = clock > item.id.clock ? Y.createID(item.id.client, clock - 1) : item.origin;
    const { rightOrigin, parentSub } = item;
    writer.byte((origin ? ORIGIN : 0) | (rightOrigin ? RIGHT_ORIGIN : 0) | (parentSub === null ? 0 : KEY));
    for (const id of [origin, rightOrigin]) {
      if (id === null) continue;
      writer.varuint(id.client);
      writer.varuint(id.clock);
    }
    if (parentSub !== null) writer.text(parentSub);
    if (origin === null && rightOrigin === null) this.#parent(item.parent as Y.AbstractType<unknown>);
    this.bytes += writer.length - before;
  }

  #parent(parent: Y.AbstractType<unknown>): void {
    const within = parent._item;
    this.#writer.byte(within === null ? 0 : 1);
    if (within === null) {
      this.#writer.text(this.#names.get(parent) ?? '');
    } else {
      this.#writer.varuint(within.id.client);
      this.#writer.varuint(within.id.clock);
    }
  }

  #content(content: Content, index: number): void {
    const bytes = contentBytes(content, index);
    this.#writer.sized(bytes);
    this.bytes += bytes.length;
  }

  #flush(): void {
    const text = this.#text;
    if (text === '') return;
    this.#text = '';
    const writer = this.#writer;
    const before = writer.length;
    // Halves of surrogate pairs stand alone at the border of a leaf, and UTF-8 would make them all the same.
    const isWhole = !LONE_SURROGATE.test(text);
    writer.byte(isWhole ? 1 : 0);
    if (isWhole) {
      writer.text(text);
    } else {
      writer.varuint(text.length);
      for (let at = 0; at < text.length; at++) {
        const code = text.charCodeAt(at);
        writer.byte(code >>> 8);
        writer.byte(code & 0xff);
      }
    }
    this.bytes += writer.length - before;
  }
}

function isSame(left: Y.ID | null, right: Y.ID | null): boolean {
  return left === right || (left !== null && right !== null && Y.compareIDs(left, right));
}

/** One unit's content, beginning with its kind. */
function contentBytes(content: Content, index: number): Uint8Array {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, content.getRef());
  if (content instanceof Y.ContentAny || content instanceof Y.ContentJSON) {
    encoding.writeAny(encoder, content.arr[index]);
  } else if (content instanceof Y.ContentBinary) {
    encoding.writeVarUint8Array(encoder, content.content);
  } else if (content instanceof Y.ContentEmbed) {
    encoding.writeVarString(encoder, JSON.stringify(content.embed) ?? '');
  } else if (content instanceof Y.ContentFormat) {
    encoding.writeVarString(encoder, content.key);
    encoding.writeVarString(encoder, JSON.stringify(content.value) ?? '');
  } else if (content instanceof Y.ContentType) {
    const { type } = content;
    const kind = new Y.UpdateEncoderV1();
    type._write(kind);
    encoding.writeUint8Array(encoder, kind.toUint8Array());
  }
  return encoding.toUint8Array(encoder);
}
