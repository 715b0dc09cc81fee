/** The executor on the simulated disk: an answer is a promise that survives whatever happens to the process and the disk. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromUtf8, utf8 } from '../../src/kernel/codec.ts';
import type { Answer, DiskFailed, DiskRecovered, Persist } from '../../src/kernel/effects.ts';
import { ok } from '../../src/kernel/errors.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { Deadline, Instant } from '../../src/kernel/time.ts';
import { Executor, type Lagged } from '../../src/node/executor.ts';
import { MachineTime, SimulatedClock } from '../../src/sim/clock.ts';
import { type DiskConditions, DiskImage, SimulatedDisk } from '../../src/sim/disk.ts';
import { SimulatedProcess } from '../../src/sim/process.ts';
import { Scheduler } from '../../src/sim/scheduler.ts';

type Event = { readonly kind: 'asked'; readonly id: number } | DiskFailed | DiskRecovered | Lagged;

/** Persists the number of every request and answers it; its checkpoint is all numbers it knows. */
class Register implements Machine<Event, Persist | Answer> {
  readonly #known: Set<number>;
  readonly facts: string[] = [];

  constructor(records: readonly Uint8Array[]) {
    this.#known = new Set(records.map((record) => Number(fromUtf8(record))));
  }

  handle(event: Event): readonly (Persist | Answer)[] {
    this.facts.push(event.kind);
    if (event.kind !== 'asked') return [];
    this.#known.add(event.id);
    const stream = `stream-${event.id % 3}`;
    return [
      { kind: 'persist', stream, records: [recordOf(event.id)], durable: true },
      { kind: 'answer', stream, id: event.id, result: ok(event.id) },
    ];
  }

  expire(_now: Instant): readonly (Persist | Answer)[] {
    return [];
  }

  deadline(): Deadline | undefined {
    return undefined;
  }

  *checkpoint(): Generator<Uint8Array> {
    for (const id of [...this.#known]) yield recordOf(id);
  }
}

/** Long enough that checkpoints come due within a run. */
function recordOf(id: number): Uint8Array {
  return utf8(String(id).padStart(12_000, '0'));
}

const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constant('ask' as const), count: fc.integer({ min: 1, max: 12 }) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 300 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('disk' as const),
      failing: fc.constantFrom('full' as const, 'broken' as const, undefined),
    }),
  },
);

describe('executor on a simulated disk', () => {
  it('every request answered with success is on the disk, over crashes and failing disks (property)', () => {
    let answeredInAll = 0;
    let checkpoints = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 120 }), fc.nat(), (steps, seed) => {
        const scheduler = new Scheduler();
        const rng = seededRng(seed);
        const image = new DiskImage();
        const conditions: DiskConditions = { minSyncMs: 0.1, maxSyncMs: 5, failing: undefined };
        const time = new MachineTime(scheduler);
        const answered = new Set<number>();
        let asked = 0;
        const boot = () => {
          const process = new SimulatedProcess();
          const disk = new SimulatedDisk({ scheduler, process, rng, image, conditions });
          const machine = new Register(disk.loadNow().records);
          const executor = new Executor<{ kind: 'asked'; id: number }, Persist | Answer>({
            machine,
            clock: new SimulatedClock(scheduler, process, time),
            disk,
            checkpointFloorBytes: 128 * 1024,
            defer: (callback) => {
              scheduler.after(0, () => process.enter(callback));
            },
            perform: (effect) => {
              if (effect.kind === 'answer' && effect.result.ok) answered.add(effect.id);
            },
            onBroken: (error) => {
              throw error;
            },
          });
          return { process, disk, machine, executor };
        };
        let run = boot();
        for (const each of steps) {
          if (each.kind === 'ask')
            for (let count = 0; count < each.count; count++)
              run.executor.deliver({ kind: 'asked', id: asked++ });
          else if (each.kind === 'wait') scheduler.runUntil(scheduler.nowMs + each.ms);
          else if (each.kind === 'disk') conditions.failing = each.failing;
          else {
            run.disk.crash();
            run.process.kill();
            run = boot();
          }
        }
        run.disk.crash();
        run.process.kill();
        const process = new SimulatedProcess();
        const held = new Set(
          new SimulatedDisk({ scheduler, process, rng, image, conditions })
            .loadNow()
            .records.map((record) => Number(fromUtf8(record))),
        );
        expect([...answered].filter((id) => !held.has(id))).toEqual([]);
        expect([...held].filter((id) => !(id < asked))).toEqual([]);
        answeredInAll += answered.size;
        if (image.state.checkpoint !== undefined) checkpoints += 1;
      }),
      { numRuns: 150, seed: 23 },
    );
    expect(answeredInAll).toBeGreaterThan(1_000);
    expect(checkpoints).toBeGreaterThan(10);
  });

  it('a failing disk is told to the machine, and so is its recovery', () => {
    const scheduler = new Scheduler();
    const process = new SimulatedProcess();
    const conditions: DiskConditions = { minSyncMs: 1, maxSyncMs: 2, failing: 'full' };
    const disk = new SimulatedDisk({
      scheduler,
      process,
      rng: seededRng(1),
      image: new DiskImage(),
      conditions,
    });
    disk.loadNow();
    const machine = new Register([]);
    const answers: Answer[] = [];
    const executor = new Executor<{ kind: 'asked'; id: number }, Persist | Answer>({
      machine,
      clock: new SimulatedClock(scheduler, process, new MachineTime(scheduler)),
      disk,
      defer: (callback) => {
        scheduler.after(0, callback);
      },
      perform: (effect) => {
        if (effect.kind === 'answer') answers.push(effect);
      },
      onBroken: (error) => {
        throw error;
      },
    });
    executor.deliver({ kind: 'asked', id: 1 });
    scheduler.runUntil(100);
    expect(machine.facts).toEqual(['asked', 'diskFailed']);
    expect(answers).toMatchObject([
      { id: 1, result: { ok: false, error: { details: { outcome: 'unknown' } } } },
    ]);
    conditions.failing = undefined;
    scheduler.runUntil(5_000);
    expect(machine.facts).toEqual(['asked', 'diskFailed', 'diskRecovered']);
    executor.deliver({ kind: 'asked', id: 2 });
    scheduler.runUntil(6_000);
    expect(answers.at(-1)).toMatchObject({ id: 2, result: { ok: true } });
  });
});
