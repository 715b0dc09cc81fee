/** Reads what `snapshot.ts` wrote. Whatever it is given it never throws: what does not fit together is `failed`. */
import { ByteReader } from '../../kernel/bytes.ts';
import { concatBytes } from '../../kernel/codec.ts';
import { limits } from '../../kernel/limits.ts';
import type { KeyChange, KeyValue, OperationAnswer } from '../port.ts';
import { crc32 } from './checksum.ts';
import type { ClientState } from './clients.ts';
import { FIRST_FORMAT, NEWEST_FORMAT } from './format.ts';
import type { Revision } from './history.ts';
import { compareKeys } from './key-order.ts';
import type { LeaseState, Outcome } from './outcome.ts';
import { deletedEntry, Register, type RegisterBounds } from './register.ts';
import { ANSWERS, CHANGE, FAILURES, OUTCOME, TAG } from './snapshot.ts';

/** The largest record is the answer to a transaction that read as much as one can. */
const MOST_RECORD_BYTES = 2 * limits.quorumOperations * (limits.quorumValueBytes + 2 * limits.quorumKeyBytes);

export class Restorer {
  readonly #bounds: RegisterBounds;
  readonly #newestFormat: number;
  #format = FIRST_FORMAT;
  #checksum = 0;
  #failed = false;
  /** What came and belongs to a record that is not complete. */
  #parts: Uint8Array[] = [];
  #have = 0;
  #need = 1;
  #ended = false;
  #revision = 0;
  #compactRevision = 0;
  readonly #leases = new Map<number, LeaseState>();
  readonly #entries: KeyValue[] = [];
  readonly #clients = new Map<number, ClientState & { outcomes: [number, Outcome][] }>();
  #client: { outcomes: [number, Outcome][] } | undefined;
  #outcomes = 0;
  readonly #history: { revision: number; changes: KeyChange[] }[] = [];
  #byKey: Map<string, KeyValue> | undefined;
  #stage = 0;

  /** `newestFormat`: that this program understands. */
  constructor(bounds: RegisterBounds = limits, newestFormat = NEWEST_FORMAT) {
    this.#bounds = bounds;
    this.#newestFormat = newestFormat;
  }

  /** The format of what it reads, where that is one that this program does not understand: it then failed. */
  get neededFormat(): number | undefined {
    return this.#format > this.#newestFormat ? this.#format : undefined;
  }

  /** Nothing that is taken from now on can mend it. */
  get failed(): boolean {
    return this.#failed;
  }

