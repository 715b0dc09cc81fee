/**
 * Stories of the protocol as text: who does what at which moment, compared to a file that a person can read. With
 * `RAFT_TRANSCRIPTS=write` the files are written anew; look at the difference before you keep it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type {
  Configuration,
  LogEntry,
  RaftEffect,
  RaftMessage,
  ServerId,
} from '../../../src/quorum/raft/types.ts';
import type { TestCluster } from './cluster.ts';

export class Transcript {
  readonly #cluster: TestCluster;
  readonly #lines: string[] = [];
  /** Nothing but what is said and asked for is written down. */
  isQuiet = false;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
    cluster.onEffect = (at, effect) => this.#tell(at, effect);
    cluster.onDeliver = (message) => this.#line(message.to, `<- ${message.from}: ${describe(message)}`);
  }

  say(text: string): void {
    this.#lines.push('', `# ${text}`);
  }

  /** Where every server stands. */
  state(): void {
    for (const { id, raft } of this.#cluster.servers.values()) {
      const what =
        raft === undefined
          ? 'down'
          : `${raft.role}, term ${raft.term}, log to ${raft.lastIndex}, committed ${raft.commitIndex}, ${voters(raft.configuration)}`;
      this.#lines.push(`  = ${id}: ${what}`);
    }
  }

  expectFile(name: string): void {
    const path = join(import.meta.dirname, 'transcripts', `${name}.txt`);
    const text = `${this.#lines.join('\n').trim()}\n`;
    if (process.env.RAFT_TRANSCRIPTS === 'write') writeFileSync(path, text);
    expect(text).toBe(readFileSync(path, 'utf8'));
  }

  #tell(at: ServerId, effect: RaftEffect): void {
    if (effect.kind === 'sendMessage' || effect.kind === 'awaitDisk') return;
    this.#line(at, describeEffect(effect));
  }

  #line(at: ServerId, text: string): void {
    if (this.isQuiet) return;
    this.#lines.push(`${String(Math.round(this.#cluster.nowMs)).padStart(5)} ${at}  ${text}`);
  }
}

function describeEffect(effect: RaftEffect): string {
  switch (effect.kind) {
    case 'persistHardState':
      return `writes term ${effect.state.term}, vote for ${effect.state.votedFor ?? 'nobody'}`;
    case 'persistEntries':
      return `writes ${entries(effect.entries)}`;
    case 'apply':
      return `applies ${entries(effect.entries)}`;
    case 'leadership':
      return `is ${effect.role} in term ${effect.term}${effect.leader === undefined ? '' : `, led by ${effect.leader}`}`;
    case 'appended':
      return `proposal ${effect.token} is ${effect.index}@${effect.term}`;
    case 'refused':
      return `refuses ${effect.token}: ${effect.reason}`;
    case 'readReady':
      return `read ${effect.token} is good from ${effect.index} on`;
    case 'readRefused':
      return `read ${effect.token} is refused`;
    case 'reconfigured':
      return `change ${effect.token} is done: ${voters(effect.configuration)}`;
    case 'transferred':
      return `transfer ${effect.token} is done: ${effect.leader} leads`;
    case 'snapshotWanted':
      return `wants a snapshot sent to ${effect.to}`;
    case 'mark':
      return `notes ${effect.name}`;
    case 'sendMessage':
    case 'awaitDisk':
      return effect.kind;
  }
}

function describe(message: RaftMessage): string {
  const term = `term ${message.term}`;
  switch (message.kind) {
    case 'voteRequest': {
      const kind = message.isPreVote
        ? 'would you vote for me'
        : message.isTransfer
          ? 'vote for me, I was asked'
          : 'vote for me';
      return `${kind}? ${term}, log ends ${message.lastIndex}@${message.lastTerm}`;
    }
    case 'voteAnswer':
      return `${message.isPreVote ? 'I would' : 'I do'}${message.granted ? '' : ' not'}, ${term}`;
    case 'append': {
      const what = message.entries.length === 0 ? 'nothing new' : entries(message.entries);
      return `${what} after ${message.previousIndex}@${message.previousTerm}, commit ${message.commit}, round ${message.round}, ${term}`;
    }
    case 'appendAnswer':
      return message.ok
        ? `have ${message.index}, round ${message.round}, ${term}`
        : `does not fit, try ${message.index} (conflict: term ${message.conflictTerm}), ${term}`;
    case 'timeoutNow':
      return `stand now, ${term}`;
    case 'readRequest':
      return `from which index may I read? ${term}`;
    case 'readAnswer':
      return `${message.ok ? `read from ${message.index} on` : 'no reads here'}, ${term}`;
  }
}

function entries(list: readonly LogEntry[]): string {
  return list.map((entry) => `${entry.index}@${entry.term} ${content(entry)}`).join(', ');
}

function content(entry: LogEntry): string {
  if (entry.kind === 'command') {
    return entry.command.length > 40
      ? `${entry.command.length} bytes`
      : `"${new TextDecoder().decode(entry.command)}"`;
  }
  return entry.kind === 'blank' ? 'blank' : voters(entry.configuration);
}

function voters({ incoming, outgoing }: Configuration): string {
  return outgoing.length === 0
    ? `{${incoming.join(' ')}}`
    : `{${outgoing.join(' ')} -> ${incoming.join(' ')}}`;
}
