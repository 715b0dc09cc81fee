/** Rows of budgets in the frames by which a node says that it lives: as the node's core composes them. */
import { describe, expect, it } from 'vitest';
import { cargoOf } from '../../src/replication/cargo.ts';
import { CoreNode, Line, swarmNumber } from './cores.ts';

const swarm = swarmNumber(1);

function lineOf(size: number): Line {
  return new Line(...Array.from({ length: size }, (_, index) => new CoreNode(index + 1, swarm)));
}

const rowsAt = (node: CoreNode) => node.core.records.ofKind('budget').length;

describe('rows of budgets between nodes', () => {
  it('ride along with heartbeats and probes, and make neither frames of their own nor more of these', () => {
    const plain = lineOf(5);
    const line = lineOf(5);
    const [first] = line.nodes as readonly [CoreNode];
    const before = line.frames.length;
    first.core.records.publish('budget', 'team/1/all/7', { spent: 1 }, first.now());
    line.pass(4_000);
    plain.pass(4_000);
    expect(line.nodes.map(rowsAt)).toEqual([1, 1, 1, 1, 1]);
    const frames = line.frames.slice(before);
    const loaded = frames.filter(({ bytes }) => cargoOf(bytes) !== undefined);
    expect(new Set(loaded.map(({ channel }) => channel))).toEqual(new Set(['mesh']));
    // Each of the four hears it at least once, of three neighbours of theirs at most.
    expect(loaded.length).toBeGreaterThanOrEqual(4);
    expect(loaded.length).toBeLessThanOrEqual(4 + 4 * 3);
    const channels = (of: Line) =>
      of.frames
        .slice(before)
        .map(({ channel }) => channel)
        .sort();
    expect(channels(line)).toEqual(channels(plain));
  });

  it('go along with the last word of a node that leaves', () => {
    const line = lineOf(3);
    const [first, second, third] = line.nodes as readonly [CoreNode, CoreNode, CoreNode];
    first.core.records.publish('budget', 'team/1/all/7', { spent: 1 }, first.now());
    line.carry(first, first.core.leave(first.now()));
    expect([second, third].map(rowsAt)).toEqual([1, 1]);
  });
});
