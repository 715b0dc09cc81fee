/**
 * What members say to each other on channel `mesh`: msgpack arrays
 * `[kind, incarnation of the sender, updates, …]`, where an update is `[node id, incarnation, state]`.
 *
 * Later versions may append elements and use further kinds: both are passed over without blame. Everything else that
 * departs from the form is malformed.
 */
import { decode, encode } from '../../kernel/codec.ts';
import { type NodeId, parseNodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { MemberState } from '../view.ts';

/** One member's word about another. */
export interface Update {
  readonly member: NodeId;
  readonly incarnation: number;
  readonly state: MemberState;
}

interface Heading {
  /** The sender's own incarnation: its word about itself is final. */
  readonly incarnation: number;
  readonly updates: readonly Update[];
}

export type Message = Heading &
  (
    | { readonly kind: 'ping'; readonly seq: number }
    | { readonly kind: 'ack'; readonly seq: number }
    /** Asks the receiver to ping `target` on the sender's behalf. */
    | { readonly kind: 'pingRequest'; readonly seq: number; readonly target: NodeId }
    /** `target` answered the ping that the receiver asked for, and said this incarnation. */
    | {
        readonly kind: 'relayedAck';
        readonly seq: number;
        readonly target: NodeId;
        readonly targetIncarnation: number;
      }
    /** `target` did not answer in time or cannot be reached from here; the sender itself is well. */
    | { readonly kind: 'nack'; readonly seq: number; readonly target: NodeId }
    | { readonly kind: 'gossip' }
    /** The sender leaves for good: no suspicion, no waiting. */
    | { readonly kind: 'left' }
  );

const KIND_CODES = {
  ping: 1,
  ack: 2,
  pingRequest: 3,
  relayedAck: 4,
  nack: 5,
  gossip: 6,
  left: 7,
} as const;
const STATES: readonly MemberState[] = ['alive', 'suspect', 'dead'];

/** Incarnations start as milliseconds since 1970 and grow by refutations; this leaves both room for millennia. */
export const MAX_INCARNATION = 2 ** 48;

export function encodeMessage(message: Message): Uint8Array {
  const updates = message.updates.map((update) => [
    update.member,
    update.incarnation,
    STATES.indexOf(update.state),
  ]);
  const heading = [KIND_CODES[message.kind], message.incarnation, updates];
  switch (message.kind) {
    case 'ping':
    case 'ack':
      return encode([...heading, message.seq]);
    case 'pingRequest':
    case 'nack':
      return encode([...heading, message.seq, message.target]);
    case 'relayedAck':
      return encode([...heading, message.seq, message.target, message.targetIncarnation]);
    default:
      return encode(heading);
  }
}

/** The message; `'later'` for a kind of a later version; `undefined` where the bytes are malformed. */
export function parseMessage(bytes: Uint8Array): Message | 'later' | undefined {
  const fields = decode(bytes);
  if (!Array.isArray(fields)) return undefined;
  const [kind, incarnation, rawUpdates, seq, rawTarget, targetIncarnation] = fields as readonly unknown[];
  if (!isIncarnation(incarnation) || !Array.isArray(rawUpdates)) return undefined;
  const updates = parseUpdates(rawUpdates);
  if (updates === undefined) return undefined;
  const heading = { incarnation, updates };
  if (kind === KIND_CODES.gossip) return { kind: 'gossip', ...heading };
  if (kind === KIND_CODES.left) return { kind: 'left', ...heading };
  if (typeof kind === 'number' && Number.isInteger(kind) && kind > KIND_CODES.left && kind < 128)
    return 'later';
  if (!isCount(seq)) return undefined;
  if (kind === KIND_CODES.ping) return { kind: 'ping', ...heading, seq };
  if (kind === KIND_CODES.ack) return { kind: 'ack', ...heading, seq };
  const target = parseNodeId(rawTarget);
  if (target === undefined) return undefined;
  if (kind === KIND_CODES.pingRequest) return { kind: 'pingRequest', ...heading, seq, target };
  if (kind === KIND_CODES.nack) return { kind: 'nack', ...heading, seq, target };
  if (kind === KIND_CODES.relayedAck && isIncarnation(targetIncarnation)) {
    return { kind: 'relayedAck', ...heading, seq, target, targetIncarnation };
  }
  return undefined;
}

function parseUpdates(raw: readonly unknown[]): readonly Update[] | undefined {
  if (raw.length > limits.membershipUpdates) return undefined;
  const updates: Update[] = [];
  for (const item of raw) {
    if (!Array.isArray(item)) return undefined;
    const member = parseNodeId(item[0]);
    const incarnation: unknown = item[1];
    const state = typeof item[2] === 'number' ? STATES[item[2]] : undefined;
    if (member === undefined || !isIncarnation(incarnation) || state === undefined) return undefined;
    updates.push({ member, incarnation, state });
  }
  return updates;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isIncarnation(value: unknown): value is number {
  return isCount(value) && value <= MAX_INCARNATION;
}
