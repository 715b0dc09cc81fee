/** Entries written through `BoardView` over unmodified y-websocket clients, on real nodes. */
import { writeFileSync } from 'node:fs';
import * as encoding from 'lib0/encoding';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import type { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { BoardView, SkeinError } from '../../src/index.ts';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { entriesOf, hashOf, logLines, peersOf, restWriter, WholeNodes } from '../support/whole-nodes.ts';
import { provide } from '../support/yjs-clients.ts';

const nodes = new WholeNodes('yjs-write');
const providers: WebsocketProvider[] = [];
const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
let one: NodeProcess;
let two: NodeProcess;

beforeAll(async () => {
  const config = nodes.path('config.yaml');
  writeFileSync(
    config,
    [
      'boards:',
      '  small: { quota: { keys: 2 } }',
      'guard:',
      '  keys:',
      '    - { principal: editor, secret: the-key-of-an-editor-program }',
      '    - { principal: guest, zone: external, secret: the-key-of-a-guest-from-outside }',
    ].join('\n'),
  );
  one = await nodes.start('one', { flags: ['--config', config] });
  two = await nodes.start('two', { peers: [one] });
  await eventually(
    'the nodes see each other',
    async () => (await peersOf(one)).filter(({ state }) => state === 'alive').length === 2 || undefined,
  );
});
afterAll(async () => {
  for (const provider of providers) provider.destroy();
  warn.mockRestore();
  await nodes.end();
});

async function viewOf(on: NodeProcess, board: string, key?: string, wallMs: () => number = Date.now) {
  const params = on === two ? {} : { key: key ?? 'the-key-of-an-editor-program' };
  const provider = provide(on.ready.httpUrl, board, params);
  providers.push(provider);
  await eventually(`${board} is synced`, () => provider.synced || undefined);
  return { provider, doc: provider.doc, view: new BoardView(provider.doc, wallMs) };
}

/** Items that stand in the document's own lane: writes that the node has not answered. */
function provisional({ doc }: { readonly doc: Y.Doc }): number {
  return doc.getArray(`lane:${doc.clientID}`).length;
}

/** Started again where its clients look for it. */
function again(node: NodeProcess): Promise<NodeProcess> {
  const { args = [] } = node.setting;
  const meshPort = /\/tcp\/(\d+)/.exec(node.ready.meshAddresses[0] as string)?.[1] as string;
  const ports = ['--mesh-port', meshPort, '--http-port', new URL(node.ready.httpUrl).port];
  return node.again({ args: [...args, ...ports] });
}

async function refusal(write: Promise<unknown>): Promise<SkeinError> {
  const outcome = await write.then(
    () => 'done',
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(SkeinError);
  return outcome as SkeinError;
}

function updateMessage(update: Uint8Array): Uint8Array {
  const encoder = encoding.createEncoder();
  for (const number of [0, 2]) encoding.writeVarUint(encoder, number);
  encoding.writeVarUint8Array(encoder, update);
  return encoding.toUint8Array(encoder);
}

describe('BoardView: writing', () => {
  it('shows at once, resolves when the node has it, and reaches agents and other views with its author', async () => {
    const [mine, theirs] = [await viewOf(one, 'main'), await viewOf(two, 'main')];
    const changes: string[] = [];
    mine.view.observe((told) => changes.push(...told.map(({ key, deleted }) => `${key} ${deleted}`)));
    const written = mine.view.set('plan', { step: 1 });
    expect(mine.view.get('plan')?.value).toEqual({ step: 1 });
    const { revision } = await written;
    expect(mine.view.get('plan')).toMatchObject({ author: 'editor', revision, value: { step: 1 } });
    expect(provisional(mine)).toBe(0);
    await eventually('it reaches the other view', () => theirs.view.get('plan')?.author === 'editor');
    await theirs.view.set('plan', { step: 2 }, { ttlSeconds: 600 });
    await eventually('and back', () => mine.view.get('plan')?.expiresAt !== undefined);
    const agent = await nodes.client(two);
    expect((await agent.call('board_read', { key: 'plan' })).structured.value).toEqual({ step: 2 });
    await mine.view.delete('plan');
    expect([mine.view.get('plan'), changes.at(-1)]).toEqual([undefined, 'plan true']);
    await eventually('gone everywhere', () => theirs.view.get('plan') === undefined);
    expect((await agent.call('board_read', { key: 'plan' })).structured.found).toBe(false);
  });

  it('two views on two nodes at once end equal, with all of their 600 writes', async () => {
    const both = [await viewOf(one, 'main'), await viewOf(two, 'main')];
    await Promise.all(
      both.flatMap(({ view }, at) =>
        Array.from({ length: 300 }, (_, count) =>
          view.set(count % 3 === 0 ? `busy/shared/${count}` : `busy/${at}/${count}`, [at, count]),
        ),
      ),
    );
    for (const each of both) expect([each.view.waiting, provisional(each)]).toEqual([0, 0]);
    await eventually('both have the same', () => {
      const [left, right] = both.map(({ view }) => JSON.stringify(view.list('busy/')));
      return left === right && both[0]?.view.list('busy/').length === 500;
    });
    await eventually('the nodes too', async () => (await hashOf(one)) === (await hashOf(two)));
  });

  it('K07 what a killed node had not answered is sent again when it is back, and written once', async () => {
    const mine = await viewOf(one, 'main');
    const elsewhere = restWriter(two);
    await mine.view.set('kept/before', 'before');
    const pending: Promise<unknown>[] = [];
    for (let count = 0; count < 200; count++) pending.push(mine.view.set(`kept/${count}`, count));
    pending.push(mine.view.set('kept/both', 'mine, earlier'));
    await pending[0];
    one.signal('SIGKILL');
    await one.ended();
    for (let count = 200; count < 250; count++) pending.push(mine.view.set(`kept/${count}`, count));
    expect(mine.view.get('kept/249')?.value).toBe(249);
    expect(mine.view.waiting).toBeGreaterThan(0);
    await elsewhere('kept/both', 'theirs, later');
    one = nodes.own(await again(one));
    await Promise.all(pending);
    const entries = await eventually('both nodes agree', async () => {
      const [left, right] = [await entriesOf(one), await entriesOf(two)];
      return JSON.stringify([...left]) === JSON.stringify([...right]) ? left : undefined;
    });
    for (let count = 0; count < 250; count++) expect(entries.get(`kept/${count}`)).toBe(count);
    expect(entries.get('kept/both')).toBe('theirs, later');
    await eventually('the view shows the same', () => mine.view.get('kept/both')?.value === 'theirs, later');
    expect([mine.view.waiting, provisional(mine)]).toEqual([0, 0]);
  });

  it('is rejected with the reason where the node refuses: quota, zone, and what no node takes', async () => {
    const small = await viewOf(one, 'small');
    await small.view.set('a', 1);
    const told = [small.view.set('b', 1), small.view.set('c', 1), small.view.set('a', 2)];
    expect(small.view.get('c')?.value).toBe(1);
    const { body } = await refusal(told[1] as Promise<unknown>);
    expect([body.code, body.hint.includes('quota.keys')]).toEqual(['QUOTA_EXCEEDED', true]);
    await Promise.all([told[0], told[2]]);
    expect(small.view.list().map(({ key, value }) => [key, value])).toEqual([
      ['a', 2],
      ['b', 1],
    ]);
    expect(provisional(small)).toBe(0);
    const guest = await viewOf(one, 'small', 'the-key-of-a-guest-from-outside');
    expect((await refusal(guest.view.set('a', 3))).body.code).toBe('DENIED');
    expect(guest.view.get('a')?.value).toBe(2);
    const bad = [
      guest.view.set('', 1),
      guest.view.set('__proto__', 1),
      guest.view.set('k', 'x'.repeat(300_000)),
      guest.view.set('k', 1, { ttlSeconds: -1 }),
    ];
    for (const write of bad) expect((await refusal(write)).body.code).toMatch(/INVALID_ARGUMENT|TOO_LARGE/);
    const clockless = new BoardView(small.doc);
    expect((await refusal(clockless.set('a', 9))).body.message).toContain('clock');
    clockless.destroy();
  });

  it.each([
    ['an hour ahead', 3_600_000],
    ['an hour behind', -3_600_000],
  ])('with a clock that is %s replaces what it sees and is replaced in turn', async (_, offsetMs) => {
    const skewed = await viewOf(one, 'main', undefined, () => Date.now() + offsetMs);
    const right = await viewOf(one, 'main');
    const key = `skewed/${offsetMs}`;
    await right.view.set(key, 'first');
    await eventually('it arrives', () => skewed.view.get(key));
    await skewed.view.set(key, 'skewed');
    await eventually('it replaces', () => right.view.get(key)?.value === 'skewed');
    await right.view.set(key, 'last');
    await skewed.view.set(`${key}/other`, 1);
    await eventually('it is replaced', () => skewed.view.get(key)?.value === 'last');
    const { writtenAt = '' } = skewed.view.get(key) ?? {};
    expect(Math.abs(Date.parse(writtenAt) - Date.now())).toBeLessThan(10_000);
  });

  it('rejects what waits when the view is destroyed', async () => {
    const mine = await viewOf(one, 'main');
    mine.provider.disconnect();
    const write = mine.view.set('late', 1);
    mine.view.destroy();
    expect((await refusal(write)).body).toMatchObject({
      code: 'UNREACHABLE',
      details: { outcome: 'unknown' },
    });
  });
});

describe('BoardView: hostile clients', () => {
  it('change nothing outside their lane, are told so, and their own writes still count', async () => {
    const victim = await viewOf(one, 'main');
    await victim.view.set('target', 'untouched');
    const hostile = await viewOf(one, 'main');
    const lanes = [...hostile.doc.store.clients.keys()].filter((client) => client > 2 ** 32);
    const before = JSON.stringify(victim.view.list());
    const attacks: ((doc: Y.Doc) => void)[] = [
      (doc) => doc.getMap('entries').set('target', 'forged'),
      (doc) => doc.getArray(`lane:${victim.doc.clientID}`).push([Uint8Array.of(1)]),
      ...lanes.map((lane) => (doc: Y.Doc) => {
        const array = doc.getArray(`lane:${lane}`);
        array.delete(0, array.length);
        array.push([Uint8Array.of(0)]);
      }),
    ];
    for (const attack of attacks) {
      const copy = new Y.Doc();
      Y.applyUpdate(copy, Y.encodeStateAsUpdate(hostile.doc));
      warn.mockClear();
      attack(copy);
      hostile.provider.ws?.send(updateMessage(Y.encodeStateAsUpdate(copy, Y.encodeStateVector(hostile.doc))));
      await eventually('it is refused', () => String(warn.mock.calls[0]?.[0]).includes('DENIED'));
    }
    await hostile.view.set('own', 'is fine');
    await eventually('it arrives', () => victim.view.get('own'));
    await victim.view.delete('own');
    expect(JSON.stringify(victim.view.list())).toBe(before);
  });

  it('get an answer to every item of their lane, however wrong, and the document stays clean', async () => {
    const hostile = await viewOf(one, 'main');
    const entries = await entriesOf(one);
    const wrong = [new Uint8Array(0), Uint8Array.of(255), Uint8Array.from({ length: 64 }, (_, at) => at)];
    hostile.doc.getArray(`lane:${hostile.doc.clientID}`).push(wrong);
    await eventually('all are answered', () => provisional(hostile) === 0);
    await hostile.view.set('after', 1);
    expect([...(await entriesOf(one))].length).toBe(entries.size + 1);
  });

  it('that announce much, cut short or send noise are closed or refused, and others stay served', async () => {
    const mine = await viewOf(one, 'main');
    const messages = [
      updateMessage(Uint8Array.of(1, 255, 255, 255, 15, 1, 0, 4)),
      updateMessage(Uint8Array.of(1, 1, 5, 0, 3, 1, 200)),
      updateMessage(Uint8Array.from({ length: 5_000 }, (_, at) => (at * 7919) & 255)),
      updateMessage(Uint8Array.of(0, 1, 5, 255, 255, 255, 255, 15)),
      Uint8Array.of(0, 2, 255, 255),
    ];
    for (const bytes of messages) {
      const socket = new WebSocket(
        `${one.ready.httpUrl.replace('http', 'ws')}/yjs/main?key=the-key-of-an-editor-program`,
      );
      await new Promise((resolve) => socket.on('open', resolve));
      const answered = new Promise((resolve) => {
        socket.on('close', resolve);
        socket.on('message', (data: Buffer) => data[0] === 2 && resolve(undefined));
      });
      socket.send(bytes);
      await answered;
      socket.terminate();
    }
    await mine.view.set('still', 'served');
  });

  it('leave nothing in the logs of the nodes', () => {
    expect([...logLines(one), ...logLines(two)]).toEqual([]);
  });
});
