import { libp2pWire } from '../../../src/adapters/libp2p/wire.ts';
import { signerFromSeed } from '../../../src/adapters/node/cryptography.ts';
import { nodeIdFromPublicKey } from '../../../src/mesh/identity/peer-id.ts';
import type { WireEnd, WirePair } from '../../contracts/wire.contract.ts';

export const TCP = '/ip4/127.0.0.1/tcp/0';
export const WEBSOCKET = '/ip4/127.0.0.1/tcp/0/ws';

export function seedOf(number: number): Uint8Array {
  return new Uint8Array(32).fill(number);
}

export function end(number: number, listen: readonly string[] = [TCP]): WireEnd {
  const seed = seedOf(number);
  return { wire: libp2pWire({ listen, seed }), nodeId: nodeIdFromPublicKey(signerFromSeed(seed).publicKey) };
}

/** Waits for the condition, or fails after a few seconds. */
export async function until(condition: () => boolean, what: string, deadlineMs = 8_000): Promise<void> {
  const endMs = Date.now() + deadlineMs;
  while (!condition()) {
    if (Date.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export async function pairOver(listen: string): Promise<WirePair> {
  const left = end(1, [listen]);
  const right = end(2, [listen]);
  const suffix = listen.endsWith('/ws') ? '/ws' : '';
  return {
    left,
    right,
    // The discard port: nothing listens on it here, and the refusal comes at once.
    deadAddress: `/ip4/127.0.0.1/tcp/9${suffix}`,
    until,
    dispose: async () => {
      await Promise.all([left.wire.close(), right.wire.close()]);
    },
  };
}
