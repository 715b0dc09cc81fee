/**
 * What the register is told, and its bytes in the log: a kind, then numbers of variable length and sized bytes.
 * Bytes stay in logs and snapshots, so a kind and its fields keep their meaning for ever; what is new gets a new kind.
 */
import { ByteReader, ByteWriter } from '../../kernel/bytes.ts';
import { limits } from '../../kernel/limits.ts';
import type { Compare, LeaseId, Operation, QuorumKey, Transaction } from '../port.ts';

/**
 * One run of a program that talks to the store: a random safe integer above 0, which is never used again. Whoever is
 * told `unknownClient` opens another.
 */
export type ClientId = number;

/** Makes a request one that takes effect once, however often it comes (dissertation, 6.3). */
export interface RequestHead {
  readonly client: ClientId;
  /** Grows by one with each request of this client. */
  readonly sequence: number;
  /** The client has the answers to all its requests below this one and will not send them again. */
  readonly lowestOutstanding: number;
}

export type Command =
  | (RequestHead & { readonly kind: 'transact'; readonly transaction: Transaction })
  /** `id` is random; refused as CONFLICT where it is taken. */
  | (RequestHead & { readonly kind: 'grantLease'; readonly ttlMs: number; readonly id: LeaseId })
  | (RequestHead & { readonly kind: 'revokeLease'; readonly id: LeaseId })
  | (RequestHead & { readonly kind: 'renewLease'; readonly id: LeaseId })
  /** Of these, the leases that were renewed exactly so often end, in one revision. */
  | {
      readonly kind: 'expireLeases';
      readonly leases: readonly { readonly id: LeaseId; readonly renewals: number }[];
    }
  | { readonly kind: 'openClient'; readonly client: ClientId }
  | { readonly kind: 'closeClient'; readonly client: ClientId }
  /** The next revision is above this one: what another store, or lost voters, handed out is not handed out again. */
  | { readonly kind: 'advance'; readonly revision: number }
  /** From here on the store has at least this format: see `format.ts`. */
  | { readonly kind: 'raiseFormat'; readonly format: number };

/** A command that takes effect once. */
export type ClientRequest = Extract<Command, RequestHead>;

const KIND = {
  transact: 1,
  grantLease: 2,
  revokeLease: 3,
  renewLease: 4,
  expireLeases: 5,
  openClient: 6,
  closeClient: 7,
  advance: 8,
  raiseFormat: 9,
} as const;

const TARGETS = ['version', 'modRevision', 'createRevision', 'lease', 'value'] as const;
const RELATIONS = ['=', '!=', '<', '>'] as const;
const OPERATIONS = ['put', 'delete', 'deleteRange', 'get', 'range'] as const;

const out = new ByteWriter(4096);

/** Only the leader can know which leases have run out: from anybody else it is a lie. */
export function isExpiry(command: Uint8Array): boolean {
  return command[0] === KIND.expireLeases;
}

/** The format that the command raises the store to; 0 for any other command. */
export function raisedFormat(bytes: Uint8Array): number {
  if (bytes[0] !== KIND.raiseFormat) return 0;
  const command = decodeCommand(bytes);
  return typeof command === 'object' && command.kind === 'raiseFormat' ? command.format : 0;
}

/** A transaction that writes keys only over the revisions that it names, and changes nothing where they are others. */
export interface Overwrite {
  readonly client: ClientId;
  readonly sequence: number;
  /** Once the store has passed one of these revisions and the key is at another, it never holds again. */
  readonly compared: readonly { readonly key: QuorumKey; readonly revision: number }[];
  /** Those of the compared keys that it writes. */
  readonly keys: readonly QuorumKey[];
}

export function overwriteOf(bytes: Uint8Array): Overwrite | undefined {
  if (bytes[0] !== KIND.transact) return undefined;
  const input = new ByteReader(bytes, 1);
  const { client, sequence } = readHead(input);
  // Most compare nothing: the rest is not read then.
  if (input.bytes[input.at] === 0) return undefined;
  const { compares, then, otherwise } = readTransaction(input);
  if (!input.done || !otherwise.every(({ op }) => op === 'get' || op === 'range')) return undefined;
  const compared = compares.flatMap((compare) =>
    compare.target === 'modRevision' && compare.is === '=' && compare.than > 0
      ? [{ key: compare.key, revision: compare.than }]
      : [],
  );
  const keys = compared.flatMap(({ key }) =>
    then.some((operation) => (operation.op === 'put' || operation.op === 'delete') && operation.key === key)
      ? [key]
      : [],
  );
  return keys.length === 0 ? undefined : { client, sequence, compared, keys };
}

/** What a transaction reads where its compares do not hold. */
export function otherwiseOf(bytes: Uint8Array): readonly Operation[] {
  const command = decodeCommand(bytes);
  return typeof command === 'object' && command.kind === 'transact' ? command.transaction.otherwise : [];
}

/** The command is well-formed: `check.ts` found nothing wrong with what it holds. */
export function encodeCommand(command: Command): Uint8Array {
  // Whatever a call that threw half-way left behind.
  out.clear();
  out.byte(KIND[command.kind]);
  if ('sequence' in command) writeHead(out, command);
  switch (command.kind) {
    case 'transact':
      writeTransaction(out, command.transaction);
      break;
    case 'grantLease':
      out.varuint(command.ttlMs);
      out.varuint(command.id);
      break;
    case 'revokeLease':
    case 'renewLease':
      out.varuint(command.id);
      break;
    case 'expireLeases':
      out.varuint(command.leases.length);
      for (const { id, renewals } of command.leases) {
        out.varuint(id);
        out.varuint(renewals);
      }
      break;
    case 'openClient':
    case 'closeClient':
      out.varuint(command.client);
      break;
    case 'advance':
      out.varuint(command.revision);
      break;
    case 'raiseFormat':
      out.varuint(command.format);
  }
  return out.take();
}

