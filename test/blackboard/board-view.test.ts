/** `BoardView` beside the node that it mirrors: the same entries, from nothing but the Yjs document. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { BoardView, type BoardViewChange } from '../../src/blackboard/board-view.ts';
import { KIND, writeEntry } from '../../src/blackboard/entry.ts';
import { stampOf } from '../../src/blackboard/hlc.ts';
import { ByteWriter } from '../../src/kernel/bytes.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { eventually, NodeProcess, scratch } from '../support/node-process.ts';
import { expectOk, MAIN, Network, START_MS } from './network.ts';

const NODES = ['a', 'b', 'c'];
const KEYS = ['k/1', 'k/2', 'k/3', 'log/1', 'log/2', 'ä', '__k'];

/** What a node lists, without what the document cannot tell. */
function listed(network: Network, name: string, prefix = ''): unknown[] {
  const { entries } = expectOk(network.call(name, { op: 'list', board: MAIN, prefix, limit: 1_000 }));
  return entries.map(({ node: _, ...rest }) => rest);
}

/** A Yjs client of one node: its document follows what the node takes in, its view follows the document. */
class Follower {
  readonly doc = new Y.Doc();
  readonly view: BoardView;
  readonly #network: Network;
  readonly #name: string;

  constructor(network: Network, name: string) {
    this.#network = network;
    this.#name = name;
    this.view = new BoardView(this.doc, () => network.now().wallMs);
    this.connect();
  }

  connect(): void {
    const { boards } = this.#network.node(this.#name);
    Y.applyUpdate(this.doc, boards.encodeState(MAIN, undefined, Y.encodeStateVector(this.doc)));
  }

  follow(): void {
    for (const effect of this.#network.node(this.#name).effects.splice(0)) {
      if (effect.kind === 'yjsUpdated' && effect.document === undefined)
        Y.applyUpdate(this.doc, effect.update);
    }
  }

  /** The view of the same document by one who comes now. */
  get anew(): unknown {
    const view = new BoardView(this.doc, () => this.#network.now().wallMs);
    const entries = view.list();
    view.destroy();
    return entries;
  }
}

function act(network: Network, rng: Rng): void {
  const name = rng.pick(NODES);
  const key = rng.pick(KEYS);
  const value = { n: rng.below(1_000), text: 'x'.repeat(rng.below(40)) };
  const isLog = key.startsWith('log/');
  switch (rng.below(8)) {
    case 0:
      network.call(name, { op: 'delete', board: MAIN, key });
      break;
    case 1:
      network.write(name, key, value, { ttlSeconds: 1 + rng.below(20) });
      break;
    case 2:
    case 3:
      if (isLog) network.call(name, { op: 'append', board: MAIN, key, items: [value, rng.below(9)] });
      else network.write(name, key, value);
      break;
    case 4:
      network.run(rng.below(8_000));
      break;
    default:
      network.write(name, key, isLog && rng.chance(0.5) ? [value] : value);
  }
}

function disturb(network: Network, rng: Rng, restarts: boolean): void {
  const [left, right] = rng.shuffled(NODES) as [string, string];
  const die = rng.float();
  if (die < 0.06) network.cut(left, right);
  else if (die < 0.12) network.heal();
  else if (die < 0.15 && restarts) network.restart(left);
}

/** Runs a history; `check` is called now and then, and once all nodes have converged. */
function run(seed: number, restarts: boolean, check: (network: Network, converged: boolean) => void): void {
  const rng = seededRng(seed);
  const network = new Network(seed, NODES);
  check(network, false);
  for (let step = 0; step < 120; step++) {
    act(network, rng);
    disturb(network, rng, restarts);
    check(network, false);
  }
  network.heal();
  network.run(2_000);
  network.converge();
  check(network, true);
}

describe('board view: the same entries as the node', () => {
  it('over the exported state, for any history (3 writers, logs, deletes, times to live, cuts, restarts)', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        run(seed, true, (network, converged) => {
          if (!converged) return;
          for (const name of NODES) {
            const fresh = new Follower(network, name);
            expect(fresh.view.list()).toEqual(listed(network, name));
            for (const prefix of ['k/', 'log/', 'none'])
              expect(fresh.view.list(prefix)).toEqual(listed(network, name, prefix));
            for (const entry of fresh.view.list()) expect(fresh.view.get(entry.key)).toEqual(entry);
            fresh.view.destroy();
          }
        });
      }),
      { numRuns: 15 },
    );
  });

  it('kept up to date transaction by transaction, and never other than a view made anew', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        let followers: readonly Follower[] = [];
        run(seed, false, (network, converged) => {
          if (followers.length === 0) followers = NODES.map((name) => new Follower(network, name));
          for (const [index, follower] of followers.entries()) {
            follower.follow();
            expect(follower.view.list()).toEqual(follower.anew);
            if (converged) expect(follower.view.list()).toEqual(listed(network, NODES[index] as string));
          }
        });
      }),
      { numRuns: 10 },
    );
  });
});

