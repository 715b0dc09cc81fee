import { describe, expect, it } from 'vitest';
import type { Answer, Persist } from '../../src/kernel/effects.ts';
import { ok } from '../../src/kernel/errors.ts';
import { type Clock, type Disk, DiskError, type Done } from '../../src/kernel/ports.ts';
import type { Deadline } from '../../src/kernel/time.ts';
import { Executor } from '../../src/node/executor.ts';

type Order = { kind: 'note'; stream?: string; text: string };
type Effect = Order | Persist | Answer;

/** A machine that does what the event says. */
class Puppet {
  wants: Deadline | undefined;
  liveBytes = 0;
  readonly heard: string[] = [];
  onExpire: readonly Effect[] = [];
  handle(event: { kind: string; effects?: readonly Effect[] }): readonly Effect[] {
    this.heard.push(event.kind);
    return event.effects ?? [];
  }
  expire(): readonly Effect[] {
    this.wants = undefined;
    return this.onExpire;
  }
  deadline() {
    return this.wants;
  }
  pieces: readonly Uint8Array[] = [new Uint8Array([1]), new Uint8Array([2])];
  *checkpoint() {
    yield* this.pieces;
  }
}

class ManualDisk implements Disk {
  readonly appended: Uint8Array[] = [];
  readonly syncs: Done[] = [];
  readonly steps: string[] = [];
  logBytes = 0;
  async load() {
    return { records: [], tornBytes: 0, quarantined: [] };
  }
  append(records: readonly Uint8Array[]) {
    this.appended.push(...records);
  }
  sync(done: Done) {
    this.syncs.push(done);
  }
  beginCheckpoint(done: Done) {
    this.steps.push('begin');
    done();
  }
  writeCheckpoint(records: readonly Uint8Array[], done: Done) {
    this.steps.push(`write ${records.map((record) => record.join())}`);
    done();
  }
  commitCheckpoint(done: Done) {
    this.steps.push('commit');
    this.logBytes = 0;
    done();
  }
  size() {
    return { logBytes: this.logBytes, checkpointBytes: 0 };
  }
  async close() {}
}

function setUp() {
  const machine = new Puppet();
  const disk = new ManualDisk();
  const performed: Effect[] = [];
  const deferred: (() => void)[] = [];
  const timers: { atMs: number; callback: () => void }[] = [];
  const time = { nowMs: 0 };
  const broken: unknown[] = [];
  const clock: Clock = {
    now: () => ({ monoMs: time.nowMs, wallMs: time.nowMs }),
    callAt: (atMs, callback) => {
      const timer = { atMs, callback };
      timers.push(timer);
      return () => timers.splice(timers.indexOf(timer), 1);
    },
  };
  const executor = new Executor<{ kind: string; effects?: readonly Effect[] }, Effect>({
    machine,
    clock,
    disk,
    defer: (callback) => deferred.push(callback),
    perform: (effect) => performed.push(effect),
    onBroken: (error) => broken.push(error),
  });
  const settle = () => {
    while (deferred.length > 0) deferred.shift()?.();
  };
  const fire = (atMs: number) => {
    time.nowMs = atMs;
    for (const timer of timers.filter((candidate) => candidate.atMs <= atMs)) {
      timers.splice(timers.indexOf(timer), 1);
      timer.callback();
    }
    settle();
  };
  return { machine, disk, performed, executor, settle, fire, broken, time };
}

const persist = (stream: string, byte: number): Persist => ({
  kind: 'persist',
  stream,
  durable: true,
  records: [new Uint8Array([byte])],
});
const note = (text: string, stream?: string): Order =>
  stream ? { kind: 'note', stream, text } : { kind: 'note', text };
const texts = (effects: readonly Effect[]) =>
  effects.map((effect) => (effect.kind === 'note' ? effect.text : effect.kind));

