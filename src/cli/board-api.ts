/** The routes of boards, and what they answer. */
import type { ControlClient } from './client.ts';

export interface Entry {
  readonly key: string;
  readonly value: unknown;
  readonly author: string;
  readonly node: string;
  readonly writtenAt: string;
  readonly revision: number;
  readonly expiresAt?: string;
}

export interface EntryPage {
  readonly entries: readonly Entry[];
  readonly cursor?: string;
  readonly session: string;
}

export interface ReadAnswer extends Partial<Entry> {
  readonly found: boolean;
  readonly session: string;
}

export interface WriteAnswer {
  readonly revision: number;
  readonly session: string;
  readonly deleted?: boolean;
}

export interface Change extends Partial<Entry> {
  readonly key: string;
  readonly revision: number;
  readonly deleted: boolean;
}

export interface Board {
  readonly name: string;
  readonly mode: string;
  readonly keys: number;
  readonly bytes: number;
  readonly documents?: readonly string[];
}

/** How a call is made: flags that several commands share. */
export interface CallFlags {
  readonly level?: string;
  readonly session?: string;
  readonly agent?: string;
}

export function boardPath(board: string, rest = ''): string {
  return `/v1/boards/${encodeURIComponent(board)}${rest}`;
}

export function entryPath(board: string, key: string, rest = ''): string {
  return boardPath(board, `/entries/${encodeURIComponent(key)}${rest}`);
}

export function documentPath(board: string, document: string): string {
  return boardPath(board, `/documents/${encodeURIComponent(document)}`);
}

/** What writes carry beside their own arguments. */
export function sharedOf({ level, session, agent }: CallFlags) {
  return { level, session, agent_id: agent };
}

/** Every entry of a board, in the order of keys, a page at a time. */
export async function* allEntries(
  client: ControlClient,
  board: string,
  {
    prefix,
    level,
    pageSize,
    signal,
  }: {
    prefix?: string | undefined;
    level?: string | undefined;
    pageSize: number;
    signal: AbortSignal;
  },
): AsyncGenerator<readonly Entry[]> {
  let cursor: string | undefined;
  do {
    const page = await client.call<EntryPage>('GET', boardPath(board, '/entries'), {
      query: { prefix, level, limit: pageSize, cursor },
      signal,
    });
    yield page.entries;
    cursor = page.cursor;
  } while (cursor !== undefined);
}
