/**
 * What the quorum store keeps in the journal, against a twin that knows what every record adds. Whatever a crash cuts
 * off, and wherever a checkpoint was taken, what is read back is what the last record left, never less.
 */
import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { HardState, LogEntry, ServerId, SnapshotPoint } from '../../../src/quorum/raft/types.ts';
import { encodeCommand } from '../../../src/quorum/register/command.ts';
import { Register } from '../../../src/quorum/register/register.ts';
import { type StorageId, type StoreId, serverIdOf } from '../../../src/quorum/server.ts';
import {
  EMPTY_POINT,
  type Incoming,
  StorageReader,
  StorageWriter,
  type Stored,
  type StoredIdentity,
} from '../../../src/quorum/store/storage.ts';
import { nodeNumber } from '../names.ts';
import { put, transactCommand } from '../register/support.ts';

const NODE: NodeId = nodeNumber(1);
const OPEN = encodeCommand({ kind: 'openClient', client: 7 });

interface State {
  readonly identity: StoredIdentity | undefined;
  readonly hardState: HardState;
  /** From index 1 on, what snapshots hold included. */
  readonly log: readonly LogEntry[];
  /** Up to here the log is committed: nothing of it is ever cut off. */
  readonly committed: number;
}

const NOTHING: State = {
  identity: undefined,
  hardState: { term: 0, votedFor: undefined },
  log: [],
  committed: 0,
};

function serverOf(storage: number): ServerId {
  return serverIdOf(NODE, storage as StorageId);
}

function carried(store: number): StoredIdentity {
  return {
    carried: { store: store as StoreId, storage: (store + 1_000) as StorageId },
    dissolved: [],
    replaced: [],
    revisionToPass: store * 1_000,
  };
}

function registerAt(log: readonly LogEntry[], index: number): Register {
  const register = new Register();
  for (const entry of log.slice(0, index))
    if (entry.kind === 'command') register.apply(entry.index, entry.command);
  return register;
}

function pointAt(log: readonly LogEntry[], index: number): SnapshotPoint {
  const entry = log[index - 1];
  return entry === undefined ? EMPTY_POINT : { ...EMPTY_POINT, index, term: entry.term };
}

/** A leader's log as it goes to the disk: the records, and what of them was given. */
function incomingOf(
  writer: StorageWriter,
  log: readonly LogEntry[],
): { records: Uint8Array[]; incoming: Incoming } {
  const point = pointAt(log, log.length);
  const records: Uint8Array[] = [];
  let incoming: Incoming | undefined;
  for (const bytes of registerAt(log, log.length).capture()) {
    const part = writer.part(incoming, point, bytes);
    incoming = part.incoming;
    records.push(part.record);
  }
  const whole = writer.whole(incoming as Incoming);
  return { records: [...records, whole.record], incoming: whole.incoming };
}

function blankAt(index: number): LogEntry {
  return { kind: 'blank', index, term: 1 };
}

/** Of several pieces. */
function bigLog(count: number): readonly LogEntry[] {
  const value = 'x'.repeat(120_000);
  return Array.from({ length: count }, (_, at): LogEntry => {
    const change = transactCommand(at, { then: [put(`k${at}`, value + at)] });
    return { kind: 'command', index: at + 1, term: 1, command: at === 0 ? OPEN : encodeCommand(change) };
  });
}

/** Everything that tells two storages apart, wherever their snapshots end. */
function summary(state: State): string {
  return JSON.stringify([
    state.identity,
    state.hardState,
    state.log.map(({ index, term, kind }) => `${index}@${term} ${kind}`),
    registerAt(state.log, state.log.length).digest(),
  ]);
}

/** The same of what was read; `log` says what the snapshot held. */
function summaryOf({ identity, restored, register }: Stored, log: readonly LogEntry[]): string {
  const { point, entries, hardState } = restored;
  const before = log.slice(0, point.index);
  expect(register.digest()).toBe(registerAt(before, before.length).digest());
  return summary({ identity, hardState, log: [...before, ...entries], committed: 0 });
}

function read(records: readonly Uint8Array[], isSuspect = false): StorageReader {
  const reader = new StorageReader(isSuspect);
  for (const record of records) reader.take(record.subarray(1));
  return reader;
}

/** Does at random what a replica does, and notes what the disk must hold behind each record. */
class Twin {
  readonly #rng: Rng;
  #writer = new StorageWriter(0);
  state = NOTHING;
  records: Uint8Array[] = [];
  /** Of each record, what is left when it is the last. */
  states: State[] = [];
  /** So many records at the beginning are a checkpoint's. */
  checkpointRecords = 0;
  #store = 0;
  #term = 0;

