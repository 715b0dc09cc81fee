/** Presence in one document: what a room keeps and passes on. */
import * as encoding from 'lib0/encoding';
import { describe, expect, it } from 'vitest';
import { AwarenessRoom } from '../../../src/adapters/http/awareness.ts';
import { limits } from '../../../src/kernel/limits.ts';

function update(
  ...entries: readonly (readonly [client: number, clock: number, state: string])[]
): Uint8Array {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, entries.length);
  for (const [client, clock, state] of entries) {
    encoding.writeVarUint(encoder, client);
    encoding.writeVarUint(encoder, clock);
    encoding.writeVarString(encoder, state);
  }
  return encoding.toUint8Array(encoder);
}

const large = JSON.stringify('x'.repeat(limits.awarenessBytes - 100));

describe('awareness rooms', () => {
  it('a flood of states of one connection keeps no more than one update may hold', () => {
    const room = new AwarenessRoom();
    const flooder = {};
    let passed = 0;
    room.join(flooder, () => {});
    room.join({}, () => passed++);
    for (let client = 0; client < 500; client++) room.receive(flooder, update([client, 1, large]));
    expect(room.everyone()?.length).toBeLessThan(2 * limits.awarenessBytes);
    expect(passed).toBe(1);
    room.receive(flooder, update([0, 2, '{"small":true}']));
    room.receive(flooder, update([1, 1, '{"second":true}']));
    expect(new TextDecoder().decode(room.everyone())).toMatch(/small.*second/);
  });

  it('many connections together keep no more than a room may, and room is made as they leave', () => {
    const room = new AwarenessRoom();
    const members = Array.from({ length: 100 }, () => ({}));
    const leave = members.map((member) => room.join(member, () => {}));
    for (const [client, member] of members.entries()) room.receive(member, update([client, 1, large]));
    expect(room.everyone()?.length).toBeLessThan(limits.awarenessRoomBytes + 1_024);
    for (const end of leave.slice(0, -1)) end();
    const last = members.at(-1) as object;
    room.receive(last, update([1_000, 1, '{"here":true}']));
    expect(new TextDecoder().decode(room.everyone())).toMatch(/here/);
    leave.at(-1)?.();
    expect([room.everyone(), room.isEmpty]).toEqual([undefined, true]);
  });

  it('a state that is taken over from another connection counts for the one that says it', () => {
    const room = new AwarenessRoom();
    const [one, two] = [{}, {}];
    room.join(one, () => {});
    const leave = room.join(two, () => {});
    room.receive(one, update([5, 1, large]));
    room.receive(two, update([5, 2, large]));
    room.receive(one, update([6, 1, large]));
    room.receive(one, update([6, 2, 'null']));
    leave();
    expect(room.everyone()).toBeUndefined();
  });
});
