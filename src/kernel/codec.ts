/**
 * Bytes on the wire and on disk: msgpack through msgpackr, with bounds. `decode` never throws and never gives
 * prototypes of the sender's making: anything malformed, trailing or oversized is `undefined`.
 */
import { Packr } from 'msgpackr';
import { limits } from './limits.ts';

export { fromBase64Url, fromHex, fromUtf8, toBase64Url, toHex, utf8 } from './text.ts';

const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number', moreTypes: false });

export function encode(value: unknown): Uint8Array {
  return packr.pack(value);
}

/** The value, or `undefined` where the bytes are no single well-formed value within `limits.message…`. */
export function decode(bytes: Uint8Array): unknown {
  try {
    const value: unknown = packr.unpack(bytes);
    return isWithinBounds(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

function isWithinBounds(root: unknown): boolean {
  let elements = 0;
  const visit = (value: unknown, depth: number): boolean => {
    if (++elements > limits.messageElements || depth > limits.messageDepth) return false;
    if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return true;
    if (Array.isArray(value)) return value.every((item) => visit(item, depth + 1));
    if (Object.getPrototypeOf(value) !== Object.prototype) return false;
    return Object.entries(value).every(([key, item]) => !FORBIDDEN_KEYS.has(key) && visit(item, depth + 1));
  };
  return visit(root, 0);
}

export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let at = 0; at < left.length; at++) if (left[at] !== right[at]) return false;
  return true;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
