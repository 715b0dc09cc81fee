/** One core alone, called `a`, and a test that plays everybody else. */
import { seededRng } from '../../../src/kernel/rng.ts';
import { Raft } from '../../../src/quorum/raft/raft.ts';
import type {
  LogEntry,
  RaftConfig,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  ServerId,
} from '../../../src/quorum/raft/types.ts';
import { command, id, TEST_CONFIG } from './cluster.ts';

type Body<M> = M extends RaftMessage ? Omit<M, 'from' | 'to'> : never;
type Sent<K> = Extract<RaftMessage, { kind: K }>;

/** Entries with these terms, from index 1 on. */
export function logOf(...terms: number[]): LogEntry[] {
  return terms.map((term, place) => commandAt(place + 1, term));
}

export function commandAt(index: number, term: number, text = `${index}@${term}`): LogEntry {
  return { kind: 'command', index, term, command: command(text) };
}

export class Solo {
  readonly raft: Raft;
  readonly effects: RaftEffect[] = [];
  nowMs = 1_000;

  constructor(
    options: {
      readonly voters?: readonly string[];
      readonly term?: number;
      readonly votedFor?: string;
      readonly log?: readonly LogEntry[];
      readonly seed?: number;
      readonly config?: Partial<RaftConfig>;
    } = {},
  ) {
    const incoming = (options.voters ?? ['a', 'b', 'c']).map(id);
    this.raft = new Raft({
      self: id('a'),
      config: { ...TEST_CONFIG, ...options.config },
      rng: seededRng(options.seed ?? 1),
      now: this.#now,
      restored: {
        hardState: {
          term: options.term ?? 0,
          votedFor: options.votedFor === undefined ? undefined : id(options.votedFor),
        },
        point: { index: 0, term: 0, configuration: { incoming, outgoing: [] } },
        entries: options.log ?? [],
      },
    });
  }

  get #now() {
    return { monoMs: this.nowMs, wallMs: 0 };
  }

  tell(event: RaftEvent): readonly RaftEffect[] {
    const effects = this.raft.handle(event, this.#now);
    this.effects.push(...effects);
    return effects;
  }

  receive(from: string, body: Body<RaftMessage>): readonly RaftEffect[] {
    return this.tell({ kind: 'received', message: { ...body, from: id(from), to: id('a') } as RaftMessage });
  }

  append(
    from: string,
    term: number,
    previous: readonly [index: number, term: number],
    entries: readonly LogEntry[],
    commit = 0,
    round = 1,
  ): readonly RaftEffect[] {
    const [previousIndex, previousTerm] = previous;
    const head = { term, previousIndex, previousTerm, commit, round, stable: 0 };
    return this.receive(from, { kind: 'append', ...head, entries });
  }

  have(from: string, index: number, round = 0): readonly RaftEffect[] {
    const { term } = this.raft;
    return this.receive(from, { kind: 'appendAnswer', term, ok: true, index, conflictTerm: 0, round });
  }

  expire(afterMs = 0): readonly RaftEffect[] {
    this.nowMs += afterMs;
    const effects = this.raft.expire(this.#now);
    this.effects.push(...effects);
    return effects;
  }

  /** All that was ordered to disk so far is there. */
  sync(): readonly RaftEffect[] {
    const awaited = this.effects.findLast((effect) => effect.kind === 'awaitDisk');
    if (awaited?.kind !== 'awaitDisk') return [];
    return this.tell({ kind: 'diskReached', sequence: awaited.sequence });
  }

  /** Elected by all others, nothing acknowledged yet. */
  lead(): this {
    this.expire(1_000);
    this.#vote(true, this.raft.term + 1);
    this.sync();
    this.#vote(false, this.raft.term);
    if (this.raft.role !== 'leader') throw new Error('not elected');
    return this;
  }

  /** The same, and everybody has everything. */
  leadAll(): this {
    this.lead();
    this.sync();
    for (const { server } of this.raft.progress()) this.have(server, this.raft.lastIndex);
    this.flush();
    return this;
  }

  flush(): readonly RaftEffect[] {
    return this.expire(0);
  }

  propose(...texts: string[]): readonly RaftEffect[] {
    const proposals = texts.map((text, token) => ({ token, command: command(text) }));
    return this.tell({ kind: 'proposed', proposals });
  }

  #vote(isPreVote: boolean, term: number): void {
    const { incoming, outgoing } = this.raft.configuration;
    for (const voter of new Set([...incoming, ...outgoing])) {
      if (voter !== id('a')) this.receive(voter, { kind: 'voteAnswer', term, isPreVote, granted: true });
    }
  }
}

/** Messages of one kind among effects, to one server if named. */
export function sent<K extends RaftMessage['kind']>(
  effects: readonly RaftEffect[],
  kind: K,
  to?: string,
): (Sent<K> & { readonly afterDisk: boolean })[] {
  return effects.flatMap((effect) =>
    effect.kind === 'sendMessage' &&
    effect.message.kind === kind &&
    (to === undefined || effect.message.to === (to as ServerId))
      ? [{ ...(effect.message as Sent<K>), afterDisk: effect.afterDisk }]
      : [],
  );
}

export function of<K extends RaftEffect['kind']>(
  effects: readonly RaftEffect[],
  kind: K,
): Extract<RaftEffect, { kind: K }>[] {
  return effects.filter((effect): effect is Extract<RaftEffect, { kind: K }> => effect.kind === kind);
}

/** `2@1 3@1`: index and term. */
export function brief(entries: readonly LogEntry[]): string {
  return entries.map((entry) => `${entry.index}@${entry.term}`).join(' ');
}
