/**
 * A running hash over everything that happens: two runs of one seed that differ anywhere differ in it. Also keeps the
 * last happenings as text, for whoever has to explain a failing seed.
 */
export class Trace {
  readonly #kept: string[] = [];
  readonly #keep: number;
  #low = 0x811c9dc5;
  #high = 0x2545f491;
  #count = 0;

  /** `keep`: how many of the last notes are kept as text. */
  constructor(keep = 0) {
    this.#keep = keep;
  }

  /** Happenings noted so far. */
  get count(): number {
    return this.#count;
  }

  /** Takes in one happening: what it is called, and any plain data. */
  note(nowMs: number, name: string, data?: unknown): void {
    this.#count += 1;
    this.#number(nowMs);
    this.#text(name);
    this.#value(data, 0);
    if (this.#keep === 0) return;
    this.#kept.push(`${nowMs.toFixed(3)} ${name} ${describe(data)}`);
    if (this.#kept.length > 2 * this.#keep) this.#kept.splice(0, this.#kept.length - this.#keep);
  }

  /** 16 hexadecimal digits. */
  hash(): string {
    return (this.#high >>> 0).toString(16).padStart(8, '0') + (this.#low >>> 0).toString(16).padStart(8, '0');
  }

  last(count: number = this.#keep): readonly string[] {
    return this.#kept.slice(-count);
  }

  #mix(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#low ^= this.#low >>> 15;
    this.#high = (Math.imul(this.#high, 0x9e3779b1) + this.#low) | 0;
    this.#high ^= this.#high >>> 13;
  }

  #number(value: number): void {
    if (Number.isInteger(value)) {
      this.#mix(value | 0);
      this.#mix(Math.floor(value / 2 ** 32) | 0);
    } else {
      scratch.setFloat64(0, value);
      this.#mix(scratch.getInt32(0));
      this.#mix(scratch.getInt32(4));
    }
  }

  #text(text: string): void {
    this.#mix(text.length);
    for (let at = 0; at < text.length; at++) this.#mix(text.charCodeAt(at));
  }

  #bytes(bytes: Uint8Array): void {
    this.#mix(bytes.length);
    const words = bytes.length >> 2;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let word = 0; word < words; word++) this.#mix(view.getInt32(word * 4));
    for (let at = words * 4; at < bytes.length; at++) this.#mix(bytes[at] as number);
  }

  #value(value: unknown, depth: number): void {
    if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.#text(value);
    else if (value instanceof Uint8Array) this.#bytes(value);
    else if (typeof value === 'boolean') this.#mix(value ? 3 : 5);
    else if (value === null || typeof value !== 'object') this.#mix(7);
    else if (depth > 40) this.#mix(11);
    else this.#fields(value, depth);
  }

  #fields(value: object, depth: number): void {
    const iterable = Array.isArray(value) || value instanceof Map || value instanceof Set;
    for (const [key, item] of iterable ? [...value].entries() : Object.entries(value)) {
      if (typeof key === 'string') this.#text(key);
      else this.#mix(key);
      this.#value(item, depth + 1);
    }
    this.#mix(13);
  }
}

const scratch = new DataView(new ArrayBuffer(8));
const SHOWN = 400;

function describe(data: unknown): string {
  if (data === undefined) return '';
  const text = JSON.stringify(data, (_key, value: unknown) =>
    value instanceof Uint8Array ? `<${value.length} bytes>` : value,
  );
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
