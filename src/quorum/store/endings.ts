/**
 * Commands that end a store in favour of another. They stand in its own log, behind what clients wrote before: so no
 * write can slip in between the look whether it is empty and its end, and all copies end at the same place.
 */
import { ByteReader, ByteWriter } from '../../kernel/bytes.ts';
import { isExpiry, raisedFormat } from '../register/command.ts';
import { parseStoreId, type StoreId } from '../server.ts';

/** First byte of commands that are not the register's: it uses low kinds. */
const DISSOLVE = 0xff;
const ABANDON = 0xfe;

/** A command that ends this store in favour of another, where no client has written to it. */
export function dissolveCommand(into: StoreId): Uint8Array {
  return endingCommand(DISSOLVE, into);
}

/** The same, whatever it holds. */
export function abandonCommand(into: StoreId): Uint8Array {
  return endingCommand(ABANDON, into);
}

export function isEnding(command: Uint8Array): boolean {
  return command[0] === DISSOLVE || command[0] === ABANDON;
}

/** The store that takes the place of the one that applies this; `undefined` where it has no effect. */
export function successorOf(command: Uint8Array, isEmpty: boolean): StoreId | undefined {
  if (command[0] === DISSOLVE && !isEmpty) return undefined;
  return parseStoreId(new ByteReader(command, 1).uint56());
}

/** What a leader alone may bring forward: the end of the store, and of leases, and what all copies must understand. */
export function isForLeadersOnly(command: Uint8Array): boolean {
  return isEnding(command) || isExpiry(command) || raisedFormat(command) > 0;
}

function endingCommand(kind: number, into: StoreId): Uint8Array {
  const out = new ByteWriter(16);
  out.byte(kind);
  out.uint56(into);
  return out.take();
}
