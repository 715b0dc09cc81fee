import { randomBytes } from 'node:crypto';
import type { Entropy } from '../../kernel/ports.ts';

/** The operating system's generator. */
export function nodeEntropy(): Entropy {
  return { bytes: (length) => new Uint8Array(randomBytes(length)) };
}
