/** A whole Skein node (libp2p, gate, log on disk) in the participant's process, called through its own interface. */
import * as Y from 'yjs';
import type { RunningNode } from '../../../src/node/node.ts';
import type { Transition } from '../detection.ts';
import type { Candidate, Replica, Setup } from '../lib/candidate.ts';
import { nowUs, until } from '../lib/clock.ts';
import { type LoopHold, watchLoop } from '../lib/loop-hold.ts';
import {
  addressOf,
  BOARD,
  keysOf,
  listEntries,
  met,
  msSince,
  startBenchNode,
  writeEntry,
} from '../lib/skein-node.ts';

interface Filling {
  readonly prefix: string;
  readonly keys: number;
  readonly valueBytes: number;
}

const LOOK_EVERY_MS = 2;
const DEADLINE_MS = 60_000;

class SkeinReplica implements Replica {
  readonly #setup: Setup;
  #node: RunningNode | undefined;
  #listener: (key: string, value: string) => void = () => {};
  #transitions: Transition[] = [];
  #looking: NodeJS.Timeout | undefined;
  #endHold: (() => LoopHold) | undefined;

  constructor(setup: Setup) {
    this.#setup = setup;
  }

  get address(): string {
    return this.#node === undefined ? '' : addressOf(this.#node);
  }

  get #running(): RunningNode {
    if (this.#node === undefined) throw new Error('the node does not run');
    return this.#node;
  }

  async start(peers: readonly string[], progress?: (line: string) => void): Promise<RunningNode> {
    const node = await this.#startNode(peers, progress);
    node.blackboard.watch(BOARD, (changes) => {
      for (const { key, entry } of changes) {
        if (entry !== undefined) this.#listener(key, String(entry.value));
      }
    });
    return node;
  }

  async #startNode(peers: readonly string[], progress?: (line: string) => void): Promise<RunningNode> {
    const { directory, index } = this.#setup;
    const node = await startBenchNode(
      { directory, name: `node-${index}`, peers },
      progress === undefined ? {} : { progress },
    );
    this.#node = node;
    return node;
  }

  /** One address is enough: the nodes tell each other of the rest. */
  async connect(addresses: readonly string[], participants: number): Promise<void> {
    if (this.#node === undefined) await this.start(addresses.filter((address) => address !== ''));
    await met(this.#running, participants);
  }

  set(key: string, value: string): Promise<void> {
    return writeEntry(this.#running, key, value);
  }

  async setAll(entries: readonly (readonly [string, string])[]): Promise<void> {
    const node = this.#running;
    await Promise.all(entries.map(([key, value]) => writeEntry(node, key, value)));
  }

  observe(listener: (key: string, value: string) => void): void {
    this.#listener = listener;
  }

  entries(): Promise<Iterable<readonly [string, string]>> {
    return listEntries(this.#running);
  }

  async close(): Promise<void> {
    clearInterval(this.#looking);
    await this.#node?.stop();
    this.#node = undefined;
  }

  probe(question: string, argument: unknown): unknown {
    switch (question) {
      case 'address':
        return this.address;
      case 'nodeId':
        return this.#running.ready.nodeId;
      case 'watchMembers':
        return this.#watchMembers();
      case 'awaitState':
        return this.#awaitState(argument as { member: string; state: string; deadlineMs: number });
      case 'transitions':
        return this.#transitions;
      case 'fill':
        return this.#fill(argument as Filling);
      case 'encodeAndApplyMs':
        return this.#encodeAndApplyMs();
      case 'watchLoop':
        this.#endHold = watchLoop();
        return undefined;
      case 'loopHold':
        return this.#endHold?.();
      case 'join':
        return this.#join(
          argument as { addresses: string[]; keys: number; lastKey?: string; label?: string },
        );
      default:
        return undefined;
    }
  }

  /** Looks at the members all the time and keeps every change of a state with its moment. */
  #watchMembers(): void {
    const states = new Map<string, string>();
    const look = () => {
      for (const { nodeId, state } of this.#running.mesh.peers()) {
        const before = states.get(nodeId);
        if (before === state) continue;
        states.set(nodeId, state);
        if (before !== undefined) this.#transitions.push({ member: nodeId, state, atUs: nowUs() });
      }
    };
    look();
    this.#looking = setInterval(look, LOOK_EVERY_MS);
  }

  #awaitState(wanted: { member: string; state: string; deadlineMs: number }): Promise<void> {
    return until(
      `${wanted.member} ${wanted.state}`,
      () => this.#transitions.some(({ member, state }) => member === wanted.member && state === wanted.state),
      wanted.deadlineMs,
    );
  }

  async #fill({ prefix, keys, valueBytes }: Filling): Promise<void> {
    const node = this.#running;
    for (let first = 0; first < keys; first += 500) {
      const calls = Array.from({ length: Math.min(500, keys - first) }, (_, at) =>
        writeEntry(node, `${prefix}-${first + at}`, `${first + at}:`.padEnd(valueBytes, '.')),
      );
      await Promise.all(calls);
    }
  }

  /** The same board as one Yjs update, made and taken in by Yjs alone: what a takeover cannot do without. */
  #encodeAndApplyMs(): number {
    const startUs = nowUs();
    const update = this.#running.yjs.encodeState(BOARD, undefined, undefined);
    Y.applyUpdate(new Y.Doc(), update);
    return msSince(startUs);
  }

  /** Starts this node against a running one, with nobody watching; resolves once it has that many keys. */
  async #join({ addresses, keys }: { addresses: string[]; keys: number }) {
    let dialUs = 0;
    const node = await this.#startNode(addresses, () => {
      // The last line of progress comes right after the first dial.
      dialUs = nowUs();
    });
    const endHold = watchLoop();
    await until('a link', () => node.mesh.status().links > 0, DEADLINE_MS, 1);
    const linkUs = nowUs();
    await until(`${keys} keys`, () => keysOf(node) >= keys, DEADLINE_MS, LOOK_EVERY_MS);
    const endUs = nowUs();
    return { fromDialMs: (endUs - dialUs) / 1000, fromLinkMs: (endUs - linkUs) / 1000, hold: endHold() };
  }
}

export const candidate: Candidate = {
  name: 'skein',
  async open(setup) {
    const replica = new SkeinReplica(setup);
    // The others wait for an address to start from.
    if (setup.index === 0) await replica.start([]);
    return replica;
  },
};
