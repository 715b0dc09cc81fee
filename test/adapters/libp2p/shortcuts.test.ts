import { afterEach, describe, expect, it } from 'vitest';
import type { NodeId } from '../../../src/kernel/ids.ts';
import type { Wire, WireEvent } from '../../../src/kernel/ports.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import { end, TCP, until, WEBSOCKET } from './support.ts';

interface Side {
  readonly wire: Wire;
  readonly nodeId: NodeId;
  readonly frames: Uint8Array[];
  /** The same, as they were handed over. */
  readonly kept: Uint8Array[];
  readonly peers: Set<NodeId>;
  lost: number;
}

const open: Side[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map(({ wire }) => wire.close()));
});

async function side(number: number, listen: string): Promise<Side> {
  const made: Side = { ...end(number, [listen]), frames: [], kept: [], peers: new Set(), lost: 0 };
  open.push(made);
  await made.wire.listen((event: WireEvent) => {
    if (event.kind === 'connected') {
      made.peers.add(event.peer);
      made.wire.admit(event.peer);
    } else if (event.kind === 'dropped') made.lost += event.frames;
    else if (event.kind === 'frame' && event.channel === 'board') {
      made.frames.push(event.bytes.slice());
      made.kept.push(event.bytes);
    }
  });
  return made;
}

/** One sender, linked with so many receivers. */
async function star(listen: string, receivers: number): Promise<{ from: Side; to: readonly Side[] }> {
  const from = await side(1, listen);
  const to: Side[] = [];
  for (let index = 0; index < receivers; index++) {
    const receiver = await side(index + 2, listen);
    to.push(receiver);
    from.wire.dial(receiver.wire.addresses()[0] as string);
    await until(() => from.peers.has(receiver.nodeId) && receiver.peers.has(from.nodeId), 'a link');
  }
  return { from, to };
}

describe.each([
  ['TCP', TCP],
  ['WebSocket', WEBSOCKET],
])('the short way over %s', (_name, listen) => {
  it('carries frames of any size to three peers at once, unchanged and in order, whatever is queued on the way', async () => {
    const { from, to } = await star(listen, 3);
    const rng = seededRng(20);
    const sent: Uint8Array[] = [];
    for (let turn = 0; turn < 60; turn++) {
      // Now and then more than a window, a cipher's frame or a socket's buffer can hold.
      const most = [40, 600, 70_000, 300_000][rng.below(4)] as number;
      for (let count = rng.below(5); count >= 0; count--) {
        const bytes = new Uint8Array(1 + rng.below(most)).fill(sent.length);
        sent.push(bytes);
        for (const { nodeId } of to) from.wire.send(nodeId, 'board', bytes);
      }
      if (turn % 10 === 9)
        await until(() => to.every(({ frames }) => frames.length === sent.length), 'all so far');
      else await new Promise((resolve) => setImmediate(resolve));
    }
    expect(from.lost).toBe(0);
    for (const { frames } of to) {
      expect(frames.map((frame) => frame.length)).toEqual(sent.map((frame) => frame.length));
      for (const [index, frame] of frames.entries())
        expect(Buffer.compare(frame, sent[index] as Uint8Array)).toBe(0);
    }
  });
});

describe('frames that their receiver keeps', () => {
  it.each([
    ['TCP', TCP],
    ['WebSocket', WEBSOCKET],
  ])('stay as they came, whatever comes after them, over %s', async (_name, listen) => {
    const { from, to } = await star(listen, 1);
    const [receiver] = to as [Side];
    const rng = seededRng(21);
    const sent: number[] = [];
    for (let turn = 0; turn < 80; turn++) {
      const most = [60, 500, 3_000, 40_000, 140_000][rng.below(5)] as number;
      for (let count = rng.below(4); count >= 0; count--) {
        const length = 1 + rng.below(most);
        from.wire.send(receiver.nodeId, 'board', new Uint8Array(length).fill(sent.length));
        sent.push(length);
      }
      if (turn % 8 === 7) await until(() => receiver.kept.length === sent.length, 'all so far');
      else await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => receiver.kept.length === sent.length, 'all of them');
    for (const [index, frame] of receiver.kept.entries()) {
      const expected = new Uint8Array(sent[index] as number).fill(index);
      expect(Buffer.compare(frame, expected)).toBe(0);
    }
  });
});

describe('a full stream', () => {
  it('is not filled further by each sign of space: of many times 64 MiB every frame arrives or is told lost', async () => {
    for (let round = 0; round < 12; round++) {
      const { from, to } = await star(TCP, 1);
      const [receiver] = to as [Side];
      const bytes = new Uint8Array(1024 * 1024).fill(round);
      for (let count = 0; count < 64; count++) from.wire.send(receiver.nodeId, 'board', bytes);
      await until(() => receiver.frames.length + from.lost === 64, `all of round ${round} are accounted for`);
      await Promise.all(open.splice(0).map(({ wire }) => wire.close()));
    }
  }, 60_000);
});
