/**
 * A frame that goes to a neighbour anyway, with another one on board: what can wait for it costs no message of its own.
 *
 * Layout: frames of the channel `mesh` are msgpack arrays of up to six elements, of which further ones are passed over; the
 * cargo is the seventh. So a node that knows nothing of cargo takes the frame as it was meant.
 */
import { decode } from '../kernel/codec.ts';
import type { Send } from '../kernel/effects.ts';
import type { NodeId } from '../kernel/ids.ts';

/** Its place among the elements, and msgpack's bytes for what stands before it. */
const PLACE = 6;
const ARRAY = 0x90;
const NIL = 0xc0;
const BINARY = 0xc6;
/** Of a binary: its mark and a length of 32 bits. */
const BINARY_HEADER_BYTES = 5;

/** The effects, in which what goes to a neighbour on the channel `mesh` takes along what `cargoFor` has for it. */
export function withCargo<Effect extends { readonly kind: string }>(
  effects: readonly (Effect | Send)[],
  cargoFor: (peer: NodeId) => Uint8Array | undefined,
): readonly (Effect | Send)[] {
  const out: (Effect | Send)[] = [];
  for (const effect of effects) {
    if (isCarrier(effect)) out.push(...loadedFor(effect, cargoFor));
    else out.push(effect);
  }
  return out;
}

function isCarrier(effect: { readonly kind: string }): effect is Send {
  return effect.kind === 'send' && (effect as Send).channel === 'mesh';
}

/** The same frame for all its receivers, and each one's cargo. */
function loadedFor(send: Send, cargoFor: (peer: NodeId) => Uint8Array | undefined): readonly Send[] {
  const sends: Send[] = [];
  const plain: NodeId[] = [];
  for (const peer of send.to) {
    const cargo = cargoFor(peer);
    if (cargo === undefined) plain.push(peer);
    else sends.push({ ...send, to: [peer], bytes: loaded(send.bytes, cargo) });
  }
  if (sends.length === 0) return [send];
  return plain.length === 0 ? sends : [...sends, { ...send, to: plain }];
}

/** `carrier`: a msgpack array of at most six elements. */
export function loaded(carrier: Uint8Array, cargo: Uint8Array): Uint8Array {
  const missing = PLACE - ((carrier[0] ?? ARRAY) - ARRAY);
  const at = carrier.length + missing;
  const bytes = new Uint8Array(at + BINARY_HEADER_BYTES + cargo.length);
  bytes.set(carrier);
  bytes[0] = ARRAY + PLACE + 1;
  bytes.fill(NIL, carrier.length, at);
  bytes[at] = BINARY;
  new DataView(bytes.buffer).setUint32(at + 1, cargo.length);
  bytes.set(cargo, at + BINARY_HEADER_BYTES);
  return bytes;
}

/** What the frame has on board; `undefined` where that is nothing, or makes no sense. */
export function cargoOf(frame: Uint8Array): Uint8Array | undefined {
  const count = (frame[0] ?? 0) - ARRAY;
  if (count <= PLACE || count > 15) return undefined;
  const fields = decode(frame);
  const cargo: unknown = Array.isArray(fields) ? fields[PLACE] : undefined;
  return cargo instanceof Uint8Array ? cargo : undefined;
}
