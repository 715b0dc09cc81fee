/**
 * Agents of a live run: each claims tasks, overwrites, compares and sets, deletes and reads on the board `tasks`, and
 * writes down what it did and was told. Keys change every few seconds, so that calls of unknown outcome, each of which
 * may have taken hold at any later time, do not heap up on one key.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { HistoryCall, HistoryOperation } from '../lib/quorum-history.ts';
import type { Client, Fields, Told } from './clients.ts';

export const BOARD = 'tasks';
/** All keys of the load are below it. */
export const PREFIX = 'chaos/';

const HOT_KEYS = 3;
const EPOCH_MS = 3_000;
const THINK_MS = 20;

/** One clock for all that is recorded, in nanoseconds since the run began. */
export class Recorder {
  readonly operations: HistoryOperation[] = [];
  readonly errors = new Map<string, number>();
  /** What calls of the history were told that were not carried out, or not for certain. */
  readonly refusals: object[] = [];
  readonly #startedNs = process.hrtime.bigint();

  now(): number {
    return Number(process.hrtime.bigint() - this.#startedNs);
  }

  add(client: string, key: string, start: number, told: Told, call: HistoryCall): void {
    const outcome = told.kind === 'done' ? 'ok' : told.kind === 'refused' ? 'failed' : 'unknown';
    const end = outcome === 'ok' ? this.now() : Number.POSITIVE_INFINITY;
    this.operations.push({ ...call, client, key, start, end, outcome } as HistoryOperation);
    if (told.kind === 'done') return;
    this.fail(told);
    const input = 'input' in call ? call.input : {};
    this.refusals.push({
      client,
      kind: call.kind,
      key,
      ...input,
      start,
      end: this.now(),
      outcome,
      error: told.error,
    });
  }

  fail(told: Told): void {
    if (told.kind === 'done') return;
    const code = told.error?.code ?? 'NO_ANSWER';
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }
}

/** What agents share: the next task that nobody claimed yet, as each believes. */
export class TaskList {
  #next = 0;

  get next(): number {
    return this.#next;
  }

  claimed(task: number): void {
    this.#next = Math.max(this.#next, task + 1);
  }
}

export class Agent {
  readonly #name: string;
  readonly #client: Client;
  readonly #recorder: Recorder;
  readonly #tasks: TaskList;
  readonly #dice: () => number;
  readonly #revisions = new Map<string, number>();
  #written = 0;

  constructor(name: string, client: Client, recorder: Recorder, tasks: TaskList, dice: () => number) {
    this.#name = name;
    this.#client = client;
    this.#recorder = recorder;
    this.#tasks = tasks;
    this.#dice = dice;
  }

  async work(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      await this.#act();
      await delay(THINK_MS * (0.5 + this.#dice()), undefined, { signal: until }).catch(() => {});
    }
    await this.#client.close();
  }

  #act(): Promise<void> {
    const epoch = Math.floor(this.#recorder.now() / 1e6 / EPOCH_MS);
    const key = `${PREFIX}hot-${epoch}-${Math.floor(this.#dice() * HOT_KEYS)}`;
    const roll = this.#dice();
    if (roll < 0.2) return this.#claim();
    if (roll < 0.35) return this.#write(key);
    if (roll < 0.65) return this.#compareAndSet(key);
    if (roll < 0.7) return this.#delete(key);
    return this.#read(key);
  }

  /** Of all that try, one wins: the key must not exist. */
  async #claim(): Promise<void> {
    const task = this.#tasks.next;
    const { succeeded } = await this.#set(`${PREFIX}claim-${task}`, 0);
    if (succeeded !== undefined) this.#tasks.claimed(task);
  }

  async #compareAndSet(key: string): Promise<void> {
    await this.#set(key, this.#revisions.get(key) ?? 0);
  }

  async #set(key: string, revision: number): Promise<{ succeeded: boolean | undefined }> {
    const { value, start } = this.#begin();
    const args = { board: BOARD, key, expected_revision: revision, value };
    const told = await this.#client.call('board_compare_and_set', args);
    const call = { kind: 'compareAndSet', input: { revision, value } } as const;
    if (told.kind === 'refused' && told.error.code === 'CONFLICT') {
      const found = foundOf(told.error.details?.entry as Fields | null | undefined);
      this.#recorder.add(
        this.#name,
        key,
        start,
        { kind: 'done', value: {} },
        {
          ...call,
          output: { succeeded: false, ...(found === undefined ? {} : { found }) },
        },
      );
      this.#revisions.set(key, found?.revision ?? 0);
      return { succeeded: false };
    }
    if (told.kind !== 'done') {
      this.#recorder.add(this.#name, key, start, told, call);
      return { succeeded: undefined };
    }
    const at = told.value.revision as number;
    this.#recorder.add(this.#name, key, start, told, { ...call, output: { succeeded: true, at } });
    this.#revisions.set(key, at);
    return { succeeded: true };
  }

  async #write(key: string): Promise<void> {
    const { value, start } = this.#begin();
    const told = await this.#client.call('board_write', { board: BOARD, key, value });
    const at = told.kind === 'done' ? (told.value.revision as number) : undefined;
    const output = at === undefined ? {} : { output: { at } };
    this.#recorder.add(this.#name, key, start, told, { kind: 'put', input: { value }, ...output });
    if (at !== undefined) this.#revisions.set(key, at);
  }

  async #delete(key: string): Promise<void> {
    const { start } = this.#begin();
    const told = await this.#client.call('board_delete', { board: BOARD, key });
    const { deleted, revision } = told.kind === 'done' ? told.value : {};
    const output =
      told.kind !== 'done'
        ? {}
        : { output: deleted === true ? { deleted: 1, at: revision as number } : { deleted: 0 } };
    this.#recorder.add(this.#name, key, start, told, { kind: 'delete', ...output });
    this.#revisions.set(key, 0);
  }

  async #read(key: string): Promise<void> {
    const { start } = this.#begin();
    const told = await readStrongly(this.#client, key);
    const found = told.kind === 'done' ? foundIn(told.value, key) : undefined;
    const output = found === undefined ? {} : { output: { found } };
    this.#recorder.add(this.#name, key, start, told, { kind: 'get', ...output });
    if (found !== undefined) this.#revisions.set(key, found?.revision ?? 0);
  }

  #begin(): { value: string; start: number } {
    return { value: `${this.#name}-${++this.#written}`, start: this.#recorder.now() };
  }
}

/** An entry that is not there is an answer, whichever way it is told. */
export async function readStrongly(client: Client, key: string): Promise<Told> {
  const told = await client.call('board_read', { board: BOARD, key, level: 'strong' });
  if (told.kind === 'refused' && told.error.code === 'NOT_FOUND')
    return { kind: 'done', value: { found: false } };
  return told;
}

function foundIn(value: Fields, key: string): { key: string; value: string; revision: number } | null {
  return value.found === true ? (foundOf({ ...value, key }) ?? null) : null;
}

/** `undefined`: not told; `null`: there was none. */
function foundOf(entry: Fields | null | undefined) {
  if (entry === undefined) return undefined;
  if (entry === null) return null;
  return { key: entry.key as string, value: entry.value as string, revision: entry.revision as number };
}
