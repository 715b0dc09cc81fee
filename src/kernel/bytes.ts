/** Bytes written and read in the variable-length integers of Yjs and lib0: seven bits a byte, lowest first. */

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A growing buffer. `take` gives a copy, so that one writer can serve for ever. */
export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  /** `value` is a safe integer that is not negative. */
  varuint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest > 0x7fffffff) {
      this.#bytes[this.#length++] = 0x80 | (rest % 128);
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = 0x80 | (rest & 0x7f);
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Seven bytes, highest first, of a safe integer. */
  uint56(value: number): void {
    this.#reserve(7);
    const high = Math.floor(value / 2 ** 32);
    const low = value >>> 0;
    const at = this.#length;
    const bytes = this.#bytes;
    bytes[at] = high >>> 16;
    bytes[at + 1] = high >>> 8;
    bytes[at + 2] = high;
    bytes[at + 3] = low >>> 24;
    bytes[at + 4] = low >>> 16;
    bytes[at + 5] = low >>> 8;
    bytes[at + 6] = low;
    this.#length = at + 7;
  }

  uint32(value: number): void {
    this.#reserve(4);
    this.#bytes[this.#length++] = value >>> 24;
    this.#bytes[this.#length++] = value >>> 16;
    this.#bytes[this.#length++] = value >>> 8;
    this.#bytes[this.#length++] = value;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** `raw` of a part, without making a view where the part is short. */
  rawPart(bytes: Uint8Array, from: number, length: number): void {
    this.#reserve(length);
    if (length < 48) {
      const target = this.#bytes;
      let at = this.#length;
      for (let index = from; index < from + length; index++) target[at++] = bytes[index] as number;
    } else {
      this.#bytes.set(bytes.subarray(from, from + length), this.#length);
    }
    this.#length += length;
  }

  /** Length, then bytes. */
  sized(bytes: Uint8Array): void {
    this.varuint(bytes.length);
    this.raw(bytes);
  }

  /** UTF-8 without a length. */
  utf8(text: string): void {
    this.#reserve(text.length * 3);
    const { written } = encoder.encodeInto(text, this.#bytes.subarray(this.#length));
    this.#length += written;
  }

  /** Length in bytes, then UTF-8. */
  text(text: string): void {
    if (text.length > 42) {
      this.sized(encoder.encode(text));
      return;
    }
    // At most 126 bytes follow, so the length is one byte whatever the characters are.
    const lengthAt = this.#length;
    this.byte(0);
    this.#reserve(text.length * 3);
    const bytes = this.#bytes;
    let at = this.#length;
    for (let index = 0; index < text.length; index++) {
      const code = text.charCodeAt(index);
      if (code > 0x7f) {
        this.utf8(text);
        this.#bytes[lengthAt] = this.#length - lengthAt - 1;
        return;
      }
      bytes[at++] = code;
    }
    this.#length = at;
    bytes[lengthAt] = text.length;
  }

  /** A copy of what was written. */
  copy(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** What was written, valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
    // A single huge frame must not keep its buffer for ever.
    if (this.#bytes.length > 4 * 1024 * 1024) this.#bytes = new Uint8Array(256);
  }

  /** A copy, with `room` free bytes before it in its buffer. */
  take(room = 0): Uint8Array {
    if (room === 0) {
      const bytes = this.copy();
      this.clear();
      return bytes;
    }
    const bytes = new Uint8Array(room + this.#length);
    bytes.set(this.view(), room);
    this.clear();
    return bytes.subarray(room);
  }

  #reserve(count: number): void {
    if (this.#length + count > this.#bytes.length) this.#grow(count);
  }

  #grow(count: number): void {
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** Room for the codes of short texts, by length: used again and again. */
const SHORT: readonly number[][] = Array.from({ length: 33 }, (_, length) =>
  new Array<number>(length).fill(0),
);

/** Reads within bounds and never throws: after a read beyond the end, `failed` is true and all reads give zero. */
export class ByteReader {
  readonly bytes: Uint8Array;
  end: number;
  at: number;
  failed = false;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Reads another part of the same bytes from now on. */
  moveTo(at: number, end: number): void {
    this.at = at;
    this.end = end;
    this.failed = false;
  }

  get remaining(): number {
    return this.end - this.at;
  }

  get done(): boolean {
    return !this.failed && this.at === this.end;
  }

  byte(): number {
    if (this.at >= this.end) return this.fail();
    return this.bytes[this.at++] as number;
  }

  /** Fails beyond 2^53 - 1. */
  varuint(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      if (this.at >= this.end) return this.fail();
      const byte = this.bytes[this.at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return Number.isSafeInteger(value) ? value : this.fail();
      scale *= 128;
    }
    return this.fail();
  }

  uint56(): number {
    const { bytes, at } = this;
    if (at + 7 > this.end) return this.fail();
    this.at = at + 7;
    const high = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
    const low =
      ((bytes[at + 3] as number) << 24) |
      ((bytes[at + 4] as number) << 16) |
      ((bytes[at + 5] as number) << 8) |
      (bytes[at + 6] as number);
    const value = high * 2 ** 32 + (low >>> 0);
    return Number.isSafeInteger(value) ? value : this.fail();
  }

  uint32(): number {
    if (this.at + 4 > this.end) return this.fail();
    let value = 0;
    for (let count = 0; count < 4; count++) value = value * 256 + (this.bytes[this.at++] as number);
    return value;
  }

  /** A view. */
  raw(length: number): Uint8Array {
    if (length > this.end - this.at) {
      this.fail();
      return new Uint8Array(0);
    }
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  sized(): Uint8Array {
    return this.raw(this.varuint());
  }

  /** Fails where the bytes are not UTF-8 or more than `maxBytes`. */
  text(maxBytes: number): string {
    const length = this.varuint();
    const from = this.at;
    if (length > maxBytes || length > this.end - from) {
      this.fail();
      return '';
    }
    this.at = from + length;
    if (length < SHORT.length) {
      const codes = SHORT[length] as number[];
      let index = 0;
      for (; index < length; index++) {
        const byte = this.bytes[from + index] as number;
        if (byte > 0x7f) break;
        codes[index] = byte;
      }
      if (index === length) return String.fromCharCode.apply(undefined, codes);
    }
    const text = decodeUtf8(this.bytes.subarray(from, from + length));
    if (text === undefined) this.fail();
    return text ?? '';
  }

  skip(length: number): void {
    if (length > this.end - this.at) this.fail();
    else this.at += length;
  }

  fail(): number {
    this.failed = true;
    this.at = this.end;
    return 0;
  }
}

export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
