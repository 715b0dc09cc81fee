/**
 * JSON as bytes, looked at before it is parsed. A parser builds whatever it is told to: a megabyte of brackets
 * is a million nested arrays and over half a second of blocking. One linear scan refuses that first.
 */
import { fromUtf8 } from './codec.ts';

export type JsonTextProblem = 'invalid-utf8' | 'too-deep' | 'too-many-elements';

interface JsonTextLimits {
  readonly depth: number;
  readonly elements: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Why these bytes must not be parsed, or `undefined`. Says nothing of whether they are well-formed JSON. */
export function jsonTextProblem(bytes: Uint8Array, limits: JsonTextLimits): JsonTextProblem | undefined {
  let depth = 0;
  let elements = 1;
  let inString = false;
  let ascii = true;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte > 0x7f) ascii = false;
    if (inString) {
      if (byte === BACKSLASH) {
        if ((bytes[++at] ?? 0) > 0x7f) ascii = false;
      } else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) {
      inString = true;
    } else if (byte === COMMA) {
      if (++elements > limits.elements) return 'too-many-elements';
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (++depth > limits.depth) return 'too-deep';
      if (++elements > limits.elements) return 'too-many-elements';
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth--;
    }
  }
  return ascii || fromUtf8(bytes) !== undefined ? undefined : 'invalid-utf8';
}
