/** Unmodified y-websocket clients on real nodes, beside agents. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual, promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WebsocketProvider } from 'y-websocket';
import { BoardView } from '../../src/index.ts';
import { eventually, type NodeProcess, ROOT } from '../support/node-process.ts';
import { logLines, peersOf, WholeNodes } from '../support/whole-nodes.ts';
import { provide } from '../support/yjs-clients.ts';

const KEY = 'the-key-of-an-editor-program';
const nodes = new WholeNodes('yjs');
const providers: WebsocketProvider[] = [];
let open: NodeProcess;
/** Wants a key over HTTP. */
let closed: NodeProcess;

beforeAll(async () => {
  const config = nodes.path('config.yaml');
  writeFileSync(config, `guard:\n  keys:\n    - { principal: editor, secret: ${KEY} }\n`);
  open = await nodes.start('open');
  closed = await nodes.start('closed', { peers: [open], flags: ['--config', config] });
  await eventually(
    'the nodes see each other',
    async () => (await peersOf(open)).filter(({ state }) => state === 'alive').length === 2 || undefined,
  );
});
afterAll(async () => {
  for (const provider of providers) provider.destroy();
  await nodes.end();
});

async function synced(on: NodeProcess, room: string): Promise<WebsocketProvider> {
  const provider = provide(on.ready.httpUrl, room, on === closed ? { key: KEY } : {});
  providers.push(provider);
  await eventually(`${room} is synced`, () => provider.synced || undefined);
  return provider;
}

