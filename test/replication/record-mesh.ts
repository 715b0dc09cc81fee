import { equalBytes, toHex } from '../../src/kernel/codec.ts';
import type { Persist } from '../../src/kernel/effects.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Signer } from '../../src/kernel/ports.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { encodeFrame } from '../../src/replication/frames.ts';
import type { RecordKind, SignedRecord } from '../../src/replication/record.ts';
import { encodeDelta, signedBytes } from '../../src/replication/record-codec.ts';
import { Records, type RecordsOptions } from '../../src/replication/records.ts';
import { SimulatedCryptography } from '../../src/sim/cryptography.ts';
import { Network, nodeId } from './network.ts';

type Key = Signer & { readonly nodeId: NodeId };

/** Nodes with a record store each, and the keys of all of them, so that a test can sign whatever it wants. */
export class RecordMesh extends Network<Records> {
  readonly keys: Key[] = [];
  readonly cryptography: SimulatedCryptography;
  readonly #rng: Rng;
  readonly #options: Partial<RecordsOptions>;

  constructor(size: number, seed: number, options: Partial<RecordsOptions> = {}) {
    const rng = seededRng(seed);
    super(rng.fork());
    this.#rng = rng;
    this.#options = options;
    let number = 0;
    this.cryptography = new SimulatedCryptography(rng.fork(), () => nodeId(++number));
    for (let index = 0; index < size; index++) {
      this.keys.push(this.cryptography.makeSigner());
      this.boot(index);
    }
  }

  id(index: number): NodeId {
    return this.keys[index]!.nodeId;
  }

  records(index: number): Records {
    return this.nodes.get(this.id(index))!;
  }

  make(index: number, cryptography = this.cryptography): Records {
    const signer = this.keys[index]!;
    const rng = this.#rng.fork();
    return new Records({ self: signer.nodeId, signer, cryptography, rng, now: this.now, ...this.#options });
  }

  /** A new life of the node; `journal` is what its disk has kept. */
  boot(index: number, journal: readonly Uint8Array[] = []): Records {
    const records = this.add(this.id(index), this.make(index));
    this.carry(this.id(index), records.load(journal, this.now));
    return records;
  }

  /** Its links go with it; `again` makes new ones. */
  crash(index: number): void {
    for (const other of this.nodes.keys())
      if (other !== this.id(index)) this.disconnect(this.id(index), other);
    this.nodes.delete(this.id(index));
  }

  publish(index: number, kind: RecordKind, key: string, body: unknown): void {
    this.carry(this.id(index), this.records(index).publish(kind, key, body, this.now));
  }

  /** Everything that the node was told to write, in order, without the tag. */
  journalOf(index: number): readonly Uint8Array[] {
    return this.effects
      .filter(({ node, effect }) => node === this.id(index) && effect.kind === 'persist')
      .flatMap(({ effect }) => (effect as unknown as Persist).records.map((record) => record.subarray(1)));
  }

  sign(signer: Key, fields: Omit<SignedRecord, 'signature' | 'owner'>, owner = signer.nodeId): SignedRecord {
    const unsigned = { owner, ...fields };
    return { ...unsigned, signature: signer.sign(signedBytes(unsigned)) };
  }

  /** Hands records to a node as a push of a neighbour. */
  push(to: number, from: NodeId, records: readonly SignedRecord[]): void {
    const bytes = encodeFrame({ kind: 'push', delta: encodeDelta({ records, hints: [] }) });
    this.tell(this.id(to), { kind: 'received', from, bytes });
  }

  marks(name: string): number {
    return this.effects.filter(({ effect }) => (effect as { name?: string }).name === name).length;
  }

  get equal(): boolean {
    const [first, ...rest] = [...this.nodes.values()].map(({ root }) => root);
    return rest.every((root) => equalBytes(root, first!));
  }

  /** All that a node shows, as text to compare. */
  shown(index: number, kind: RecordKind): string {
    return JSON.stringify(this.records(index).ofKind(kind));
  }
}

/** The journal without its tag, as a host hands it back. */
export function untagged(journal: Iterable<Uint8Array>): readonly Uint8Array[] {
  return [...journal].map((record) => record.subarray(1));
}

export const hex = toHex;
