/** S52: members that send well-formed frames without end are heard as fast as they may be, and keep nobody from others. */
import { describe, expect, it } from 'vitest';
import { encode } from '../../src/kernel/codec.ts';
import { limits } from '../../src/kernel/limits.ts';
import { Budget } from '../../src/replication/budget.ts';
import { encodeFrame, type Frame } from '../../src/replication/frames.ts';
import { Mesh } from './mesh.ts';
import { at } from './network.ts';

const FLOODER = 1;
const HONEST = 2;

/** Node 0 hears a flooder and an honest neighbour, which are not linked to each other. */
function star(): Mesh {
  const mesh = new Mesh(3, 1);
  mesh.link(0, FLOODER);
  mesh.link(0, HONEST);
  mesh.run(5_000);
  return mesh;
}

function say(mesh: Mesh, frame: Frame): void {
  mesh.tell(mesh.id(0), { kind: 'received', from: mesh.id(FLOODER), bytes: encodeFrame(frame) });
}

const items = (count: number) => Array.from({ length: count }, (_, item) => `${item}`);

describe('S52 a budget for the work of a neighbour', () => {
  it('is overdrawn by one frame at most, then paused until a quarter is there again, and strained until it is full', () => {
    const budget = new Budget(at(0));
    expect(budget.charge(limits.neighbourWorkBurst - 1, at(0))).toBe(false);
    expect(budget.isPaused(at(0))).toBe(false);
    expect(budget.charge(1, at(0))).toBe(true);
    const quarterMs = (limits.neighbourWorkBurst / 4 / limits.neighbourWork) * 1_000;
    expect(budget.pausedUntilMs).toBe(quarterMs);
    expect(budget.isPaused(at(quarterMs - 1))).toBe(true);
    expect(budget.isPaused(at(quarterMs))).toBe(false);
    expect(budget.isStrained(at(quarterMs))).toBe(true);
    expect(budget.isStrained(at(4 * quarterMs))).toBe(false);
  });

  it('pushes for ten seconds cost ten seconds of budget, nobody is blamed, and the honest are heard at once', () => {
    const mesh = star();
    const lattice = mesh.lattice(0);
    // The same again and again: known, and therefore free to say for who says it.
    const delta = encode([[mesh.id(FLOODER), 0, items(1_000)]]);
    for (let ms = 0; ms < 10_000; ms += 10) {
      for (let frame = 0; frame < 20; frame++) say(mesh, { kind: 'push', delta });
      if (ms % 1_000 === 500) {
        mesh.write(HONEST, `${ms}`);
        expect(mesh.run(2, () => lattice.lists.get(mesh.id(HONEST))?.at(-1) === `${ms}`)).toBe(true);
      }
      mesh.run(10);
    }
    expect(lattice.work).toBeGreaterThan(5 * limits.neighbourWork);
    expect(lattice.work).toBeLessThan(10 * limits.neighbourWork + 2 * limits.neighbourWorkBurst);
    expect(mesh.count('penalise')).toBe(0);
    const marks = mesh.effects.filter(
      ({ effect }) => 'name' in effect && effect.name === 'replication.overBudget',
    );
    expect(marks.length).toBeGreaterThan(5);
    expect(marks.length).toBeLessThan(30);
  });

  it('what was dropped of a flood is pulled once it may be, as fast as the budget lets it', () => {
    const mesh = star();
    for (let page = 0; page < 400; page++) mesh.write(FLOODER, ...items(1_000));
    mesh.write(FLOODER, 'last');
    for (let page = 0; page < 400; page++) mesh.run(1);
    const isThere = () => mesh.lattice(0).lists.get(mesh.id(FLOODER))?.at(-1) === 'last';
    expect(mesh.run(20_000, isThere)).toBe(true);
    mesh.write(HONEST, 'still here');
    expect(mesh.run(2, () => mesh.lattice(0).lists.has(mesh.id(HONEST)))).toBe(true);
    expect(mesh.count('penalise')).toBe(0);
  });

  it('answers that nobody asked for are charged too', () => {
    const mesh = star();
    const root = new Uint8Array(16);
    const delta = encode([[mesh.id(FLOODER), 0, items(1_000)]]);
    for (let ms = 0; ms < 2_000; ms += 10) {
      for (let frame = 0; frame < 20; frame++)
        say(mesh, { kind: 'delta', request: 77, more: true, follows: true, root, delta });
      mesh.run(10);
    }
    expect(mesh.lattice(0).work).toBeLessThan(2 * limits.neighbourWork + 2 * limits.neighbourWorkBurst);
  });

  it('digests that ask for much are answered later, the last of them, and others are served meanwhile', () => {
    const mesh = star();
    const endless = () => ({ bytes: encode([]), more: true, next: endless });
    mesh.lattice(0).delta = endless;
    const before = mesh.sent.length;
    const digest = encode({});
    for (let ms = 0; ms < 4_000; ms += 10) {
      say(mesh, { kind: 'digest', request: ms, frames: limits.repairFrames, digest });
      mesh.run(10);
    }
    const given = mesh.sent
      .slice(before)
      .filter(({ to, bytes }) => to === mesh.id(FLOODER) && bytes[0] === 4).length;
    expect(given).toBeLessThan((4 * limits.neighbourWork + 2 * limits.neighbourWorkBurst) / 128);
    expect(given).toBeGreaterThan(100);
    expect(mesh.count('penalise')).toBe(0);
    const honest = { kind: 'digest', request: 1, frames: 1, digest } as const;
    mesh.tell(mesh.id(0), { kind: 'received', from: mesh.id(HONEST), bytes: encodeFrame(honest) });
    expect(mesh.sent.at(-1)?.to).toBe(mesh.id(HONEST));
  });
});