  constructor(seed: number) {
    this.#rng = seededRng(seed);
    this.begin();
  }

  #write(records: Iterable<Uint8Array>, state: State): void {
    const all = [...records];
    for (const [at, record] of all.entries()) {
      this.records.push(record);
      this.states.push(at === all.length - 1 ? state : this.state);
    }
    this.state = state;
  }

  begin(): void {
    const identity = carried(++this.#store);
    this.#write([this.#writer.identity(identity, 'new')], { ...NOTHING, identity });
  }

  rename(): void {
    const identity = carried(this.#store);
    const { dissolved, replaced, revisionToPass } = identity;
    const storage = (this.#rng.below(1_000) + 1) as StorageId;
    const renamed = {
      carried: { store: this.#store as StoreId, storage },
      dissolved,
      replaced,
      revisionToPass,
    };
    this.#write([this.#writer.identity(renamed, 'same')], { ...this.state, identity: renamed });
  }

  vote(): void {
    const hardState = { term: ++this.#term, votedFor: this.#rng.chance(0.5) ? serverOf(5) : undefined };
    this.#write([this.#writer.hardState(hardState)], { ...this.state, hardState });
  }

  /** Some of the end that is not committed gives way to other entries. */
  append(): void {
    const { log, committed } = this.state;
    const keep = this.#rng.chance(0.3) ? committed + this.#rng.below(log.length - committed + 1) : log.length;
    if (keep < log.length) this.#term++;
    const added = this.#entries(keep + 1, this.#rng.below(6) + 1);
    this.#write(this.#writer.entries(added), { ...this.state, log: [...log.slice(0, keep), ...added] });
  }

  commit(): void {
    const { log, committed } = this.state;
    this.state = { ...this.state, committed: committed + this.#rng.below(log.length - committed + 1) };
  }

  #entries(from: number, count: number): LogEntry[] {
    return Array.from({ length: count }, (_, at): LogEntry => {
      const index = from + at;
      const term = this.#term;
      const kind = this.#rng.pick(['command', 'command', 'command', 'blank', 'configuration'] as const);
      if (kind === 'blank') return { kind, index, term };
      if (kind === 'configuration')
        return { kind, index, term, configuration: { incoming: [serverOf(term + 1)], outgoing: [] } };
      const value = this.#rng.chance(0.02) ? 'x'.repeat(100_000) : `${index}@${term}`;
      const change = transactCommand(index * 100 + term, { then: [put(`k${index % 20}`, value)] });
      return { kind, index, term, command: index === 1 ? OPEN : encodeCommand(change) };
    });
  }

  /** What a leader has committed: more of this node's own log, or what it has not seen. */
  leadersLog(): readonly LogEntry[] {
    const { log, committed } = this.state;
    if (log.length > committed && this.#rng.chance(0.3)) return log.slice(0, committed + 1);
    this.#term++;
    return [...log.slice(0, committed), ...this.#entries(committed + 1, this.#rng.below(10) + 1)];
  }

  install(theirs = this.leadersLog()): void {
    const { log } = this.state;
    const last = theirs.length;
    const stays = log[last - 1]?.term === theirs.at(-1)?.term;
    const state = { ...this.state, log: stays ? log : theirs, committed: last };
    this.#write(incomingOf(this.#writer, theirs).records, state);
  }

  /** The log behind the checkpoint begins up to `overlap` records before it. */
  checkpoint(overlap: number, incoming: readonly Incoming[] = []): void {
    const { identity, hardState, log, committed } = this.state;
    const captured = {
      identity: identity as StoredIdentity,
      hardState,
      point: pointAt(log, committed),
      pieces: registerAt(log, committed).capture(),
      entries: log.slice(committed),
      incoming,
    };
    const kept = this.records.slice(this.records.length - overlap);
    const checkpoint = [...this.#writer.checkpoint(captured)];
    this.checkpointRecords = checkpoint.length;
    this.records = [...checkpoint, ...kept];
    this.states = this.records.map(() => this.state);
  }

  restart(): void {
    this.#writer = new StorageWriter(read(this.records).lastSequence);
  }

  step(): void {
    const dice = this.#rng.below(100);
    if (dice < 2) this.begin();
    else if (dice < 4) this.rename();
    else if (dice < 20) this.vote();
    else if (dice < 65) this.append();
    else if (dice < 85) this.commit();
    else if (dice < 90) this.install();
    else if (dice < 95) this.restart();
    else this.checkpoint(this.#rng.below(Math.min(8, this.records.length + 1)));
  }
}

describe('storage of the quorum store', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'gives back what its last record left, wherever the tail was cut off (60 steps, seed %i)',
    (seed) => {
      const twin = new Twin(seed);
      for (let step = 0; step < 60; step++) {
        twin.step();
        const reader = read(twin.records);
        expect(reader.damaged).toBe(false);
        expect(summaryOf(reader.stored(), twin.state.log)).toBe(summary(twin.state));
      }
      const reader = new StorageReader();
      for (const [at, record] of twin.records.entries()) {
        reader.take(record.subarray(1));
        // A checkpoint is a file of its own: whole or not there.
        if (at < twin.checkpointRecords - 1) continue;
        const state = twin.states[at] as State;
        expect(reader.damaged).toBe(false);
        expect(summaryOf(reader.stored(), state.log)).toBe(summary(state));
      }
    },
  );

  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'of a journal that lacks a record takes nothing that may rest on it (seed %i)',
    (seed) => {
      const twin = new Twin(seed);
      for (let step = 0; step < 40; step++) {
        const dice = seededRng(seed * 1_000 + step).below(3);
        if (dice === 0) twin.vote();
        else if (dice === 1) twin.append();
        else twin.commit();
        if (step === 20) twin.begin();
      }
      const logs = new Map(twin.states.map((state) => [logOf(state.log), state]));
      for (let at = 0; at < twin.records.length; at++) {
        const reader = read(twin.records.toSpliced(at, 1), true);
        const { restored, identity } = reader.stored();
        const state = logs.get(logOf(restored.entries));
        expect(state, `without record ${at}`).toBeDefined();
        if (restored.entries.length > 0) expect(identity).toEqual(state?.identity);
      }
    },
  );

  it('a snapshot that a crash cut off between its pieces does not spoil the next one (K42, K33)', () => {
    const twin = new Twin(1);
    twin.install(bigLog(6));
    const cut = twin.records.slice(0, 3);
    const again = new StorageWriter(read(cut).lastSequence);
    const records = [...cut, ...incomingOf(again, bigLog(8)).records];
    const reader = read(records);
    expect(reader.damaged).toBe(false);
    expect(reader.stored().restored.point.index).toBe(8);
    expect(reader.stored().register.digest()).toBe(registerAt(bigLog(8), 8).digest());
  });

  it.each([0, 1, 2, 3])(
    'what is written between the pieces of a snapshot does not spoil it, nor does a checkpoint behind %i of them (K42)',
    (before) => {
      const log = bigLog(6);
      const writer = new StorageWriter(0);
      const identity = carried(1);
      const hardState = (term: number) => ({ term, votedFor: undefined });
      let records = [writer.identity(identity, 'new')];
      let incoming: Incoming | undefined;
      const point = pointAt(log, log.length);
      for (const [at, bytes] of [...registerAt(log, log.length).capture()].entries()) {
        if (at === before) {
          const entries = Array.from({ length: before }, (_, blank) => blankAt(blank + 1));
          const captured = { identity, hardState: hardState(before), point: EMPTY_POINT, entries };
          const pieces = new Register().capture();
          records = [...writer.checkpoint({ ...captured, pieces, incoming: incoming ? [incoming] : [] })];
        }
        const part = writer.part(incoming, point, bytes);
        incoming = part.incoming;
        records.push(part.record, writer.hardState(hardState(at + 1)));
        records.push(...writer.entries([blankAt(at + 1)]));
      }
      const parts = incoming as Incoming;
      expect(parts.pieces.length).toBeGreaterThan(3);
      expect(read(records).stored().restored.point.index).toBe(0);
      records.push(writer.whole(parts).record);
      const reader = read(records);
      expect(reader.damaged).toBe(false);
      expect(reader.stored().restored).toMatchObject({ point, hardState: hardState(parts.pieces.length) });
      expect(reader.stored().register.digest()).toBe(registerAt(log, log.length).digest());
    },
  );

  it('what makes a snapshot count without all of its pieces is damage', () => {
    const { records } = incomingOf(new StorageWriter(0), bigLog(6));
    for (let at = 0; at < records.length - 1; at++)
      expect(read(records.toSpliced(at, 1)).damaged, `without piece ${at}`).toBe(true);
  });

  it.each([0, 2])(
    'of two snapshots on their way to the disk at once the newer stays (K42, order %i)',
    (first) => {
      const twin = new Twin(2);
      for (let count = 0; count < 5; count++) twin.append();
      twin.commit();
      const longer = twin.leadersLog();
      const shorter = longer.slice(0, -1);
      const [one, two] = first === 0 ? [longer, shorter] : [shorter, longer];
      const writer = new StorageWriter(read(twin.records).lastSequence);
      for (const log of [one, two]) twin.records.push(...incomingOf(writer, log).records);
      expect(read(twin.records).stored().restored.point.index).toBe(longer.length);
    },
  );

  it.each([0, 1, 3])(
    'a checkpoint taken while a snapshot is on its way to the disk keeps the snapshot (%i records before it stand behind)',
    (overlap) => {
      const twin = new Twin(3);
      for (let count = 0; count < 5; count++) twin.append();
      const theirs = twin.leadersLog();
      const before = twin.state;
      twin.install(theirs);
      // The replica takes no notice of the snapshot before the disk has answered.
      const installed = twin.state;
      twin.state = before;
      twin.checkpoint(overlap, [incomingOf(new StorageWriter(0), theirs).incoming]);
      const reader = read(twin.records);
      expect(reader.damaged).toBe(false);
      expect(summaryOf(reader.stored(), theirs)).toBe(summary(installed));
    },
  );

  it('a checkpoint of a node without a store makes what stands behind it of one before meaningless', () => {
    const twin = new Twin(4);
    for (let count = 0; count < 5; count++) twin.append();
    const writer = new StorageWriter(read(twin.records).lastSequence);
    const identity = { carried: undefined, dissolved: [1 as StoreId], replaced: [], revisionToPass: 9 };
    const dropped = writer.identity(identity, 'new');
    const checkpoint = writer.identity(identity, 'checkpoint');
    const reader = read([checkpoint, ...twin.records.slice(-3), dropped]);
    expect(reader.damaged).toBe(false);
    expect(reader.stored()).toMatchObject({ identity, restored: { entries: [], point: { index: 0 } } });
  });

  it('a record cut short, of an unknown kind or with something behind it is damage', () => {
    const twin = new Twin(5);
    for (let count = 0; count < 20; count++) twin.step();
    twin.checkpoint(0);
    for (const [at, record] of twin.records.entries()) {
      const mend = (bytes: Uint8Array) => read(twin.records.with(at, bytes)).damaged;
      expect(mend(record.slice(0, -1)), `record ${at} cut short`).toBe(true);
      expect(mend(Uint8Array.from([...record, 0])), `record ${at} with more`).toBe(true);
      expect(mend(Uint8Array.from([record[0] ?? 0, 99, ...record.subarray(2)])), `record ${at}`).toBe(true);
    }
  });

  it('entries behind a gap are damage and are not taken', () => {
    const writer = new StorageWriter(0);
    const blank = (index: number): LogEntry => ({ kind: 'blank', index, term: 1 });
    const records = [
      writer.identity(carried(1), 'new'),
      ...writer.entries([blank(1), blank(2)]),
      ...writer.entries([blank(4)]),
    ];
    const reader = read(records);
    expect(reader.damaged).toBe(true);
    expect(reader.stored().restored.entries.map(({ index }) => index)).toEqual([1, 2]);
  });

  it('as many entries as gather in one turn are read back (100,000 at once)', () => {
    const writer = new StorageWriter(0);
    const entries = Array.from(
      { length: 100_000 },
      (_, at) => ({ kind: 'blank', index: at + 1, term: 1 }) as const,
    );
    const reader = read([writer.identity(carried(1), 'new'), ...writer.entries(entries)]);
    expect(reader.damaged).toBe(false);
    expect(reader.stored().restored.entries).toEqual(entries);
  });

  it('no record is larger than the journal takes, however much gathers in one turn (100 entries of 700 KiB)', () => {
    const command = new Uint8Array(700 * 1024);
    const entries = Array.from(
      { length: 100 },
      (_, at) => ({ kind: 'command', index: at + 1, term: 1, command }) as const,
    );
    const records = new StorageWriter(0).entries(entries);
    expect(Math.max(...records.map((record) => record.length))).toBeLessThan(limits.journalRecordBytes);
  });

  it('random bytes never throw (10,000 records)', () => {
    const rng = seededRng(6);
    const reader = new StorageReader();
    for (let count = 0; count < 10_000; count++) {
      const bytes = Uint8Array.from({ length: rng.below(40) }, () => rng.below(256));
      if (bytes.length > 0) bytes[0] = rng.below(6);
      reader.take(bytes);
    }
    expect(reader.damaged).toBe(true);
  });
});

function logOf(log: readonly LogEntry[]): string {
  return log.map(({ index, term }) => `${index}@${term}`).join(' ');
}