/** A document with lanes written by hand, as a node would send it. */
function laneUpdate(
  incarnation: number,
  change: (lane: Y.Array<Uint8Array>, doc: Y.Doc) => void,
): Uint8Array {
  const doc = new Y.Doc();
  doc.clientID = incarnation;
  change(doc.getArray<Uint8Array>(`lane:${incarnation}`), doc);
  return Y.encodeStateAsUpdate(doc);
}

function item(
  key: string,
  value: unknown,
  atMs: number,
  extra: { kind?: 0 | 1 | 2; ttlSeconds?: number } = {},
) {
  const writer = new ByteWriter();
  const { kind = KIND.set, ttlSeconds } = extra;
  const text = kind === KIND.delete ? '' : JSON.stringify(value);
  writeEntry(writer, { kind, revision: stampOf(atMs), key, author: 'agent', ttlSeconds, value: text });
  return writer.take();
}

describe('board view: what listeners are told', () => {
  it('each changed key once for a transaction, deletes too, and nothing of what loses', () => {
    const doc = new Y.Doc();
    const view = new BoardView(doc);
    const told: (readonly BoardViewChange[])[] = [];
    const stop = view.observe((changes) => told.push(changes));
    Y.applyUpdate(
      doc,
      laneUpdate(7, (lane) =>
        lane.push([item('k', 1, START_MS), item('k', 2, START_MS + 5), item('l', 3, START_MS)]),
      ),
    );
    expect(told.map((changes) => changes.map(({ key, entry }) => [key, entry?.value]))).toEqual([
      [
        ['k', 2],
        ['l', 3],
      ],
    ]);
    Y.applyUpdate(
      doc,
      laneUpdate(8, (lane) => lane.push([item('k', 'older', START_MS)])),
    );
    expect(told).toHaveLength(1);
    Y.applyUpdate(
      doc,
      laneUpdate(9, (lane) => lane.push([item('k', 0, START_MS + 9, { kind: KIND.delete })])),
    );
    expect(told[1]).toEqual([{ key: 'k', revision: stampOf(START_MS + 9), deleted: true }]);
    expect(view.get('k')).toBeUndefined();
    stop();
    Y.applyUpdate(
      doc,
      laneUpdate(10, (lane) => lane.push([item('m', 1, START_MS)])),
    );
    expect(told).toHaveLength(2);
    expect(view.get('m')?.value).toBe(1);
    view.destroy();
    Y.applyUpdate(
      doc,
      laneUpdate(11, (lane) => lane.push([item('n', 1, START_MS)])),
    );
    expect(view.get('n')).toBeUndefined();
  });

  it('an item that its author deleted lets what it hid show again', () => {
    const doc = new Y.Doc();
    const view = new BoardView(doc);
    const author = new Y.Doc();
    author.clientID = 7;
    author.on('update', (update: Uint8Array) => Y.applyUpdate(doc, update));
    author.getArray<Uint8Array>('lane:7').push([item('k', 'newer', START_MS + 1)]);
    Y.applyUpdate(
      doc,
      laneUpdate(8, (lane) => lane.push([item('k', 'older', START_MS)])),
    );
    expect(view.get('k')?.value).toBe('newer');
    author.getArray('lane:7').delete(0, 1);
    expect(view.get('k')?.value).toBe('older');
  });
});