/** Values are views into `bytes`. `malformed` for anything that `encodeCommand` would not give, whatever it is. */
export function decodeCommand(bytes: Uint8Array): Command | 'malformed' | 'unknownKind' {
  const input = new ByteReader(bytes);
  const command = readCommand(input);
  if (command === undefined) return 'unknownKind';
  return input.done ? command : 'malformed';
}

function readCommand(input: ByteReader): Command | undefined {
  switch (input.byte()) {
    case KIND.transact:
      return { kind: 'transact', ...readHead(input), transaction: readTransaction(input) };
    case KIND.grantLease:
      return { kind: 'grantLease', ...readHead(input), ttlMs: input.varuint(), id: readId(input) };
    case KIND.revokeLease:
      return { kind: 'revokeLease', ...readHead(input), id: readId(input) };
    case KIND.renewLease:
      return { kind: 'renewLease', ...readHead(input), id: readId(input) };
    case KIND.expireLeases: {
      const count = input.varuint();
      const leases: { id: LeaseId; renewals: number }[] = [];
      while (leases.length < count && !input.failed) {
        leases.push({ id: readId(input), renewals: input.varuint() });
      }
      return { kind: 'expireLeases', leases };
    }
    case KIND.openClient:
      return { kind: 'openClient', client: readId(input) };
    case KIND.closeClient:
      return { kind: 'closeClient', client: readId(input) };
    case KIND.advance:
      return { kind: 'advance', revision: input.varuint() };
    case KIND.raiseFormat:
      return { kind: 'raiseFormat', format: readId(input) };
    default:
      return input.failed ? { kind: 'closeClient', client: 0 } : undefined;
  }
}

function writeHead(out: ByteWriter, head: RequestHead): void {
  out.varuint(head.client);
  out.varuint(head.sequence);
  out.varuint(head.lowestOutstanding);
}

function readHead(input: ByteReader): RequestHead {
  const client = readId(input);
  const sequence = input.varuint();
  const lowestOutstanding = input.varuint();
  if (lowestOutstanding > sequence) input.fail();
  return { client, sequence, lowestOutstanding };
}

function readId(input: ByteReader): number {
  const id = input.varuint();
  return id === 0 ? input.fail() : id;
}

function writeTransaction(out: ByteWriter, transaction: Transaction): void {
  out.varuint(transaction.compares.length);
  for (const compare of transaction.compares) {
    out.byte(TARGETS.indexOf(compare.target) | (RELATIONS.indexOf(compare.is) << 4));
    out.text(compare.key);
    if (compare.target === 'value') out.sized(compare.than);
    else out.varuint(compare.than);
  }
  writeOperations(out, transaction.then);
  writeOperations(out, transaction.otherwise);
}

function readTransaction(input: ByteReader): Transaction {
  const compares: Compare[] = [];
  const count = readCount(input);
  while (compares.length < count && !input.failed) compares.push(readCompare(input));
  return { compares, then: readOperations(input), otherwise: readOperations(input) };
}

function readCompare(input: ByteReader): Compare {
  const byte = input.byte();
  const target = TARGETS[byte & 0xf];
  const is = RELATIONS[byte >>> 4];
  const key = input.text(limits.quorumKeyBytes);
  if (target === 'value' && (is === '=' || is === '!=')) return { target, key, is, than: input.sized() };
  if (target === undefined || target === 'value' || is === undefined) input.fail();
  else return { target, key, is, than: input.varuint() };
  return { target: 'version', key: '', is: '=', than: 0 };
}

function writeOperations(out: ByteWriter, operations: readonly Operation[]): void {
  out.varuint(operations.length);
  for (const operation of operations) {
    out.byte(OPERATIONS.indexOf(operation.op));
    if (operation.op === 'deleteRange' || operation.op === 'range') {
      out.text(operation.range.from);
      out.text(operation.range.to);
      if (operation.op === 'range') out.varuint(operation.limit);
    } else {
      out.text(operation.key);
      if (operation.op !== 'put') continue;
      out.sized(operation.value);
      out.varuint(operation.lease ?? 0);
    }
  }
}

function readOperations(input: ByteReader): readonly Operation[] {
  const operations: Operation[] = [];
  const count = readCount(input);
  while (operations.length < count && !input.failed) operations.push(readOperation(input));
  return operations;
}

function readOperation(input: ByteReader): Operation {
  const op = OPERATIONS[input.byte()];
  switch (op) {
    case 'put': {
      const key = input.text(limits.quorumKeyBytes);
      const value = input.sized();
      return { op, key, value, lease: input.varuint() };
    }
    case 'delete':
    case 'get':
      return { op, key: input.text(limits.quorumKeyBytes) };
    case 'deleteRange':
      return { op, range: readRange(input) };
    case 'range':
      return { op, range: readRange(input), limit: input.varuint() };
    default:
      input.fail();
      return { op: 'get', key: '' };
  }
}

function readRange(input: ByteReader): { from: string; to: string } {
  const from = input.text(limits.quorumKeyBytes + 1);
  return { from, to: input.text(limits.quorumKeyBytes + 1) };
}

function readCount(input: ByteReader): number {
  const count = input.varuint();
  return count > limits.quorumOperations ? input.fail() : count;
}
