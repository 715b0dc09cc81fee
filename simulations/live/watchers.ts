/** Agents that follow the board with `board_wait` all along, and what may be said of what they were told. */
import { setTimeout as delay } from 'node:timers/promises';
import type { HistoryOperation } from '../lib/quorum-history.ts';
import { BOARD, PREFIX, type Recorder } from './agents.ts';
import type { Client, Fields } from './clients.ts';

export interface Seen {
  readonly key: string;
  readonly revision: number;
  /** Absent: deleted. */
  readonly value?: string;
}

export interface Watched {
  readonly watcher: string;
  readonly seen: readonly Seen[];
  /** Where the node said that it no longer knows what came in between: positions in `seen`. */
  readonly gaps: readonly Gap[];
}

export interface Gap {
  readonly at: number;
  readonly why: string;
}

export class Watcher implements Watched {
  readonly watcher: string;
  readonly seen: Seen[] = [];
  readonly gaps: Gap[] = [];
  readonly #client: Client;
  readonly #recorder: Recorder;
  #cursor: string | undefined;

  constructor(name: string, client: Client, recorder: Recorder) {
    this.watcher = name;
    this.#client = client;
    this.#recorder = recorder;
  }

  /** Takes its place: all that changes from now on it must be told. */
  async begin(until: AbortSignal): Promise<void> {
    while (this.#cursor === undefined && !until.aborted) {
      await this.#wait(0);
      if (this.#cursor === undefined) await delay(100);
    }
  }

  async follow(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      const isTold = await this.#wait(this.#cursor === undefined ? 0 : 1);
      if (!isTold) await delay(100, undefined, { signal: until }).catch(() => {});
    }
    await this.#client.close();
  }

  hasSeen(key: string): boolean {
    return this.seen.some((each) => each.key === key);
  }

  async #wait(seconds: number): Promise<boolean> {
    const from = this.#cursor === undefined ? {} : { cursor: this.#cursor };
    const args = { board: BOARD, prefix: PREFIX, timeout_seconds: seconds, ...from };
    const told = await this.#client.call('board_wait', args);
    if (told.kind === 'done') {
      this.#cursor = told.value.cursor as string;
      this.seen.push(...(told.value.changes as Fields[]).map(seenOf));
      return true;
    }
    this.#recorder.fail(told);
    if (told.error?.code === 'NOT_FOUND') {
      this.gaps.push({ at: this.seen.length, why: `${this.#cursor}: ${JSON.stringify(told.error)}` });
      this.#cursor = undefined;
    }
    return false;
  }
}

function seenOf({ key, revision, value, deleted }: Fields): Seen {
  const seen = { key: key as string, revision: revision as number };
  return deleted === true ? seen : { ...seen, value: value as string };
}

/**
 * Every revision that somebody saw, or that a writer was told, must have been told to every watcher once, in order and
 * with the same content; but for those in a gap that it was told of, and those after its last.
 */
export function watchViolations(
  watched: readonly Watched[],
  history: readonly HistoryOperation[],
): readonly string[] {
  const wrong: string[] = [];
  const known = new Map<number, string>();
  const learn = (revision: number, text: string, who: string) => {
    const other = known.get(revision);
    if (other !== undefined && other !== text)
      wrong.push(`revision ${revision} is ${text} for ${who}, and ${other} for another`);
    known.set(revision, other ?? text);
  };
  for (const operation of history) {
    const change = changeOf(operation);
    if (change !== undefined) learn(change.revision, textOf(change), `client ${operation.client}`);
  }
  for (const { watcher, seen } of watched)
    for (const each of seen) learn(each.revision, textOf(each), watcher);
  const revisions = [...known.keys()].sort((left, right) => left - right);
  for (const { watcher, seen, gaps } of watched) {
    for (const [index, { revision }] of seen.entries()) {
      // Who takes a new place takes that of its node, which may be behind another.
      const isNew = gaps.some(({ at }) => at === index);
      const before = isNew ? 0 : (seen[index - 1]?.revision ?? 0);
      if (revision <= before) wrong.push(`${watcher} was told revision ${revision} after ${before}`);
    }
    const told = new Set(seen.map(({ revision }) => revision));
    const last = seen.at(-1)?.revision ?? 0;
    const missed = revisions.filter(
      (revision) => revision <= last && !told.has(revision) && !isInGap(revision, seen, gaps),
    );
    if (missed.length > 0)
      wrong.push(`${watcher} was never told ${missed.length} revisions: ${missed.slice(0, 10).join(', ')}`);
  }
  return wrong;
}

function isInGap(revision: number, seen: readonly Seen[], gaps: readonly Gap[]): boolean {
  return gaps.some(({ at }) => {
    const before = seen[at - 1]?.revision ?? 0;
    const after = seen[at]?.revision ?? Number.POSITIVE_INFINITY;
    return revision > before && revision < after;
  });
}

function changeOf(operation: HistoryOperation): Seen | undefined {
  if (operation.outcome !== 'ok' || !('output' in operation)) return undefined;
  const { kind, key } = operation;
  const revision = operation.output?.at;
  if (revision === undefined) return undefined;
  if (kind === 'put') return { key, revision, value: operation.input.value };
  if (kind === 'delete') return { key, revision };
  if (kind === 'compareAndSet' && operation.output?.succeeded === true)
    return { key, revision, value: operation.input.value };
  return undefined;
}

function textOf({ key, value }: Seen): string {
  return value === undefined ? `the deletion of ${key}` : `${key} = ${value}`;
}
