/**
 * Memory of large buffers, given back as soon as it is spent.
 *
 * Intuition: what passes through a large repair is ciphertext and packets of 64 KiB that live for a moment. Left to the
 * collector, each stands in memory that was never touched before, which costs more than filling it, and all of them count
 * until a collection of everything frees them. Given back, the next one stands in the same memory.
 *
 * Limits: whoever still looks into such a buffer finds it empty; so only who made it, or who alone was given it, may
 * say that it is spent.
 */

/** Smaller ones cost more to give back than to collect. */
const WORTH_BYTES = 4_096;

type Transferable = ArrayBuffer & { transfer(bytes: number): ArrayBuffer };

/** Nobody needs these bytes any more. Does nothing where they are but a part of their memory. */
export function giveBack(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (bytes.byteLength < WORTH_BYTES || bytes.byteLength !== buffer.byteLength) return;
  if (buffer instanceof ArrayBuffer) (buffer as Transferable).transfer(0);
}
