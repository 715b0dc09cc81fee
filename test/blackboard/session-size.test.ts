/** Tokens of sessions that have seen more than a token can name: bounded, accepted, and never a lie. */
import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { KIND, writeEntry } from '../../src/blackboard/entry.ts';
import { stampOf } from '../../src/blackboard/hlc.ts';
import { LaneUpdateWriter } from '../../src/blackboard/lane-update.ts';
import { writeLaneSection } from '../../src/blackboard/sections.ts';
import {
  decodeSession,
  documentSession,
  encodeSession,
  type Session,
  sessionBytes,
  TOKEN_BYTES,
} from '../../src/blackboard/session.ts';
import { ByteWriter } from '../../src/kernel/bytes.ts';
import type { AgentId, NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { expectOk, MAIN, Network, START_MS } from './network.ts';

const REFUSED = { ok: false, error: { code: 'SESSION_NOT_SATISFIED', details: { outcome: 'not-done' } } };

function typeAs(net: Network, name: string, client: number, text: string): void {
  const doc = new Y.Doc();
  Y.applyUpdate(doc, net.node(name).boards.encodeState(MAIN, 'plan'));
  const before = Y.encodeStateVector(doc);
  doc.clientID = client;
  doc.getText('text').insert(0, text);
  net.event(name, {
    kind: 'yjsUpdate',
    id: 1e9 + client,
    board: MAIN,
    document: 'plan',
    update: Y.encodeStateAsUpdate(doc, before),
    writer: { agent: 'me' as AgentId },
  });
}

/** A document to which many Yjs clients have written, in one update. */
function crowd(net: Network, name: string, clients: number): void {
  const updates = Array.from({ length: clients }, (_, index) => {
    const doc = new Y.Doc();
    doc.clientID = 2 ** 31 + index * 7;
    doc.getText('text').insert(0, 'x');
    return Y.encodeStateAsUpdate(doc);
  });
  net.event(name, {
    kind: 'yjsUpdate',
    id: 1e8,
    board: MAIN,
    document: 'plan',
    update: Y.mergeUpdates(updates),
    writer: { agent: 'me' as AgentId },
  });
  net.converge();
  expect(net.answers.get(1e8)).toEqual({ ok: true, value: undefined });
}

const read = (session?: string, document = 'plan') =>
  ({ op: 'documentRead', board: MAIN, document, ...(session === undefined ? {} : { session }) }) as const;
const list = (session?: string) =>
  ({ op: 'list', board: MAIN, limit: 1, ...(session === undefined ? {} : { session }) }) as const;

/** As many lanes as that, of earlier runs of `m`, which then goes away. */
function manyLanes(net: Network, names: readonly string[], lanes: number): void {
  for (let index = 0; index < lanes; index++) {
    const incarnation = 2 ** 52 + index;
    net.proofs.set(incarnation, 'm' as NodeId);
    const item = new ByteWriter();
    const revision = stampOf(START_MS + net.nowMs);
    writeEntry(item, { kind: KIND.set, revision, key: `k${index}`, author: 'm', value: '1' });
    const update = new LaneUpdateWriter();
    update.begin(incarnation, 0);
    update.item(item.view(), 0, item.length);
    const frame = new ByteWriter();
    frame.byte(1);
    const bytes = update.finish([]);
    writeLaneSection(frame, { kind: 'lane', board: MAIN, deps: new Map(), hold: false, update: bytes });
    for (const name of names) net.inject('m', name, frame.copy());
  }
  net.crash('m');
  for (const name of names) expect(net.node(name).boards.boards()[0]?.keys).toBe(lanes);
}

describe('boards: the size of sessions', () => {
  it('a document of 1,100 Yjs clients gives tokens that every node takes, and that name each of them', () => {
    const net = new Network(1, ['a', 'b']);
    crowd(net, 'a', 1_100);
    net.cut('a', 'b');
    const { session } = expectOk(net.call('a', read()));
    typeAs(net, 'b', 5, 'later');
    expect(expectOk(net.call('b', read(session))).text.length).toBe(1_105);
    typeAs(net, 'a', 6, 'more');
    const newer = expectOk(net.call('a', read(session)));
    expect(net.call('b', read(newer.session))).toMatchObject(REFUSED);
  });

  it('of 5,000 clients: bounded, good where it was given and where all is the same, else refused as such', () => {
    const net = new Network(2, ['a', 'b']);
    crowd(net, 'a', 5_000);
    const { session } = expectOk(net.call('a', read()));
    expect(session.length).toBeLessThan(200);
    expect(expectOk(net.call('b', read(session))).text.length).toBe(5_000);
    net.cut('a', 'b');
    typeAs(net, 'a', 6, 'new');
    const newer = expectOk(net.call('a', read(session)));
    const startMs = net.nowMs;
    const refused = net.call('b', read(newer.session));
    expect(refused).toMatchObject(REFUSED);
    expect(refused).toMatchObject({ error: { details: { missing: [{ node: 'a' }] } } });
    expect(net.nowMs - startMs).toBeLessThanOrEqual(limits.sessionWaitMs + 1);
    typeAs(net, 'a', 7, 'newer');
    expect(expectOk(net.call('a', read(newer.session))).text).toContain('newer');
    net.heal();
    net.converge();
    const seen = expectOk(net.call('a', read(newer.session)));
    expect(expectOk(net.call('b', read(seen.session))).text).toContain('newer');
    net.restart('a');
    expect(expectOk(net.call('a', read(seen.session))).text).toContain('newer');
  });

  it('K10 K11 a list of a board with 3,000 lanes covers all of them', () => {
    const net = new Network(3, ['a', 'b', 'm']);
    manyLanes(net, ['a', 'b'], 3_000);
    net.cut('a', 'b');
    const before = expectOk(net.call('a', list()));
    expect(before.session.length).toBeLessThan(200);
    expect(net.call('b', list(before.session)).ok).toBe(true);
    net.write('a', 'x', 'new');
    const after = expectOk(net.call('a', list(before.session)));
    expect(net.call('b', list(after.session))).toMatchObject(REFUSED);
    expect(net.call('a', list(after.session)).ok).toBe(true);
    net.heal();
    net.converge();
    expect(net.call('b', list(after.session)).ok).toBe(true);
  });

  it('K12 K13 a write that follows such a list is not shown without all that the list saw', () => {
    const net = new Network(4, ['a', 'b', 'c', 'm']);
    manyLanes(net, ['a', 'b', 'c'], 1_000);
    net.cut('a', 'c');
    net.write('a', 'question', 'first');
    net.run(10);
    const { session } = expectOk(net.call('b', list()));
    net.write('b', 'answer', 'second', { session });
    for (let ms = 0; ms < 2_000; ms++) {
      net.run(1);
      if (net.read('c', 'answer') !== undefined) expect(net.read('c', 'question')).toBe('first');
    }
  });

  it('a session over 1,000 documents stays below its bound and forgets none of them', () => {
    const net = new Network(5, ['a', 'b']);
    net.converge();
    net.cut('a', 'b');
    let session: string | undefined;
    let longest = 0;
    for (let index = 0; index < 1_000; index++) {
      const edits = [{ kind: 'append', text: 'x' }] as const;
      const call = { ...read(session, `document-${index}`), op: 'documentEdit', edits } as const;
      session = expectOk(net.call('a', call)).session;
      longest = Math.max(longest, session.length);
    }
    expect(longest).toBeLessThanOrEqual(limits.sessionTokenBytes);
    for (const document of ['document-0', 'document-500', 'document-999']) {
      expect(expectOk(net.call('a', read(session, document))).text).toBe('x');
      expect(net.call('b', read(session, document))).toMatchObject(REFUSED);
    }
  });

  it('what is not here stays named, beside one whole of all that is', () => {
    const net = new Network(6, ['a', 'b']);
    net.converge();
    net.cut('a', 'b');
    let session: string | undefined;
    const edit = (name: string, document: string) =>
      net.call(name, {
        ...read(session, document),
        op: 'documentEdit',
        edits: [{ kind: 'append', text: 'x' }],
      });
    for (let index = 0; index < 30; index++) {
      session = expectOk(edit('a', `${'long'.repeat(50)}-${index}`)).session;
    }
    let answer: ReturnType<typeof edit> | undefined;
    let index = 0;
    for (; index < 100; index++) {
      answer = edit('b', `${'of b'.repeat(50)}-${index}`);
      if (!answer.ok) break;
      session = answer.value.session;
      expect(session.length).toBeLessThanOrEqual(limits.sessionTokenBytes);
    }
    expect(answer?.ok).toBe(true);
    expect(net.call('b', read(session, `${'long'.repeat(50)}-3`))).toMatchObject(REFUSED);
    expect(expectOk(net.call('b', read(session, `${'of b'.repeat(50)}-3`))).text).toBe('x');
  });

  it('where what is not here leaves no room for an answer, the call is refused before it writes', () => {
    const net = new Network(8, ['a']);
    const seen: Session = new Map();
    for (let index = 0; sessionBytes(seen) < TOKEN_BYTES - 300; index++) {
      seen.set(documentSession(MAIN, `${'long'.repeat(50)}-${index}`), new Map([[7, 1]]));
    }
    const session = encodeSession(seen);
    expect(decodeSession(session).ok).toBe(true);
    const edits = [{ kind: 'append', text: 'x' }] as const;
    const document = 'new'.repeat(85);
    const call = { ...read(session, document), op: 'documentEdit', edits } as const;
    expect(net.call('a', call)).toMatchObject(REFUSED);
    expect(expectOk(net.call('a', read(undefined, document))).text).toBe('');
    expect(net.call('a', { ...call, document: 'short' }).ok).toBe(true);
  });

  it('the token of a wait keeps what its caller had seen elsewhere', () => {
    const net = new Network(7, ['a', 'b']);
    net.converge();
    net.cut('a', 'b');
    const edited = expectOk(
      net.call('a', { ...read(), op: 'documentEdit', edits: [{ kind: 'append', text: 'x' }] }),
    );
    const waits = { op: 'wait', board: MAIN, key: 'k', session: edited.session } as const;
    for (const timeoutMs of [0, 50]) {
      const { session } = expectOk(net.call('a', { ...waits, timeoutMs }));
      expect(net.call('b', read(session))).toMatchObject(REFUSED);
    }
  });
});
