/**
 * Awareness (who is here, where is the cursor) among the clients of one document, as `y-protocols` encodes it:
 * a count, then for each client its id, a clock and its state as JSON text; `null` is absence.
 *
 * States beyond the bounds of their connection, or of the room, are passed over: presence is a courtesy.
 */
import * as decoding from 'lib0/decoding';
import * as encoding from 'lib0/encoding';
import { limits } from '../../kernel/limits.ts';

interface Presence {
  clock: number;
  state: string;
  owner: object;
}

type Deliver = (update: Uint8Array) => void;

export class AwarenessRoom {
  /** With the bytes of the states that each has said. */
  readonly #members = new Map<object, { readonly deliver: Deliver; bytes: number }>();
  #bytes = 0;
  readonly #present = new Map<number, Presence>();

  get isEmpty(): boolean {
    return this.#members.size === 0;
  }

  /** `member` stands for a connection; the returned function takes it, and all that it announced, away. */
  join(member: object, deliver: Deliver): () => void {
    this.#members.set(member, { deliver, bytes: 0 });
    return () => this.#leave(member);
  }

  /** Everyone present, as an update; `undefined` where nobody is. */
  everyone(): Uint8Array | undefined {
    return this.#present.size === 0 ? undefined : encodePresence([...this.#present]);
  }

  /** Keeps what is newer and passes it on. Throws on what cannot be decoded. */
  receive(member: object, update: Uint8Array): void {
    if (update.length > limits.awarenessBytes) throw new Error('An awareness update is too large.');
    const decoder = decoding.createDecoder(update);
    const count = decoding.readVarUint(decoder);
    const news: [number, Presence][] = [];
    for (let at = 0; at < count; at++) {
      const client = decoding.readVarUint(decoder);
      const clock = decoding.readVarUint(decoder);
      const state = decoding.readVarString(decoder);
      const known = this.#present.get(client);
      if (known !== undefined && known.owner !== member && known.clock >= clock) continue;
      if (known === undefined && (state === 'null' || this.#present.size >= limits.awarenessClients))
        continue;
      const presence = { clock, state, owner: member };
      if (!this.#hasRoom(member, state.length, known)) continue;
      this.#count(known, -1);
      if (state === 'null') {
        this.#present.delete(client);
      } else {
        this.#present.set(client, presence);
        this.#count(presence, 1);
      }
      news.push([client, presence]);
    }
    this.#tell(news, member);
  }

  #hasRoom(member: object, length: number, known: Presence | undefined): boolean {
    const before = known?.state.length ?? 0;
    const own = (this.#members.get(member)?.bytes ?? 0) - (known?.owner === member ? before : 0);
    return (
      own + length <= limits.awarenessBytes && this.#bytes - before + length <= limits.awarenessRoomBytes
    );
  }

  #count(presence: Presence | undefined, sign: 1 | -1): void {
    if (presence === undefined) return;
    const bytes = sign * presence.state.length;
    this.#bytes += bytes;
    const member = this.#members.get(presence.owner);
    if (member !== undefined) member.bytes += bytes;
  }

  #leave(member: object): void {
    this.#members.delete(member);
    const gone: [number, Presence][] = [];
    for (const [client, presence] of this.#present) {
      if (presence.owner !== member) continue;
      this.#present.delete(client);
      this.#count(presence, -1);
      gone.push([client, { ...presence, clock: presence.clock + 1, state: 'null' }]);
    }
    this.#tell(gone, member);
  }

  #tell(news: readonly [number, Presence][], except: object): void {
    if (news.length === 0) return;
    const update = encodePresence(news);
    for (const [member, { deliver }] of this.#members) if (member !== except) deliver(update);
  }
}

/** The client that an update speaks of, where it is only one. Throws on what cannot be decoded. */
export function onlyClientOf(update: Uint8Array): number | undefined {
  const decoder = decoding.createDecoder(update);
  return decoding.readVarUint(decoder) === 1 ? decoding.readVarUint(decoder) : undefined;
}

function encodePresence(entries: readonly [number, Presence][]): Uint8Array {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, entries.length);
  for (const [client, { clock, state }] of entries) {
    encoding.writeVarUint(encoder, client);
    encoding.writeVarUint(encoder, clock);
    encoding.writeVarString(encoder, state);
  }
  return encoding.toUint8Array(encoder);
}
