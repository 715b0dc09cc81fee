/**
 * Node ids and the keys inside them.
 *
 * A node id is a libp2p PeerId of an Ed25519 key: the base58btc text of an identity multihash, which holds the
 * public key itself. So a key is read off an id without asking anybody (libp2p specs, `peer-ids/peer-ids.md`).
 */
import { type NodeId, parseNodeId } from '../../kernel/ids.ts';

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const DIGITS: ReadonlyMap<string, number> = new Map([...ALPHABET].map((digit, value) => [digit, value]));

/** Multihash "identity" of 36 bytes, then the protobuf of a key: type Ed25519, 32 bytes of data. */
const PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
const KEY_BYTES = 32;
/** What comes after the leading zero byte, which base58 writes as the digit `1`. */
const NUMBER_BYTES = PREFIX.length + KEY_BYTES - 1;

/** The id of the node that owns a raw Ed25519 public key. Throws `RangeError` unless it has 32 bytes. */
export function nodeIdFromPublicKey(publicKey: Uint8Array): NodeId {
  if (publicKey.length !== KEY_BYTES) throw new RangeError('an Ed25519 public key has 32 bytes');
  let number = 0n;
  for (const byte of [...PREFIX, ...publicKey]) number = number * 256n + BigInt(byte);
  let text = '';
  for (; number > 0n; number /= 58n) text = (ALPHABET[Number(number % 58n)] ?? '') + text;
  const id = parseNodeId(`1${text}`);
  if (id === undefined) throw new RangeError('not the id of an Ed25519 key');
  return id;
}

/** The 32 bytes inside the id, or `undefined` where the text is shaped like an id but holds no Ed25519 key. */
export function publicKeyOf(nodeId: NodeId): Uint8Array | undefined {
  let number = 0n;
  for (const digit of nodeId) {
    const value = DIGITS.get(digit);
    if (value === undefined) return undefined;
    number = number * 58n + BigInt(value);
  }
  const bytes = new Uint8Array(1 + NUMBER_BYTES);
  for (let at = NUMBER_BYTES; at > 0; at--) {
    bytes[at] = Number(number % 256n);
    number /= 256n;
  }
  if (number > 0n || !PREFIX.every((byte, at) => bytes[at] === byte)) return undefined;
  return bytes.subarray(PREFIX.length);
}
