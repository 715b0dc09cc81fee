/**
 * Bytes on the wire and on disk: msgpack through msgpackr, with bounds. `decode` never throws and never gives
 * prototypes of the sender's making: anything malformed, trailing or oversized is `undefined`.
 */
import { Packr } from 'msgpackr';
import { limits } from './limits.ts';

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

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** The bytes, or `undefined` where the text is not pairs of hexadecimal digits. */
export function fromHex(text: string): Uint8Array | undefined {
  if (!/^(?:[0-9a-f]{2})*$/i.test(text)) return undefined;
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true });

export function utf8(text: string): Uint8Array {
  return utf8Encoder.encode(text);
}

/** The text, or `undefined` where the bytes are not valid UTF-8. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    return undefined;
  }
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

/** URL-safe base64 without padding (RFC 4648, section 5). */
export function toBase64Url(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** The bytes, or `undefined` where the text is not URL-safe base64. */
export function fromBase64Url(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return undefined;
  try {
    return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) =>
      char.charCodeAt(0),
    );
  } catch {
    return undefined;
  }
}
