/**
 * The free documents of one board: how many and how large, and hashes that tell two boards apart.
 *
 * Names are spread over 256 buckets. What changed makes its bucket's hash stale and no other, so neither many documents
 * nor large ones make a small change dear; and replicas compare by name only within the buckets that differ.
 */

import { ByteWriter } from '../kernel/bytes.ts';
import { equalBytes, utf8 } from '../kernel/codec.ts';
import { limits } from '../kernel/limits.ts';
import { FreeDocument } from './documents.ts';
import { HASH_BYTES, type Hash } from './lane.ts';

const DOCUMENT_BUCKETS = 256;

/** An update larger than a frame, as far as it has come. */
export interface Partial {
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
  have: number;
}

export class DocumentShelf {
  readonly documents = new Map<string, FreeDocument>();
  /** By document. */
  readonly partial = new Map<string, Partial>();
  /** Buckets in which something differs from a neighbour's: the next digest names what is in them. */
  readonly differing = new Set<number>();
  readonly #client: number;
  readonly #hash: Hash;
  readonly #names = new Map<number, Set<string>>();
  readonly #hashes = new Map<number, Uint8Array>();
  #bytes = 0;
  #living = 0;
  /** Bytes hashed to keep hashes and sizes up to date, so far. */
  #work = 0;

  constructor(client: number, hash: Hash) {
    this.#client = client;
    this.#hash = hash;
  }

  /** Of all documents, deleted ones included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Documents with something in them. */
  get living(): number {
    return this.#living;
  }

  get work(): number {
    let work = this.#work;
    for (const document of this.documents.values()) work += document.work;
    return work;
  }

  /** Made on demand; `undefined` where there are too many: `slack` times the bound. */
  document(name: string, slack: number): FreeDocument | undefined {
    const known = this.documents.get(name);
    if (known !== undefined) return known;
    if (this.documents.size >= limits.documentNames * slack) return undefined;
    const document = new FreeDocument(name, this.#client, this.#hash);
    this.documents.set(name, document);
    const bucket = bucketOf(name);
    const names = this.#names.get(bucket);
    if (names === undefined) this.#names.set(bucket, new Set([name]));
    else names.add(name);
    return document;
  }

  /** True where a document that holds nothing yet may come to hold something. */
  hasPlace(document: FreeDocument, slack: number): boolean {
    return document.counted.living || this.#living < limits.documents * slack;
  }

  /** Lets go of a document into which nothing came. */
  forgetNew(name: string): void {
    const document = this.documents.get(name);
    if (document === undefined || !document.isNew || this.partial.has(name)) return;
    this.documents.delete(name);
    this.#names.get(bucketOf(name))?.delete(name);
  }

  /** The document was changed: counts it again. */
  changed(document: FreeDocument): void {
    const { counted } = document;
    const bytes = document.bytes;
    const living = document.isLiving;
    this.#bytes += bytes - counted.bytes;
    this.#living += Number(living) - Number(counted.living);
    document.counted = { bytes, living };
    this.#hashes.delete(bucketOf(document.name));
  }

  /** By name, those into which something came. */
  inBucket(bucket: number): readonly FreeDocument[] {
    return [...(this.#names.get(bucket) ?? [])]
      .sort()
      .map((name) => this.documents.get(name) as FreeDocument)
      .filter((document) => !document.isNew || this.partial.has(document.name));
  }

  /** By bucket, the hashes of those that hold anything. */
  buckets(): ReadonlyMap<number, Uint8Array> {
    const hashes = new Map<number, Uint8Array>();
    for (let bucket = 0; bucket < DOCUMENT_BUCKETS; bucket++) {
      const hash = this.#bucketHash(bucket);
      if (hash !== undefined) hashes.set(bucket, hash);
    }
    return hashes;
  }

  /** 16 bytes; `undefined` where nothing ever came. */
  root(): Uint8Array | undefined {
    const buckets = this.buckets();
    if (buckets.size === 0 && this.partial.size === 0) return undefined;
    const writer = new ByteWriter(buckets.size * 20);
    for (const [bucket, hash] of buckets) {
      writer.byte(bucket);
      writer.raw(hash);
    }
    // What has come of a large update counts as progress.
    for (const { have } of this.partial.values()) writer.varuint(have);
    this.#work += writer.length;
    return this.#hash(writer.view()).slice(0, HASH_BYTES);
  }

  /** Notes which buckets differ from a neighbour's. */
  compare(theirs: ReadonlyMap<number, Uint8Array>): void {
    const mine = this.buckets();
    for (const bucket of new Set([...mine.keys(), ...theirs.keys()])) {
      const [left, right] = [mine.get(bucket), theirs.get(bucket)];
      const isEqual =
        left !== undefined && right !== undefined && equalBytes(left.subarray(0, right.length), right);
      if (!isEqual) this.differing.add(bucket);
    }
  }

  #bucketHash(bucket: number): Uint8Array | undefined {
    const known = this.#hashes.get(bucket);
    if (known !== undefined) return known;
    const names = this.#names.get(bucket);
    if (names === undefined || names.size === 0) return undefined;
    const writer = new ByteWriter(names.size * 32);
    for (const name of [...names].sort()) {
      const document = this.documents.get(name);
      if (document === undefined || document.isNew) continue;
      writer.sized(utf8(name));
      writer.raw(document.hash());
    }
    if (writer.length === 0) return undefined;
    this.#work += writer.length;
    const hash = this.#hash(writer.view()).slice(0, HASH_BYTES);
    this.#hashes.set(bucket, hash);
    return hash;
  }
}

/** The low two bytes of the name's FNV-1a, folded into one. */
export function bucketOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of utf8(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash ^ (hash >>> 8)) & 0xff;
}
