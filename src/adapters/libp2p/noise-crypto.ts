/**
 * The cipher under Noise, and what cuts its stream into frames again: the bytes are libp2p's, the work is less.
 *
 * libp2p's own cipher makes a new key object for each frame, joins what it encrypted once more, and takes the slow
 * of its two implementations for frames of 500 bytes to 1,200. Its decoder finds the end of what has arrived by an
 * exception with a stack trace, after every packet, and gathers large frames twice.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import type { noise } from '@libp2p/noise';
import { defaultCrypto } from '@libp2p/noise/crypto';

type Crypto = NonNullable<NonNullable<Parameters<typeof noise>[0]>['crypto']>;
export type Bytes = Parameters<Crypto['chaCha20Poly1305Encrypt']>[0];

/** Below it WebAssembly is faster than a call into the system's library. */
const NATIVE_BYTES = 512;
export const TAG_BYTES = 16;
const LENGTH_BYTES = 2;
/** Most that one frame of Noise can carry. */
export const MOST_PLAIN_BYTES = 0xffff - TAG_BYTES;
const CHACHA = 'chacha20-poly1305';
const OPTIONS = { authTagLength: TAG_BYTES };

/** A connection's two keys stay the same array for its whole life. */
const keys = new WeakMap<Uint8Array, KeyObject>();

function keyOf(bytes: Uint8Array): KeyObject {
  let key = keys.get(bytes);
  if (key === undefined) {
    key = createSecretKey(bytes);
    keys.set(bytes, key);
  }
  return key;
}

/** A plaintext in two parts; what it becomes goes over the connection as it is, without being joined. */
class InParts {
  readonly head: Uint8Array;
  readonly body: Uint8Array;

  constructor(head: Uint8Array, body: Uint8Array) {
    this.head = head;
    this.body = body;
  }

  get byteLength(): number {
    return this.head.length + this.body.length;
  }
}

/** A frame of Noise in pieces: its length with the first part, the second part, the tag. */
interface SealedParts {
  readonly head: Uint8Array;
  /** In memory of its own. */
  readonly body: Uint8Array;
  readonly tag: Uint8Array;
}

/** Seals two parts as one plaintext of at most `MOST_PLAIN_BYTES`; `encrypt` is a handshake's, over `noiseCrypto`. */
export function sealParts(
  encrypt: (plain: Uint8Array) => unknown,
  head: Uint8Array,
  body: Uint8Array,
): SealedParts {
  // Noise passes on what it is given, and what the cipher makes of it.
  return encrypt(new InParts(head, body) as unknown as Uint8Array) as SealedParts;
}

function encryptParts({ head, body, byteLength }: InParts, nonce: Uint8Array, k: Uint8Array): SealedParts {
  const cipher = createCipheriv(CHACHA, keyOf(k), nonce, OPTIONS);
  const first = cipher.update(head);
  const second = cipher.update(body);
  cipher.final();
  const framed = Buffer.allocUnsafe(LENGTH_BYTES + first.length);
  framed.set(first, LENGTH_BYTES);
  const length = byteLength + TAG_BYTES;
  framed[0] = length >>> 8;
  framed[1] = length;
  return { head: framed, body: second, tag: cipher.getAuthTag() };
}

export const noiseCrypto: Crypto = {
  ...defaultCrypto,

  chaCha20Poly1305Encrypt(plaintext, nonce, ad, k) {
    if ((plaintext as unknown) instanceof InParts) {
      return encryptParts(plaintext as unknown as InParts, nonce, k) as unknown as Uint8Array;
    }
    if (plaintext.byteLength < NATIVE_BYTES) {
      return defaultCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, k);
    }
    const cipher = createCipheriv(CHACHA, keyOf(k), nonce, OPTIONS);
    if (ad.length > 0) cipher.setAAD(ad, { plaintextLength: plaintext.byteLength });
    if (plaintext instanceof Uint8Array) {
      const text = cipher.update(plaintext);
      cipher.final();
      const framed = Buffer.allocUnsafe(LENGTH_BYTES + text.length + TAG_BYTES);
      framed.set(text, LENGTH_BYTES);
      framed.set(cipher.getAuthTag(), LENGTH_BYTES + text.length);
      lastFramed = framed;
      lastSealed = framed.subarray(LENGTH_BYTES);
      return lastSealed;
    }
    // An empty list of the very class that Noise expects.
    const sealed = plaintext.sublist(0, 0);
    for (const piece of plaintext) sealed.append(cipher.update(piece));
    cipher.final();
    sealed.append(cipher.getAuthTag());
    return sealed;
  },

  chaCha20Poly1305Decrypt(ciphertext, nonce, ad, k, into) {
    const length = ciphertext.byteLength - TAG_BYTES;
    if (length < NATIVE_BYTES) {
      return defaultCrypto.chaCha20Poly1305Decrypt(ciphertext, nonce, ad, k, into);
    }
    const decipher = createDecipheriv(CHACHA, keyOf(k), nonce, OPTIONS);
    if (ad.length > 0) decipher.setAAD(ad, { plaintextLength: length });
    decipher.setAuthTag(ciphertext.subarray(length));
    const text = decipher.update(ciphertext.subarray(0, length));
    decipher.final();
    return text;
  },
};