describe('a WebsocketProvider on a real node', () => {
  it('sees the entries of a board live, with several writers on two nodes at once', async () => {
    const agents = await Promise.all([
      nodes.client(open),
      nodes.client(open, 'v1 (2025-11-25)'),
      nodes.client(closed, 'v2 (2026-07-28)', KEY),
    ]);
    await agents[0]?.call('board_write', { key: 'early', value: 'before it came' });
    const [here, there] = [await synced(open, 'main'), await synced(closed, 'main')];
    const views = [new BoardView(here.doc), new BoardView(there.doc)];
    expect(views[0]?.get('early')?.value).toBe('before it came');
    await Promise.all(
      agents.map(async (agent, at) => {
        for (let count = 0; count <= 20; count++) {
          const author = at === 2 ? {} : { agent_id: `agent-${at}` };
          await agent.call('board_write', { key: `own/${at}`, value: count, ...author });
          await agent.call('board_write', { key: `shared`, value: [at, count], ...author });
        }
        await agent.call('board_delete', { key: `own/${at === 0 ? 0 : 'none'}` });
      }),
    );
    const read = await agents[0]?.call('board_read', { key: 'shared' });
    for (const view of views) {
      await eventually('all is there', () => {
        const shared = isDeepStrictEqual(view.get('shared')?.value, read?.structured.value);
        const own = view.list('own/').map(({ key, value, author }) => ({ key, value, author }));
        const expected = [
          { key: 'own/1', value: 20, author: 'agent-1' },
          { key: 'own/2', value: 20, author: 'editor' },
        ];
        return (shared && isDeepStrictEqual(own, expected)) || undefined;
      });
      expect(view.list().map(({ key }) => key)).toEqual(['early', 'own/1', 'own/2', 'shared']);
    }
  });

  it('edits a free document with another one and with an agent, on two nodes, all at once', async () => {
    const [here, there] = [await synced(open, 'main/notes'), await synced(closed, 'main/notes')];
    const agent = await nodes.client(closed, 'v2 (2026-07-28)', KEY);
    const [mine, theirs] = [here.doc.getText('text'), there.doc.getText('text')];
    mine.insert(0, 'Plan: [agent] and [editor].');
    await eventually('the first text arrives', () => theirs.toString() === mine.toString() || undefined);

    const rounds = 15;
    const typing = async () => {
      for (let count = 0; count < rounds; count++) {
        mine.insert(mine.length, ` h${count}`);
        theirs.insert(theirs.toString().indexOf('[editor]') + 8, ` t${count}`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const editing = async () => {
      for (let count = 0; count < rounds; count++) {
        const { isError, text } = await agent.call('document_edit', {
          document: 'notes',
          edits: [{ kind: 'insert_after', find: '[agent]', text: ` a${count}` }],
        });
        expect(isError, text).toBe(false);
      }
    };
    await Promise.all([typing(), editing()]);

    const pieces = ['h', 't', 'a'].flatMap((who) => Array.from({ length: rounds }, (_, at) => `${who}${at}`));
    const whole = (text: string) => {
      const words = text.replace(/[[\].]/g, ' ').split(/\s+/);
      return pieces.every((piece) => words.filter((word) => word === piece).length === 1);
    };
    await eventually(
      'all have all',
      () => (mine.toString() === theirs.toString() && whole(mine.toString())) || undefined,
    );
    const onOpen = await nodes.client(open);
    for (const reader of [agent, onOpen]) {
      await eventually('agents read the same', async () => {
        const { structured } = await reader.call('document_read', { document: 'notes' });
        return structured.text === mine.toString() || undefined;
      });
    }
  });

  it('that has a document open when it is deleted, on whatever node, is told and closed; a new copy begins anew', async () => {
    const [here, there] = [await synced(open, 'main/gone'), await synced(closed, 'main/gone')];
    here.doc.getText('text').insert(0, 'secret plan');
    await eventually('both have it', () => there.doc.getText('text').length > 0 || undefined);
    const codes = [here, there].map(
      (provider) =>
        new Promise((resolve) => provider.on('connection-close', (event) => resolve(event?.code))),
    );
    const agent = await nodes.client(closed, 'v2 (2026-07-28)', KEY);
    const { structured } = await agent.call('document_delete', { document: 'gone' });
    expect(structured).toMatchObject({ deleted: true });
    expect(await Promise.all(codes)).toEqual([4410, 4410]);
    expect([here, there].map(({ doc }) => doc.getText('text').toString())).toEqual(['', '']);
    const anew = await synced(open, 'main/gone');
    anew.doc.getText('text').insert(0, 'new plan');
    await eventually('the other node has the new text', async () => {
      const read = await agent.call('document_read', { document: 'gone' });
      return read.structured.text === 'new plan' || undefined;
    });
  });

  it('that loses its node for a while brings what was written meanwhile, and gets what it missed', async () => {
    const [here, there] = [await synced(open, 'main/away'), await synced(closed, 'main/away')];
    here.disconnect();
    here.doc.getText('text').insert(0, 'written offline ');
    there.doc.getText('text').insert(0, 'written online ');
    here.connect();
    await eventually('both have both', () => {
      const text = here.doc.getText('text').toString();
      const equal = text === there.doc.getText('text').toString();
      return (equal && text.includes('offline') && text.includes('online')) || undefined;
    });
  });

  it.each([
    ['no key', {}],
    ['a wrong key', { key: 'not-the-key-of-an-editor' }],
  ])('with %s is refused where keys are configured, sees nothing and writes nothing', async (_, params) => {
    const provider = provide(closed.ready.httpUrl, 'main/secret', params as Record<string, string>);
    providers.push(provider);
    const refused = new Promise((resolve) => provider.on('connection-error', resolve));
    provider.doc.getText('text').insert(0, 'let me in');
    await refused;
    expect([provider.wsconnected, provider.synced]).toEqual([false, false]);
    provider.destroy();
    const { structured } = await (await nodes.client(closed, 'v2 (2026-07-28)', KEY)).call('document_read', {
      document: 'secret',
    });
    expect(structured.text).toBe('');
  });

  it('the program that the README shows is the one that is checked and run here', async () => {
    const file = join(ROOT, 'test/examples/board-view.ts');
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
    const shown = /through `BoardView`.*?```ts\n(.*?)```/s.exec(readme)?.[1];
    expect(shown?.replace("'skein/board-view'", "'../../src/blackboard/board-view.ts'")).toBe(
      readFileSync(file, 'utf8'),
    );
    const url = `${open.ready.httpUrl.replace('http', 'ws')}/yjs`;
    const { stdout } = await promisify(execFile)(process.execPath, [file, url]);
    expect(stdout).toContain('plan { step: 2 }\n');
    const { structured } = await (await nodes.client(open)).call('board_read', { key: 'plan' });
    expect(structured).toMatchObject({ found: true, value: { step: 2 } });
  });

  it('leaves nothing in the logs of the nodes, neither warnings nor keys', () => {
    expect([...logLines(open), ...logLines(closed)]).toEqual([]);
  });
});
