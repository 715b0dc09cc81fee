/** What readers see of a key, against a naive twin; and that no sequence of items makes it slow. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ItemKind, KIND, readEntryHead, writeEntry } from '../../src/blackboard/entry.ts';
import { compareItems, type Item, Lane } from '../../src/blackboard/lane.ts';
import { Rivals } from '../../src/blackboard/rivals.ts';
import { View } from '../../src/blackboard/view.ts';
import { ByteReader, ByteWriter } from '../../src/kernel/bytes.ts';
import { cpuMs } from './network.ts';

interface Wanted {
  kind?: ItemKind;
  revision: number;
  value?: string;
  origin?: number;
}

/** A view with lanes to put into it; lanes in `unsettled` make ghosts of what they delete. */
class Scene {
  readonly unsettled = new Set<Lane>();
  readonly told: Item[] = [];
  readonly view = new View({
    settled: (lane) => !this.unsettled.has(lane),
    hidden: (item) => {
      if (item.lane.own) this.told.push(item);
    },
  });

  put(lane: Lane, wanted: Wanted): { readonly item: Item; readonly changed: boolean } {
    const { kind = KIND.set, revision, value = '1', origin = 5 } = wanted;
    const writer = new ByteWriter();
    const text = kind === KIND.delete ? '' : value;
    writeEntry(writer, { kind, revision, key: 'k', author: 'a', origin, value: text });
    const bytes = writer.take();
    const head = readEntryHead(new ByteReader(bytes));
    if (head === undefined) throw new Error('malformed');
    const item = lane.append(head, bytes, 0, bytes.length);
    return { item, changed: this.view.add(item) };
  }

  take(item: Item): boolean {
    const changed = this.view.remove(item);
    item.lane.kill(item);
    return changed;
  }

  /** What a reader sees, by identity and content. */
  get shown(): string[] {
    const state = this.view.get('k');
    if (state === undefined) return [];
    if (!(state instanceof Rivals)) return [nameOf(state)];
    return [...(state.base === undefined ? [] : [state.base]), ...state.items].map(nameOf);
  }
}

function nameOf(item: Item): string {
  const { value } = item.body();
  return `${item.revision} ${item.origin} ${item.kind} ${Buffer.from(value).toString()}`;
}

/** The same, straight from the definition. */
function naively(items: readonly Item[]): string[] {
  const sorted = [...items].sort(compareItems);
  const base = sorted.findLastIndex((item) => item.kind !== KIND.append);
  return [...new Set(sorted.slice(Math.max(0, base)).map(nameOf))];
}

const MANY = 20_000;
/** What a hundred times the work that is needed takes; quadratic work takes minutes. */
const MOST_MS = 10_000;

function timed(work: () => void): number {
  const startMs = cpuMs();
  work();
  return cpuMs() - startMs;
}