/** What was sealed last, and the same with room for its length in front: so it need not be copied to be framed. */
let lastSealed: Uint8Array | undefined;
let lastFramed: Uint8Array | undefined;

/** What was just sealed, as it goes over the connection: its length, then it. */
export function frameSealed(sealed: Bytes): Uint8Array {
  const { byteLength } = sealed;
  let framed = lastFramed;
  if (framed === undefined || sealed !== lastSealed) {
    framed = Buffer.allocUnsafe(LENGTH_BYTES + byteLength);
    framed.set(sealed instanceof Uint8Array ? sealed : sealed.subarray(), LENGTH_BYTES);
  }
  lastSealed = lastFramed = undefined;
  framed[0] = byteLength >>> 8;
  framed[1] = byteLength;
  return framed;
}

const NOTHING = new Uint8Array(0);
/** Frames this long or longer are decrypted into memory of their own, so that one buffer can gather all of them. */
export const OWN_BYTES = NATIVE_BYTES + TAG_BYTES;
const MOST_BYTES = 0xffff;

/**
 * Cuts what arrives on a connection into Noise's frames: two bytes of length, highest first, then so many bytes.
 * What `decode` yields is valid until the next step, except that frames which are decrypted in place stay.
 */
export class NoiseFrames {
  #length = 0;
  #lengthBytes = 0;
  /** The frame under way, and how much of it is here. */
  #partial: Uint8Array | undefined;
  #filled = 0;
  #shared: Uint8Array | undefined;
  #piece: Uint8Array = NOTHING;
  #at = 0;

  *decode(data: Bytes): Generator<Uint8Array> {
    for (const piece of data instanceof Uint8Array ? [data] : data) {
      this.feed(piece);
      for (let frame = this.take(); frame !== undefined; frame = this.take()) yield frame;
    }
  }

  /** What arrived; all that arrived before has been taken. */
  feed(piece: Uint8Array): void {
    this.#piece = piece;
    this.#at = 0;
  }

  /** The next whole frame; `undefined` where more must arrive first. */
  take(): Uint8Array | undefined {
    const piece = this.#piece;
    while (this.#at < piece.length) {
      const partial = this.#partial;
      if (partial !== undefined) {
        const taken = Math.min(partial.length - this.#filled, piece.length - this.#at);
        partial.set(piece.subarray(this.#at, this.#at + taken), this.#filled);
        this.#filled += taken;
        this.#at += taken;
        if (this.#filled < partial.length) break;
        this.#partial = undefined;
        return partial;
      }
      this.#length = (this.#length << 8) | (piece[this.#at++] as number);
      if (++this.#lengthBytes < LENGTH_BYTES) continue;
      const length = this.#length;
      this.#length = this.#lengthBytes = 0;
      if (length === 0) continue;
      const from = this.#at;
      if (from + length <= piece.length) {
        this.#at += length;
        return piece.subarray(from, this.#at);
      }
      this.#partial = this.#room(length);
      this.#filled = 0;
    }
    this.#piece = NOTHING;
    this.#at = 0;
    return undefined;
  }

  #room(length: number): Uint8Array {
    if (length < OWN_BYTES) return new Uint8Array(length);
    this.#shared ??= new Uint8Array(MOST_BYTES);
    return this.#shared.subarray(0, length);
  }
}
