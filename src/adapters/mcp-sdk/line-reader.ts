/**
 * Newline-delimited messages out of a byte stream. A line over the bound is never kept: of it only the beginning
 * and the end are, from which the id of the request can mostly be read, so that its sender gets an answer.
 */
import type { RequestId } from './messages.ts';

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const GLIMPSE_BYTES = 256;

interface LineSink {
  line(bytes: Buffer): void;
  oversized(id: RequestId | null, bytes: number): void;
}

export class LineReader {
  readonly #maxBytes: number;
  readonly #sink: LineSink;
  #parts: Buffer[] = [];
  #bytes = 0;
  #head: Buffer | undefined;
  #tail: Buffer = Buffer.alloc(0);

  constructor(maxBytes: number, sink: LineSink) {
    this.#maxBytes = maxBytes;
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      this.#add(chunk.subarray(from, at));
      this.#finish();
      from = at + 1;
    }
    if (from < chunk.length) this.#add(chunk.subarray(from));
  }

  #add(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#head === undefined && this.#bytes <= this.#maxBytes) {
      this.#parts.push(part);
      return;
    }
    if (this.#head === undefined) {
      const kept = Buffer.concat([...this.#parts, part.subarray(0, GLIMPSE_BYTES)]);
      this.#head = Buffer.from(kept.subarray(0, GLIMPSE_BYTES));
      this.#parts = [];
    }
    const end = Buffer.concat([this.#tail, part.subarray(-GLIMPSE_BYTES)]);
    this.#tail = Buffer.from(end.subarray(-GLIMPSE_BYTES));
  }

  #finish(): void {
    const { 0: only, length } = this.#parts;
    const bytes = this.#bytes;
    const head = this.#head;
    const tail = this.#tail;
    const whole = length === 1 && only !== undefined ? only : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    this.#head = undefined;
    this.#tail = Buffer.alloc(0);
    if (head !== undefined) {
      this.#sink.oversized(glimpsedId(head, tail), bytes);
      return;
    }
    const line = whole.at(-1) === CARRIAGE_RETURN ? whole.subarray(0, -1) : whole;
    if (line.length > 0) this.#sink.line(line);
  }
}

/** The id of a request in a line that must not be parsed. */
export function glimpseId(line: Buffer): RequestId | null {
  return glimpsedId(line.subarray(0, GLIMPSE_BYTES), line.subarray(-GLIMPSE_BYTES));
}

/** Serializers put the id first or last; a value that looks like an id in the middle is out of sight. */
function glimpsedId(head: Buffer, tail: Buffer): RequestId | null {
  const first = /^\s*\{(?:"jsonrpc":"2\.0",)?\s*"id":(\d+|"[^"\\]{1,128}")/.exec(head.toString('latin1'));
  const last = /"id":(\d+|"[^"\\]{1,128}")(?:,"jsonrpc":"2\.0")?\}\s*$/.exec(tail.toString('latin1'));
  const text = (first ?? last)?.[1];
  if (text === undefined) return null;
  const id: unknown = JSON.parse(text);
  return typeof id === 'string' || Number.isSafeInteger(id) ? (id as RequestId) : null;
}
