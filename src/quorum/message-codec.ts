/** Bytes of Raft's messages and log entries. Decoders never throw: `undefined` or `failed` for anything malformed. */
import { type ByteReader, ByteWriter } from '../kernel/bytes.ts';
import type { Configuration, LogEntry, RaftMessage, ServerId } from './raft/types.ts';
import { parseServerId } from './server.ts';

const ENTRY = { command: 0, configuration: 1, blank: 2 } as const;
const MESSAGE = {
  voteRequest: 0,
  voteAnswer: 1,
  append: 2,
  appendAnswer: 3,
  timeoutNow: 4,
  readRequest: 5,
  readAnswer: 6,
} as const;
const SERVER_BYTES = 80;
const MOST_SERVERS = 32;
const MOST_ENTRIES = 65_536;
const MOST_READS = 65_536;

export function writeServers(out: ByteWriter, servers: readonly ServerId[]): void {
  out.varuint(servers.length);
  for (const server of servers) out.text(server);
}

export function readServers(input: ByteReader): readonly ServerId[] {
  const count = input.varuint();
  if (count > MOST_SERVERS) input.fail();
  const servers: ServerId[] = [];
  for (let index = 0; index < count && !input.failed; index++) {
    const text = input.text(SERVER_BYTES);
    if (parseServerId(text) === undefined) input.fail();
    servers.push(text as ServerId);
  }
  return servers;
}

export function writeConfiguration(out: ByteWriter, configuration: Configuration): void {
  writeServers(out, configuration.incoming);
  writeServers(out, configuration.outgoing);
}

export function readConfiguration(input: ByteReader): Configuration {
  return { incoming: readServers(input), outgoing: readServers(input) };
}

/** A leader writes the same batch to its disk and to every follower: the last one is encoded once. */
const encoded: { entries: readonly LogEntry[]; bytes: Uint8Array } = {
  entries: [],
  bytes: new Uint8Array(1),
};
const scratch = new ByteWriter(64 * 1024);

/** Entries that follow one another: the first index, then term and content of each. The list must not change afterwards. */
export function writeEntries(out: ByteWriter, entries: readonly LogEntry[]): void {
  if (encoded.entries !== entries) {
    encodeEntries(scratch, entries);
    encoded.bytes = scratch.take();
    encoded.entries = entries;
  }
  out.raw(encoded.bytes);
}

function encodeEntries(out: ByteWriter, entries: readonly LogEntry[]): void {
  out.varuint(entries.length);
  const first = entries[0];
  if (first === undefined) return;
  out.varuint(first.index);
  for (const entry of entries) {
    out.byte(ENTRY[entry.kind]);
    out.varuint(entry.term);
    if (entry.kind === 'command') out.sized(entry.command);
    else if (entry.kind === 'configuration') writeConfiguration(out, entry.configuration);
  }
}

/** Commands are copies: what came in a frame must not keep the whole frame in memory. */
export function readEntries(input: ByteReader): readonly LogEntry[] {
  const count = input.varuint();
  if (count === 0) return [];
  if (count > MOST_ENTRIES || count > input.remaining) input.fail();
  const first = input.varuint();
  const entries: LogEntry[] = [];
  for (let index = first; entries.length < count && !input.failed; index++) {
    const kind = input.byte();
    const term = input.varuint();
    if (kind === ENTRY.command)
      entries.push({ kind: 'command', index, term, command: input.sized().slice() });
    else if (kind === ENTRY.configuration)
      entries.push({ kind: 'configuration', index, term, configuration: readConfiguration(input) });
    else if (kind === ENTRY.blank) entries.push({ kind: 'blank', index, term });
    else input.fail();
  }
  return entries;
}

/** Without `from` and `to`: the link and the frame's head say these. */
export function writeMessage(out: ByteWriter, message: RaftMessage): void {
  out.byte(MESSAGE[message.kind]);
  out.varuint(message.term);
  switch (message.kind) {
    case 'voteRequest':
      out.byte((message.isPreVote ? 1 : 0) | (message.isTransfer ? 2 : 0));
      out.varuint(message.lastIndex);
      out.varuint(message.lastTerm);
      return;
    case 'voteAnswer':
      out.byte((message.isPreVote ? 1 : 0) | (message.granted ? 2 : 0));
      return;
    case 'append':
      out.varuint(message.previousIndex);
      out.varuint(message.previousTerm);
      out.varuint(message.commit);
      out.varuint(message.round);
      out.varuint(message.stable);
      writeEntries(out, message.entries);
      return;
    case 'appendAnswer':
      out.byte(message.ok ? 1 : 0);
      out.varuint(message.index);
      out.varuint(message.conflictTerm);
      out.varuint(message.round);
      return;
    case 'timeoutNow':
      return;
    case 'readRequest':
      writeNumbers(out, message.reads);
      return;
    case 'readAnswer':
      out.byte(message.ok ? 1 : 0);
      out.varuint(message.index);
      writeNumbers(out, message.reads);
      return;
  }
}

export function readMessage(input: ByteReader, from: ServerId, to: ServerId): RaftMessage | undefined {
  const kind = input.byte();
  const head = { from, to, term: input.varuint() };
  const message = readBody(input, kind, head);
  return input.failed ? undefined : message;
}

type Head = { readonly from: ServerId; readonly to: ServerId; readonly term: number };

function readBody(input: ByteReader, kind: number, head: Head): RaftMessage | undefined {
  switch (kind) {
    case MESSAGE.voteRequest: {
      const flags = input.byte();
      return {
        ...head,
        kind: 'voteRequest',
        isPreVote: (flags & 1) !== 0,
        isTransfer: (flags & 2) !== 0,
        lastIndex: input.varuint(),
        lastTerm: input.varuint(),
      };
    }
    case MESSAGE.voteAnswer: {
      const flags = input.byte();
      return { ...head, kind: 'voteAnswer', isPreVote: (flags & 1) !== 0, granted: (flags & 2) !== 0 };
    }
    case MESSAGE.append: {
      const previousIndex = input.varuint();
      const previousTerm = input.varuint();
      const commit = input.varuint();
      const round = input.varuint();
      const stable = input.varuint();
      const entries = readEntries(input);
      return { ...head, kind: 'append', previousIndex, previousTerm, commit, round, stable, entries };
    }
    case MESSAGE.appendAnswer: {
      const ok = input.byte() === 1;
      const index = input.varuint();
      const conflictTerm = input.varuint();
      return { ...head, kind: 'appendAnswer', ok, index, conflictTerm, round: input.varuint() };
    }
    case MESSAGE.timeoutNow:
      return { ...head, kind: 'timeoutNow' };
    case MESSAGE.readRequest:
      return { ...head, kind: 'readRequest', reads: readNumbers(input) };
    case MESSAGE.readAnswer: {
      const ok = input.byte() === 1;
      const index = input.varuint();
      return { ...head, kind: 'readAnswer', ok, index, reads: readNumbers(input) };
    }
    default:
      input.fail();
      return undefined;
  }
}

export function writeNumbers(out: ByteWriter, numbers: readonly number[]): void {
  out.varuint(numbers.length);
  for (const number of numbers) out.varuint(number);
}

export function readNumbers(input: ByteReader): readonly number[] {
  const count = input.varuint();
  if (count > MOST_READS || count > input.remaining) input.fail();
  const numbers: number[] = [];
  while (numbers.length < count && !input.failed) numbers.push(input.varuint());
  return numbers;
}