  /** The next piece, in the order in which they were made. */
  take(piece: Uint8Array): void {
    if (this.#failed) return;
    const body = piece.subarray(4);
    const told = new ByteReader(piece).uint32();
    this.#checksum = crc32(body, this.#checksum);
    if (piece.length < 5 || told !== this.#checksum || this.#ended) {
      this.#failed = true;
      return;
    }
    this.#parts.push(body);
    this.#have += body.length;
    if (this.#have >= this.#need) this.#readRecords();
  }

  /** The register, or `undefined` where the pieces were not all or not sound. */
  finish(): Register | undefined {
    if (this.#failed || !this.#ended || this.#have > 0) return undefined;
    return new Register(this.#bounds, {
      format: this.#format,
      revision: this.#revision,
      compactRevision: this.#compactRevision,
      entries: this.#entries,
      leases: [...this.#leases.values()],
      clients: [...this.#clients.values()],
      history: this.#history as readonly Revision[],
    });
  }

  #readRecords(): void {
    const bytes = this.#parts.length === 1 ? (this.#parts[0] as Uint8Array) : concatBytes(this.#parts);
    let at = 0;
    let need = 1;
    while (at < bytes.length && !this.#failed) {
      const input = new ByteReader(bytes, at);
      const length = input.varuint();
      const body = input.at;
      if (input.failed || body + length > bytes.length) {
        need = input.failed ? bytes.length - at + 1 : body - at + length;
        if (need > MOST_RECORD_BYTES || (input.failed && bytes.length - at >= 8)) this.#failed = true;
        break;
      }
      at = body + length;
      const record = new ByteReader(bytes, body, at);
      this.#read(record);
      if (!record.done) this.#failed = true;
    }
    const rest = bytes.slice(at);
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#have = rest.length;
    this.#need = need;
  }

  #read(input: ByteReader): void {
    const tag = input.byte();
    // An outcome stands among the clients, a change in the history; else tags only grow.
    const stage = tag === TAG.outcome ? TAG.client : tag;
    if (this.#ended || stage < this.#stage || (this.#stage === 0) !== (tag === TAG.head)) {
      input.fail();
      return;
    }
    this.#stage = stage;
    switch (tag) {
      case TAG.head:
        this.#format = input.varuint();
        if (this.#format < FIRST_FORMAT || this.#format > this.#newestFormat) input.fail();
        this.#revision = input.varuint();
        return;
      case TAG.lease: {
        const lease = { id: input.varuint(), ttlMs: input.varuint(), renewals: input.varuint() };
        this.#leases.set(lease.id, lease);
        return;
      }
      case TAG.entry:
        this.#readEntry(input);
        return;
      case TAG.client:
        this.#readClient(input);
        return;
      case TAG.outcome:
        if (--this.#outcomes < 0) input.fail();
        this.#client?.outcomes.push([input.varuint(), readOutcome(input)]);
        return;
      case TAG.history:
        this.#compactRevision = input.varuint();
        return;
      case TAG.change:
        this.#readChange(input);
        return;
      case TAG.end:
        this.#readEnd(input);
        return;
      default:
        input.fail();
    }
  }

  #readEntry(input: ByteReader): void {
    const entry = readEntry(input);
    const before = this.#entries.at(-1);
    const isInOrder = before === undefined || compareKeys(before.key, entry.key) < 0;
    const isLeased = entry.lease === 0 || this.#leases.has(entry.lease);
    if (!isInOrder || !isLeased || entry.modRevision > this.#revision) input.fail();
    this.#entries.push(entry);
  }

  #readClient(input: ByteReader): void {
    if (this.#outcomes !== 0) input.fail();
    const id = input.varuint();
    const client = {
      id,
      lastIndex: input.varuint(),
      lowestOutstanding: input.varuint(),
      outcomes: [] as [number, Outcome][],
    };
    this.#outcomes = input.varuint();
    this.#clients.set(id, client);
    this.#client = client;
  }

  #readChange(input: ByteReader): void {
    const revision = input.varuint();
    const next = this.#compactRevision + this.#history.length;
    if (revision !== next && revision !== next - 1) input.fail();
    if (revision === next) this.#history.push({ revision, changes: [] });
    const change = this.#change(input, revision);
    if (change === undefined) input.fail();
    else this.#history.at(-1)?.changes.push(change);
  }

  #change(input: ByteReader, revision: number): KeyChange | undefined {
    switch (input.byte()) {
      case CHANGE.deleted:
        return { kind: 'deleted', entry: deletedEntry(readKey(input), revision) };
      case CHANGE.put: {
        const entry = readEntry(input);
        return entry.modRevision === revision ? { kind: 'put', entry } : undefined;
      }
      case CHANGE.standing: {
        this.#byKey ??= new Map(this.#entries.map((entry) => [entry.key, entry]));
        const entry = this.#byKey.get(readKey(input));
        return entry?.modRevision === revision ? { kind: 'put', entry } : undefined;
      }
      default:
        return undefined;
    }
  }

  #readEnd(input: ByteReader): void {
    this.#ended = true;
    const isComplete =
      input.varuint() === this.#entries.length &&
      input.varuint() === this.#leases.size &&
      input.varuint() === this.#clients.size &&
      this.#outcomes === 0 &&
      this.#compactRevision + this.#history.length === this.#revision + 1;
    if (!isComplete) input.fail();
  }
}

function readKey(input: ByteReader): string {
  return input.text(limits.quorumKeyBytes);
}

function readEntry(input: ByteReader): KeyValue {
  return {
    key: readKey(input),
    value: input.sized().slice(),
    createRevision: input.varuint(),
    modRevision: input.varuint(),
    version: input.varuint(),
    lease: input.varuint(),
  };
}

function readOutcome(input: ByteReader): Outcome {
  switch (input.byte()) {
    case OUTCOME.transacted: {
      const succeeded = input.byte() === 1;
      const revision = input.varuint();
      const count = input.varuint();
      const answers: OperationAnswer[] = [];
      while (answers.length < count && !input.failed) answers.push(readAnswer(input));
      return { kind: 'transacted', answer: { succeeded, revision, answers } };
    }
    case OUTCOME.granted:
      return { kind: 'granted', lease: { id: input.varuint(), ttlMs: input.varuint() } };
    case OUTCOME.revoked:
      return { kind: 'revoked', revision: input.varuint() };
    case OUTCOME.failed: {
      const code = FAILURES[input.byte()];
      const message = input.text(1024);
      if (code !== undefined) return { kind: 'failed', code, message };
    }
  }
  input.fail();
  return { kind: 'revoked', revision: 0 };
}

function readAnswer(input: ByteReader): OperationAnswer {
  const op = ANSWERS[input.byte()];
  switch (op) {
    case 'put':
      return { op };
    case 'delete':
    case 'deleteRange':
      return { op, deleted: input.varuint() };
    case 'get':
      return { op, found: input.byte() === 1 ? readEntry(input) : undefined };
    case 'range': {
      const more = input.byte() === 1;
      const count = input.varuint();
      const found: KeyValue[] = [];
      while (found.length < count && !input.failed) found.push(readEntry(input));
      return { op, found, more };
    }
    default:
      input.fail();
      return { op: 'put' };
  }
}