describe('view', () => {
  const step = fc.record({
    lane: fc.nat(2),
    kind: fc.constantFrom(KIND.set, KIND.append, KIND.append, KIND.delete),
    revision: fc.integer({ min: 1, max: 6 }),
    origin: fc.integer({ min: 1, max: 2 }),
    value: fc.constantFrom('1', '2'),
    takes: fc.boolean(),
    at: fc.nat(),
  });

  it('shows what the definition says, tells of every change and of nothing else, whatever comes and goes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const scene = new Scene();
        const lanes = [new Lane(1, true), new Lane(2, false), new Lane(3, false)];
        const living: Item[] = [];
        for (const { takes, at, lane, ...wanted } of steps) {
          const before = scene.shown;
          const mayTake = takes && living.length > 0;
          const changed = mayTake
            ? scene.take(living.splice(at % living.length, 1)[0]!)
            : scene.put(lanes[lane]!, wanted).changed;
          if (!mayTake) living.push([...lanes[lane]!.items()].at(-1)!);
          expect(scene.shown).toEqual(naively(living));
          expect(changed).toBe(JSON.stringify(before) !== JSON.stringify(scene.shown));
          const hidden = living.filter((item) => !scene.view.shows(item));
          expect(new Set(scene.view.hiddenItems())).toEqual(new Set(hidden));
          expect(scene.view.hides('k')).toBe(hidden.length > 0);
          for (const item of hidden) if (item.lane.own) expect(scene.told).toContain(item);
          const state = scene.view.get('k');
          if (state instanceof Rivals && at % 2 === 0)
            expect(state.itemBytes).toBe(state.items.reduce((sum, item) => sum + item.length, 0));
          const visible = scene.shown.some((name) => name.split(' ')[2] !== `${KIND.delete}`);
          expect(scene.view.keys).toBe(visible ? 1 : 0);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('S52 one identity again and again, with contents that differ, taken away again: no slower than others', () => {
    const scene = new Scene();
    const lane = new Lane(1, false);
    for (const kind of [KIND.set, KIND.append]) {
      const items: Item[] = [];
      const ms = timed(() => {
        for (let at = 0; at < MANY; at++) {
          items.push(scene.put(lane, { kind, revision: 7, value: `${MANY - at}` }).item);
        }
        for (const item of items) scene.take(item);
      });
      expect(ms).toBeLessThan(MOST_MS);
    }
    expect(scene.shown).toEqual([]);
  });

  it.each([
    ['newest first', (items: Item[]) => items.reverse()],
    ['oldest first', (items: Item[]) => items],
  ])('S52 what was overwritten and kept, deleted %s', (_title, sorted) => {
    const scene = new Scene();
    const lane = new Lane(1, false);
    const items: Item[] = [];
    const ms = timed(() => {
      for (let at = 1; at <= MANY; at++) items.push(scene.put(lane, { revision: at }).item);
      for (const item of sorted(items)) scene.take(item);
    });
    expect(ms).toBeLessThan(MOST_MS);
  });

  it('S52 a log that is appended to backwards', () => {
    const scene = new Scene();
    const lane = new Lane(1, false);
    const ms = timed(() => {
      for (let at = MANY; at > 0; at--) scene.put(lane, { kind: KIND.append, revision: at });
    });
    expect(ms).toBeLessThan(MOST_MS);
    expect(scene.shown.length).toBe(MANY);
  });

  it('S52 a log that is buried and dug out again and again', () => {
    const scene = new Scene();
    const lane = new Lane(1, false);
    for (let at = 1; at <= MANY; at++) scene.put(lane, { kind: KIND.append, revision: at });
    const ms = timed(() => {
      for (let at = 0; at < MANY; at++) scene.take(scene.put(lane, { revision: MANY + 1 }).item);
    });
    expect(ms).toBeLessThan(MOST_MS);
    expect(scene.shown.length).toBe(MANY);
  });

  it('S52 ghosts that nothing lays cost nothing each time that somebody looks', () => {
    const scene = new Scene();
    const lane = new Lane(1, false);
    scene.unsettled.add(lane);
    const items: Item[] = [];
    for (let at = 1; at <= MANY; at++) items.push(scene.put(lane, { kind: KIND.append, revision: at }).item);
    for (const item of items) scene.take(item);
    expect(scene.view.ghostBytes).toBeGreaterThan(MANY * 10);
    const ms = timed(() => {
      for (let at = 0; at < MANY; at++) expect(scene.view.layGhosts()).toEqual([]);
    });
    expect(ms).toBeLessThan(MOST_MS);
    expect(scene.shown.length).toBe(MANY);
    scene.unsettled.clear();
    expect(scene.view.layGhosts().length).toBe(MANY);
    expect([scene.shown, scene.view.ghostBytes, [...scene.view.ghosts()]]).toEqual([[], 0, []]);
  });

  it.each(['set', 'append'] as const)(
    'B10 of a copy and its original (%s) the original is trimmed, whichever lane is greater and whichever comes first',
    (kind) => {
      for (const incarnation of [3, 9]) {
        for (const isCopyFirst of [true, false]) {
          const scene = new Scene();
          const [old, newer] = [new Lane(5, true), new Lane(incarnation, true)];
          const original = { kind: KIND[kind], revision: 2, origin: 0 };
          const copy = { ...original, origin: 5 };
          const first = isCopyFirst ? scene.put(newer, copy).item : scene.put(old, original).item;
          const second = isCopyFirst ? scene.put(old, original).item : scene.put(newer, copy).item;
          expect(scene.view.shows(isCopyFirst ? first : second)).toBe(true);
          expect(scene.told).toEqual([isCopyFirst ? second : first]);
        }
      }
    },
  );

  it.each([
    ['set', 'an item becomes a ghost'],
    ['set', 'a copy comes'],
    ['set', 'a ghost comes from the journal'],
    ['append', 'an item becomes a ghost'],
    ['append', 'a copy comes'],
    ['append', 'a ghost comes from the journal'],
  ] as const)(
    'K07 where %s and copy are the same, and %s, what lives is shown and not trimmed for the ghost, whichever lane is greater',
    (kind, what) => {
      for (const [first, second] of [
        [9, 3],
        [3, 9],
      ] as const) {
        const scene = new Scene();
        const [old, running] = [new Lane(first, true), new Lane(second, true)];
        const wanted = { kind: KIND[kind], revision: 2, value: '1' };
        scene.unsettled.add(old);
        const item = what === 'a ghost comes from the journal' ? undefined : scene.put(old, wanted).item;
        if (item !== undefined && what === 'a copy comes') scene.take(item);
        const copy = scene.put(running, wanted).item;
        if (item === undefined) scene.view.haunt(new Scene().put(old, wanted).item);
        else if (what === 'an item becomes a ghost') scene.take(item);
        expect([scene.view.shows(copy), [...scene.view.ghosts()], scene.view.ghostBytes]).toEqual([
          true,
          [],
          0,
        ]);
        expect(scene.shown).toHaveLength(1);
        scene.unsettled.clear();
        expect([...scene.view.layGhosts(), ...scene.shown]).toHaveLength(1);
      }
    },
  );

  it('a ghost gives way to what supersedes it, and to the same item when that comes back', () => {
    for (const kind of [KIND.set, KIND.append]) {
      const scene = new Scene();
      const lane = new Lane(1, false);
      scene.unsettled.add(lane);
      const first = scene.put(lane, { kind, revision: 1 }).item;
      expect(scene.take(first)).toBe(false);
      expect([...scene.view.ghosts()]).toEqual([first]);
      // The lane is fetched anew.
      const again = new Lane(1, false);
      expect(scene.put(again, { kind, revision: 1 }).changed).toBe(false);
      expect([[...scene.view.ghosts()], scene.view.ghostBytes, scene.shown.length]).toEqual([[], 0, 1]);
      scene.unsettled.add(again);
      scene.take([...again.items()][0]!);
      expect([...scene.view.ghosts()].length).toBe(1);
      expect(scene.put(new Lane(2, false), { revision: 2 }).changed).toBe(true);
      expect([[...scene.view.ghosts()], scene.view.ghostBytes, scene.shown]).toEqual([[], 0, ['2 5 0 1']]);
    }
  });

  it('appended items of a lane that turns out to be own are told of when something supersedes them', () => {
    const scene = new Scene();
    const lane = new Lane(1, false);
    const items = [1, 2].map((revision) => scene.put(lane, { kind: KIND.append, revision }).item);
    lane.own = true;
    scene.view.reclaim();
    scene.put(new Lane(2, false), { revision: 9 });
    expect(scene.told).toEqual(items);
  });
});