describe('executor', () => {
  it('holds what follows a durable persist in its stream until the disk answers, and nothing else', () => {
    const { executor, performed, settle, disk } = setUp();
    executor.deliver({
      kind: 'wrote',
      effects: [note('early', 'a'), persist('a', 1), note('late', 'a'), note('other', 'b')],
    });
    settle();
    expect(texts(performed)).toEqual(['early', 'other']);
    disk.syncs[0]?.();
    expect(texts(performed)).toEqual(['early', 'other', 'late']);
  });

  it('makes the persists of one tick durable with one sync', () => {
    const { executor, settle, disk } = setUp();
    for (let call = 0; call < 100; call++)
      executor.deliver({ kind: 'wrote', effects: [persist('a', call), note('done', 'a')] });
    settle();
    expect(disk.appended.length).toBe(100);
    expect(disk.syncs.length).toBe(1);
  });

  it('lets records that nobody waits for share one late sync', () => {
    const { executor, settle, disk, fire } = setUp();
    for (let byte = 0; byte < 10; byte++) {
      executor.deliver({ kind: 'merged', effects: [{ ...persist('a', byte), durable: false }] });
      settle();
    }
    expect(disk.syncs.length).toBe(0);
    fire(100);
    expect(disk.syncs.length).toBe(1);
    expect(disk.appended.length).toBe(10);
  });

  it('releases in order when a second sync is still out', () => {
    const { executor, performed, settle, disk } = setUp();
    executor.deliver({ kind: 'wrote', effects: [persist('a', 1), note('first', 'a')] });
    settle();
    executor.deliver({ kind: 'wrote', effects: [persist('a', 2), note('second', 'a')] });
    settle();
    disk.syncs[0]?.();
    expect(texts(performed)).toEqual(['first']);
    disk.syncs[1]?.();
    expect(texts(performed)).toEqual(['first', 'second']);
  });

  it('turns answers behind a failed sync into errors of unknown outcome, drops the rest, and tells of recovery', () => {
    const { executor, performed, settle, disk, machine, fire } = setUp();
    const answer: Answer = { kind: 'answer', stream: 'a', id: 1, result: ok('done') };
    executor.deliver({ kind: 'wrote', effects: [persist('a', 1), answer, note('ack', 'a')] });
    settle();
    disk.syncs[0]?.(new DiskError('no space left', true));
    settle();
    expect(performed.length).toBe(1);
    expect(performed[0]).toMatchObject({
      id: 1,
      result: { ok: false, error: { details: { outcome: 'unknown' } } },
    });
    expect(machine.heard).toEqual(['wrote', 'diskFailed']);
    fire(1_000);
    disk.syncs[1]?.();
    expect(machine.heard).toEqual(['wrote', 'diskFailed', 'diskRecovered']);
  });

  it('honours a deadline in the past once the queue is empty, and says how late its timer was', () => {
    const { executor, performed, settle, machine, fire } = setUp();
    machine.wants = { atMs: 0, reason: 'flush' };
    machine.onExpire = [note('flushed')];
    executor.deliver({ kind: 'fact' });
    expect(texts(performed)).toEqual([]);
    settle();
    expect(texts(performed)).toEqual(['flushed']);
    machine.wants = { atMs: 50, reason: 'later' };
    executor.deliver({ kind: 'fact' });
    settle();
    fire(1_050);
    expect(machine.heard).toEqual(['fact', 'fact', 'lagged']);
  });

  it('writes no checkpoint of a log that holds little but what lives', () => {
    const { executor, settle, disk, machine } = setUp();
    disk.logBytes = 16_000_000;
    machine.liveBytes = 9_600_000;
    executor.deliver({ kind: 'fact' });
    settle();
    expect(disk.steps).toEqual([]);
    machine.liveBytes = 8_800_000;
    executor.deliver({ kind: 'fact' });
    settle();
    expect(disk.steps).toContain('commit');
  });

  it('writes a checkpoint in pieces once the log has grown', () => {
    const { executor, settle, disk } = setUp();
    disk.logBytes = 16_000_000;
    executor.deliver({ kind: 'fact' });
    settle();
    expect(disk.steps).toEqual(['begin', 'write 1', 'write 2', 'commit']);
  });

  it('a checkpoint keeps ahead of the log: two bytes for each that is written meanwhile, 512 KiB at a time', () => {
    const { executor, settle, disk, machine } = setUp();
    const KIB = 1024;
    machine.pieces = Array.from({ length: 64 }, () => new Uint8Array(128 * KIB));
    disk.logBytes = 16_000_000;
    const pieces: number[] = [];
    disk.writeCheckpoint = (records, done) => {
      pieces.push(records.length);
      // What others write in the meantime: nothing, then more than one turn can make up for, then nothing.
      if (pieces.length === 2) disk.logBytes += 1024 * KIB;
      done();
    };
    executor.deliver({ kind: 'fact' });
    settle();
    // 2 MiB are wanted: 256 KiB are there.
    expect(pieces.slice(0, 8)).toEqual([1, 1, 4, 4, 4, 2, 1, 1]);
    expect(pieces.reduce((sum, count) => sum + count, 0)).toBe(64);
    expect(disk.steps.at(-1)).toBe('commit');
  });

  it('cuts even a small log once nothing was written for a while', () => {
    const { executor, settle, fire, disk } = setUp();
    disk.logBytes = 300_000;
    executor.deliver({ kind: 'fact', effects: [persist('a', 1)] });
    settle();
    disk.logBytes = 400_000;
    fire(1_000);
    expect(disk.steps, 'written to meanwhile').toEqual([]);
    fire(2_000);
    settle();
    expect(disk.steps).toEqual(['begin', 'write 1', 'write 2', 'commit']);
  });

  describe('callers that one write answered and that all call again', () => {
    const call = persist('a', 1);
    /** One write of `writeMs` has answered just now. */
    const answered = (writeMs: number) => {
      const told = setUp();
      told.executor.deliver({ kind: 'wrote', effects: [call] });
      told.settle();
      told.time.nowMs += writeMs;
      told.disk.syncs[0]?.();
      return told;
    };

    it.each([
      { writeMs: 1, turnMs: 0.9, syncs: 1 },
      { writeMs: 1, turnMs: 3, syncs: 2 },
      { writeMs: 5, turnMs: 3, syncs: 1 },
      { writeMs: 0, turnMs: 0, syncs: 1 },
    ])(
      'are split once the disk has rested for a write within their turn (write=$writeMs ms, turn=$turnMs ms)',
      ({ writeMs, turnMs, syncs }) => {
        const { executor, disk, settle, time } = answered(writeMs);
        for (let calls = 0; calls < 100; calls++) {
          time.nowMs += turnMs / 100;
          executor.deliver({ kind: 'wrote', effects: [call] });
        }
        settle();
        expect(disk.syncs.length - 1).toBe(syncs);
        expect(disk.appended.length).toBe(101);
      },
    );

    it('have what is ready before the split written first, and are answered in their order', () => {
      const { executor, disk, settle, time, performed } = answered(1);
      executor.deliver({ kind: 'wrote', effects: [call, note('first', 'a')] });
      time.nowMs += 2;
      executor.deliver({ kind: 'wrote', effects: [call, note('second', 'a')] });
      executor.deliver({ kind: 'wrote', effects: [call, note('third', 'a')] });
      expect(disk.syncs.length).toBe(2);
      disk.syncs[1]?.();
      expect(texts(performed)).toEqual(['first', 'second']);
      settle();
      disk.syncs[2]?.();
      expect(texts(performed)).toEqual(['first', 'second', 'third']);
    });

    it('are put together again where writes take longer than the turns of both groups', () => {
      const { executor, disk, settle, time, performed } = answered(1);
      const turn = (text: string) => {
        executor.deliver({ kind: 'wrote', effects: [call, note(text, 'a')] });
        time.nowMs += 2;
        executor.deliver({ kind: 'wrote', effects: [call, note(text, 'a')] });
      };
      turn('one');
      executor.deliver({ kind: 'wrote', effects: [call, note('other', 'a')] });
      settle();
      expect(disk.syncs.length, 'two groups').toBe(3);
      for (const group of [1, 2]) {
        time.nowMs += 50;
        disk.syncs[group]?.();
        turn(`group ${group}`);
        settle();
      }
      // That of the second waits for the write of the first.
      expect(disk.syncs.length).toBe(4);
      time.nowMs += 50;
      disk.syncs[3]?.();
      turn('first again');
      settle();
      expect(disk.syncs.length, 'one write for both').toBe(5);
      disk.syncs[4]?.();
      expect(texts(performed).slice(-4)).toEqual(['group 2', 'group 2', 'first again', 'first again']);
    });
  });

  it('stops for good when the machine throws', () => {
    const { executor, machine, broken, performed } = setUp();
    machine.handle = () => {
      throw new Error('invariant');
    };
    executor.deliver({ kind: 'fact' });
    executor.deliver({ kind: 'fact', effects: [note('never')] });
    expect(broken.length).toBe(1);
    expect(performed).toEqual([]);
  });
});