describe('board view: what it does not show', () => {
  it('an entry whose time is up by the clock that it was given; without a clock until it is deleted', () => {
    const doc = new Y.Doc();
    let wallMs = START_MS;
    const [timed, untimed] = [new BoardView(doc, () => wallMs), new BoardView(doc)];
    Y.applyUpdate(
      doc,
      laneUpdate(7, (lane) => lane.push([item('k', 1, START_MS, { ttlSeconds: 10 })])),
    );
    wallMs = START_MS + 9_999;
    expect(timed.get('k')?.expiresAt).toBe(new Date(START_MS + 10_000).toISOString());
    wallMs = START_MS + 10_000;
    expect([timed.list(), untimed.list().length]).toEqual([[], 1]);
  });

  it('items of other arrays, of the wrong client, and those that no node lets pass', () => {
    const doc = new Y.Doc();
    const view = new BoardView(doc);
    doc.getArray<Uint8Array>('lane:99').push([item('foreign', 1, START_MS)]);
    const hostile = laneUpdate(7, (lane, other) => {
      other.getArray<Uint8Array>('other').push([item('elsewhere', 1, START_MS)]);
      other.getMap('lane:8').set('map', item('map', 1, START_MS));
      lane.push([
        Uint8Array.of(1, 2, 3),
        new Uint8Array(0),
        item('', 1, START_MS),
        item('good', 1, START_MS),
      ]);
    });
    Y.applyUpdate(doc, hostile);
    expect(view.list().map(({ key }) => key)).toEqual(['good']);
  });
});

describe('board view: in a browser', () => {
  it('its modules import neither Node nor any package', () => {
    const seen = new Set<string>();
    const outside: string[] = [];
    const visit = (path: string): void => {
      if (seen.has(path)) return;
      seen.add(path);
      for (const [, types, specifier = ''] of readFileSync(path, 'utf8').matchAll(
        /^(?:import|export) (type )?[^;]*?from '([^']+)'/gms,
      )) {
        if (types !== undefined) continue;
        if (specifier.startsWith('.')) visit(resolve(dirname(path), specifier));
        else outside.push(`${path}: ${specifier}`);
      }
    };
    visit(resolve(import.meta.dirname, '../../src/blackboard/board-view.ts'));
    expect(seen.size).toBeGreaterThan(5);
    expect(outside).toEqual([]);
  });
});

describe('board view: over an unmodified WebsocketProvider', () => {
  const data = scratch('board-view');
  const nodes: NodeProcess[] = [];
  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.end()));
    data.remove();
  });

  it('shows what agents write on the node, live, and not what the client tries to write elsewhere than in its lane', async () => {
    const node = await NodeProcess.start({ data: data.path('a'), name: 'a' });
    nodes.push(node);
    const { httpUrl } = node.ready;
    const write = async (path: string, method: string, body: unknown): Promise<void> => {
      const response = await fetch(`${httpUrl}/v1/boards/main/entries/${path}`, {
        method,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(response.status).toBe(200);
    };
    await write('before', 'PUT', { value: { was: 'there' } });
    const provider = new WebsocketProvider(`${httpUrl.replace('http', 'ws')}/yjs`, 'main', new Y.Doc(), {
      WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
      disableBc: true,
    });
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const view = new BoardView(provider.doc, Date.now);
    try {
      await eventually('what was there', () => view.get('before'));
      await write('live', 'PUT', { value: 1 });
      await write('live', 'PUT', { value: 2 });
      await write('log/items', 'POST', { items: ['x', 'y'] });
      await write('before', 'DELETE', {});
      await eventually(
        'what was written',
        () => view.get('live')?.value === 2 && view.get('log') && !view.get('before'),
      );
      provider.doc.getArray('lane:7').push([item('forged', 1, START_MS)]);
      await eventually('the refusal', () =>
        warn.mock.calls.some((call) => String(call[0]).includes('DENIED')),
      );
      const answer = (await (await fetch(`${httpUrl}/v1/boards/main/entries`)).json()) as {
        entries: { node?: string }[];
      };
      expect(view.list()).toEqual(
        answer.entries.map(({ node: _, ...rest }) => expect.objectContaining(rest)),
      );
      expect(answer.entries).toHaveLength(2);
    } finally {
      warn.mockRestore();
      view.destroy();
      provider.destroy();
    }
  });
});
