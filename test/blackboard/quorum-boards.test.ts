import { describe, expect, it } from 'vitest';
import type { BoardCall, Change } from '../../src/blackboard/api.ts';
import { QuorumBoards } from '../../src/blackboard/quorum-boards.ts';
import type { AgentId, BoardName, NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { RegisterBounds } from '../../src/quorum/register/register.ts';
import { ManualClock, SingleStore, type StoreConnection, settled } from '../support/single-store.ts';

const TASKS = 'tasks' as BoardName;
const QUOTA: { quotaKeys: number; quotaBytes: number } = {
  quotaKeys: limits.boardKeys,
  quotaBytes: limits.boardBytes,
};
const fault = (error: unknown) => {
  throw error;
};

class Node {
  readonly store: StoreConnection;
  readonly boards: QuorumBoards;
  readonly name: string;

  constructor(name: string, store: SingleStore, clock: ManualClock, quota: Partial<typeof QUOTA> = {}) {
    this.name = name;
    this.store = store.connect();
    let seed = name.charCodeAt(0);
    this.boards = new QuorumBoards({
      store: this.store,
      clock,
      entropy: { bytes: (length) => Uint8Array.from({ length }, () => ++seed % 256) },
      self: name as NodeId,
      boards: [
        { name: TASKS, ...QUOTA, ...quota },
        { name: 'other' as BoardName, ...QUOTA },
      ],
      onFault: fault,
    });
    this.boards.start();
  }

  call<C extends BoardCall>(call: C, agent = `agent-${this.name}`) {
    return this.boards.call(call, { agent: agent as AgentId });
  }

  async value<C extends BoardCall>(call: C, agent?: string) {
    const answer = await this.call(call, agent);
    if (!answer.ok) throw new Error(JSON.stringify(answer.error));
    return answer.value;
  }

  async code(call: BoardCall) {
    const answer = await this.call(call);
    return answer.ok ? 'ok' : answer.error.code;
  }
}

async function swarm(
  names: string,
  { bounds = {}, quota = {} }: { bounds?: Partial<RegisterBounds>; quota?: Partial<typeof QUOTA> } = {},
) {
  const clock = new ManualClock();
  const store = new SingleStore(clock, bounds);
  const nodes = [...names].map((name) => new Node(name, store, clock, quota));
  await clock.advance(10);
  return { clock, store, nodes: nodes as [Node, Node, Node] };
}

const write = (key: string, value: unknown, more = {}) =>
  ({ op: 'write', board: TASKS, key, value, ...more }) as Extract<BoardCall, { op: 'write' }>;
const read = (key: string, more = {}) =>
  ({ op: 'read', board: TASKS, key, ...more }) as Extract<BoardCall, { op: 'read' }>;
const cas = (key: string, expectedRevision: number, value: unknown, more = {}) =>
  ({ op: 'compareAndSet', board: TASKS, key, expectedRevision, value, ...more }) as Extract<
    BoardCall,
    { op: 'compareAndSet' }
  >;
const wait = (more: object, timeoutMs = 0) =>
  ({ op: 'wait', board: TASKS, prefix: '', timeoutMs, ...more }) as Extract<BoardCall, { op: 'wait' }>;

describe('quorum boards: writes and reads', () => {
  it('what one node wrote every node reads at once, with author, node and revision', async () => {
    const { nodes } = await swarm('abc');
    const { revision } = await nodes[0].value(write('t/1', { state: 'open' }), 'planner');
    for (const node of nodes) {
      expect(await node.value(read('t/1'))).toMatchObject({
        found: true,
        key: 't/1',
        value: { state: 'open' },
        author: 'planner',
        node: 'a',
        revision,
        level: 'strong',
      });
    }
  });

  it('a key that is not there has revision 0, which is what compare-and-set expects of it', async () => {
    const { nodes } = await swarm('ab');
    const before = await nodes[0].value(read('t'));
    expect(before).toMatchObject({ found: false, revision: 0 });
    await nodes[1].value(cas('t', before.revision, 'mine'));
    expect(await nodes[0].call(cas('t', 0, 'mine too'))).toMatchObject({
      ok: false,
      error: {
        code: 'CONFLICT',
        retryable: false,
        details: { entry: { key: 't', value: 'mine', author: 'agent-b' }, outcome: 'not-done' },
      },
    });
  });

  it.each([2, 5])('of %i nodes that claim a task at once exactly one wins', async (count) => {
    const { nodes } = await swarm('abcde'.slice(0, count));
    const answers = await Promise.all(nodes.map((node) => node.call(cas('task', 0, { owner: node.name }))));
    expect(answers.filter(({ ok }) => ok)).toHaveLength(1);
    const winner = nodes[answers.findIndex(({ ok }) => ok)] as Node;
    for (const node of nodes) {
      expect(await node.value(read('task'))).toMatchObject({ value: { owner: winner.name } });
    }
  });

  it('delete says whether there was something, and a deleted key can be claimed again', async () => {
    const { nodes } = await swarm('ab');
    const [a, b] = nodes;
    const written = await a.value(write('t', 1));
    const deleted = await b.value({ op: 'delete', board: TASKS, key: 't' });
    expect(deleted).toMatchObject({ deleted: true });
    expect(deleted.revision).toBeGreaterThan(written.revision);
    expect(await a.value({ op: 'delete', board: TASKS, key: 't' })).toMatchObject({ deleted: false });
    expect(await a.value(read('t'))).toMatchObject({ found: false });
    expect(await a.code(cas('t', written.revision, 2))).toBe('CONFLICT');
    expect(await b.code(cas('t', 0, 2))).toBe('ok');
  });

  it('appends of all nodes to one log are all kept, each batch in its order', async () => {
    const { nodes } = await swarm('abc');
    const appends = Array.from({ length: 60 }, (_, index) => {
      const node = nodes[index % 3] as Node;
      return node.value({
        op: 'append',
        board: TASKS,
        key: 'log',
        items: [
          [index, 0],
          [index, 1],
        ],
      });
    });
    const answers = await Promise.all(appends);
    expect(answers.every(({ revision }) => revision > 0)).toBe(true);
    const log = (await nodes[0].value(read('log'))) as unknown as { value: [number, number][] };
    expect(log.value).toHaveLength(120);
    for (let index = 0; index < 60; index++) {
      const at = log.value.findIndex(([each]) => each === index);
      expect(log.value.slice(at, at + 2)).toEqual([
        [index, 0],
        [index, 1],
      ]);
    }
  });

  it('appends that wait for a quorum that is away are refused together, as not done', async () => {
    const { nodes } = await swarm('a');
    const [a] = nodes;
    await a.value(write('log', ['first']));
    a.store.isCutOff = true;
    const answers = await Promise.all(
      [1, 2, 3].map((item) => a.call({ op: 'append', board: TASKS, key: 'log', items: [item] })),
    );
    for (const answer of answers) {
      expect(answer).toMatchObject({
        ok: false,
        error: { code: 'QUORUM_UNAVAILABLE', details: { outcome: 'not-done', missing: ['b', 'c'] } },
      });
    }
  });

  it('lists in the order of UTF-8, the same at every level, page by page', async () => {
    const { nodes } = await swarm('ab');
    const [a, b] = nodes;
    const keys = ['a', 'a/1', 'b', 'é', '\uffee', '😀', '\u{10ffff}', 'a/\u{1f600}x', 'a/\uf000'];
    for (const key of keys) await a.value(write(key, key));
    await a.value({ ...write('a', 'elsewhere'), board: 'other' as BoardName });
    await settled();
    const sorted = keys.toSorted((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    for (const level of ['strong', 'eventual', undefined] as const) {
      const listed: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await b.value({
          op: 'list',
          board: TASKS,
          limit: 2,
          ...(cursor === undefined ? {} : { cursor }),
          ...(level === undefined ? {} : { level }),
        });
        expect(page.level).toBe(level ?? 'strong');
        listed.push(...page.entries.map(({ key }) => key));
        cursor = page.cursor;
      } while (cursor !== undefined);
      expect(listed).toEqual(sorted);
      const below = await b.value({
        op: 'list',
        board: TASKS,
        prefix: 'a/',
        ...(level === undefined ? {} : { level }),
      });
      expect(below.entries.map(({ key }) => key)).toEqual(sorted.filter((key) => key.startsWith('a/')));
    }
  });

  it('documents are not offered, and the hint names a board that has them', async () => {
    const { nodes } = await swarm('a');
    expect(await nodes[0].call({ op: 'documentRead', board: TASKS, document: 'd' })).toMatchObject({
      error: { code: 'LEVEL_NOT_OFFERED', hint: expect.stringContaining('main') },
    });
  });
});

describe('quorum boards: levels', () => {
  it('a minority refuses writes and strong reads, says who is missing, and still reads what it has (K21, K39)', async () => {
    const { nodes } = await swarm('ab');
    const [a, b] = nodes;
    await a.value(write('t', 'old'));
    await settled();
    b.store.isCutOff = true;
    await a.value(write('t', 'new'));
    for (const call of [write('t', 'x'), read('t'), cas('t', 1, 2), read('t', { level: 'strong' })]) {
      expect(await b.call(call)).toMatchObject({
        ok: false,
        error: {
          code: 'QUORUM_UNAVAILABLE',
          hint: expect.stringMatching(call.op === 'read' ? /eventual/ : /./),
          details: { missing: ['b', 'c'] },
        },
      });
    }
    expect(await b.value(read('t', { level: 'eventual' }))).toMatchObject({
      value: 'old',
      level: 'eventual',
    });
    expect(await b.value({ op: 'list', board: TASKS, level: 'eventual' })).toMatchObject({
      entries: [{ key: 't', value: 'old' }],
      level: 'eventual',
    });
  });

  it('a read with a token shows what the session wrote, from the mirror or else from the quorum', async () => {
    const { nodes, clock } = await swarm('ab');
    const [a, b] = nodes;
    b.store.isHeld = true;
    const { session } = await a.value(write('t', 'seen'));
    expect(await b.value(read('t', { level: 'eventual' }))).toMatchObject({ found: false });
    const reading = b.value(read('t', { level: 'session', session }));
    await clock.advance(60);
    expect(await reading).toMatchObject({ value: 'seen', level: 'session' });
    b.store.isHeld = false;
    b.store.follow();
    await settled();
    const before = b.store.counts.strong;
    expect(await b.value(read('t', { level: 'session', session }))).toMatchObject({ value: 'seen' });
    expect(b.store.counts.strong).toBe(before);
  });

  it('a session that a minority cannot satisfy is refused, never served older (K10, K11)', async () => {
    const { nodes, clock } = await swarm('ab');
    const [a, b] = nodes;
    b.store.isCutOff = true;
    const { session } = await a.value(write('t', 'seen'));
    const reading = b.code(read('t', { level: 'session', session }));
    await clock.advance(60);
    expect(await reading).toBe('SESSION_NOT_SATISFIED');
    const listing = b.code({ op: 'list', board: TASKS, level: 'eventual', session });
    await clock.advance(60);
    expect(await listing).toBe('SESSION_NOT_SATISFIED');
  });

  it('that a key was deleted is not unread either', async () => {
    const { nodes, clock } = await swarm('ab');
    const [a, b] = nodes;
    await a.value(write('t', 1));
    await settled();
    b.store.isHeld = true;
    await a.value({ op: 'delete', board: TASKS, key: 't' });
    const { session } = await a.value(read('t'));
    const reading = b.value(read('t', { level: 'session', session }));
    await clock.advance(60);
    expect(await reading).toMatchObject({ found: false });
  });

  it('a minority that has seen as much as the session says so, also of what is not there', async () => {
    const { nodes, store } = await swarm('ab');
    const [a, b] = nodes;
    await a.value(write('t', 1));
    // What is no board's moves the store on, and no mirror hears of it.
    store.transact({
      compares: [],
      then: [{ op: 'put', key: 'elsewhere', value: new Uint8Array(1) }],
      otherwise: [],
    });
    const { session } = await a.value(read('none'));
    await settled();
    b.store.isCutOff = true;
    expect(await b.value(read('none', { level: 'session', session }))).toMatchObject({ found: false });
    const listed = await b.value({ op: 'list', board: TASKS, level: 'session', session });
    expect(listed.entries.map(({ key }) => key)).toEqual(['t']);
  });

  it('a token of another store is refused at every level', async () => {
    const { nodes } = await swarm('a');
    const other = await swarm('x');
    const { session } = await other.nodes[0].value(write('t', 1));
    await nodes[0].value(write('t', 1));
    await settled();
    for (const level of ['eventual', 'session', 'strong'] as const)
      expect(await nodes[0].call(read('t', { level, session }))).toMatchObject({
        error: { code: 'SESSION_NOT_SATISFIED', retryable: false },
      });
  });
});

describe('quorum boards: waiting', () => {
  it('sees every revision once and in order, whoever writes and however often it looks (K47)', async () => {
    const { nodes, clock } = await swarm('abc');
    const [a, b, c] = nodes;
    let { cursor } = await c.value(wait({}));
    const seen: Change[] = [];
    const follow = async () => {
      while (seen.length < 90) {
        const answer = await c.value(wait({ cursor }, 1_000));
        cursor = answer.cursor;
        seen.push(...answer.changes);
      }
    };
    const following = follow();
    for (let round = 0; round < 30; round++) {
      await Promise.all([a.value(write('x', round)), b.value(write('y', round)), c.value(write('z', round))]);
      if (round === 10) c.store.isHeld = true;
      if (round === 15) {
        c.store.isHeld = false;
        c.store.follow();
      }
    }
    await clock.advance(5);
    await following;
    const revisions = seen.map(({ revision }) => revision);
    expect(revisions).toEqual([...new Set(revisions)].toSorted((x, y) => x - y));
    for (const key of ['x', 'y', 'z']) {
      const own = seen.filter((change) => change.key === key);
      expect(own.map(({ entry }) => entry?.value)).toEqual(Array.from({ length: 30 }, (_, index) => index));
    }
  });

  it('after_revision reaches back behind what the node remembers, to what the store remembers', async () => {
    const { nodes, clock, store } = await swarm('a');
    const [a] = nodes;
    const revisions: number[] = [];
    for (let index = 0; index < 20; index++) revisions.push((await a.value(write('k', index))).revision);
    // A node that starts now has seen none of them happen.
    const late = new Node('z', store, clock);
    await clock.advance(10);
    const after = revisions[4] as number;
    const waiting = late.value(wait({ key: 'k', prefix: undefined, afterRevision: after }, 100));
    await clock.advance(20);
    const { changes, cursor } = await waiting;
    expect(changes.map(({ revision }) => revision)).toEqual(revisions.slice(5));
    const more = late.value(wait({ key: 'k', prefix: undefined, cursor }, 50));
    await clock.advance(60);
    expect((await more).changes).toEqual([]);
  });

  it('a position before the history of the store is an error that names its beginning, not a gap', async () => {
    const { nodes, clock, store } = await swarm('a', { bounds: { quorumHistoryChanges: 5 } });
    const [a] = nodes;
    const first = await a.value(write('k', 0));
    for (let index = 1; index < 20; index++) await a.value(write('k', index));
    const late = new Node('z', store, clock);
    await clock.advance(10);
    const waiting = late.call(wait({ afterRevision: first.revision }, 100));
    await clock.advance(200);
    expect(await waiting).toMatchObject({
      ok: false,
      error: { code: 'NOT_FOUND', details: { compactedRevision: store.register.compactRevision } },
    });
    // The node that was there remembers more than the store.
    expect((await a.value(wait({ afterRevision: first.revision }))).changes).toHaveLength(19);
  });

  it('after revision 0 come the present entries, also where history is gone, then each change (n=2500, in pages)', async () => {
    const { nodes, clock, store } = await swarm('a', { bounds: { quorumHistoryChanges: 5 } });
    const [a] = nodes;
    const first = await a.value(write('k0', 'old'));
    for (let index = 0; index < 2_500; index++) await a.value(write(`k${index}`, index));
    expect(store.register.compactRevision).toBeGreaterThan(first.revision);
    const late = new Node('z', store, clock);
    await clock.advance(10);
    const pages = [await late.value(wait({ afterRevision: 0 }))];
    // What changes between pages is told after them.
    const changed = await a.value(write('k2400', 'new'));
    await a.value({ op: 'delete', board: TASKS, key: 'k0' });
    await clock.advance(10);
    for (let page = 0; page < 4; page++)
      pages.push(await late.value(wait({ cursor: pages.at(-1)?.cursor as string })));
    const told = pages.flatMap(({ changes }) => changes);
    expect(pages[0]?.changes.length).toBe(1_000);
    const revisions = told.map(({ revision }) => revision);
    expect(revisions).toEqual([...new Set(revisions)].toSorted((x, y) => x - y));
    expect(told.slice(0, 2_499).some(({ key }) => key === 'k2400')).toBe(false);
    expect(told.slice(2_499).map(({ key, revision }) => [key, revision])).toEqual([
      ['k2400', changed.revision],
      ['k0', changed.revision + 1],
    ]);
    expect(told[0]).toMatchObject({ key: 'k0', deleted: false, entry: { value: 0 } });
  });

  it('after revision 0 of a key or prefix come its entries alone; where there are none, one waits', async () => {
    const { nodes, clock } = await swarm('a');
    const [a] = nodes;
    await a.value(write('x/1', 1));
    await a.value(write('y', 2));
    const keys = async (more: object) =>
      (await a.value(wait({ afterRevision: 0, ...more }))).changes.map(({ key }) => key);
    expect(await keys({ prefix: 'x/' })).toEqual(['x/1']);
    expect(await keys({ prefix: undefined, key: 'y' })).toEqual(['y']);
    const waiting = a.value(wait({ afterRevision: 0, prefix: 'z' }, 1_000));
    const { revision } = await a.value(write('z', 3));
    await clock.advance(10);
    expect((await waiting).changes.map((change) => change.revision)).toEqual([revision]);
  });

  it('a mirror that was filled anew tells watchers the difference, and those who wait no gap', async () => {
    const { nodes, clock, store } = await swarm('ab');
    const [a, b] = nodes;
    await a.value(write('gone', 1));
    await a.value(write('kept', 1));
    await settled();
    const told: Change[] = [];
    b.boards.watch(TASKS, (changes) => told.push(...changes));
    const { cursor } = await b.value(wait({}));
    const waiting = b.call(wait({ cursor }, 10_000));
    b.store.isHeld = true;
    await a.value({ op: 'delete', board: TASKS, key: 'gone' });
    const { revision } = await a.value(write('new', 2));
    b.store.snapshot();
    await clock.advance(500);
    expect(told.map(({ key, deleted }) => [key, deleted])).toEqual([
      ['new', false],
      ['gone', true],
    ]);
    // What happened in between is in nobody's history that this node can reach.
    expect(await waiting).toMatchObject({
      error: { code: 'NOT_FOUND', details: { afterRevision: expect.any(Number) } },
    });
    expect(await b.value(read('new', { level: 'eventual' }))).toMatchObject({ value: 2, revision });
    expect(store.register.revision).toBe(b.store.replica.revision);
  });

  it('a cursor of a store that was replaced is refused, and waits end', async () => {
    const { nodes, clock } = await swarm('a');
    const other = await swarm('x');
    const [a] = nodes;
    await a.value(write('k', 1));
    await other.nodes[0].value(write('k', 2));
    await settled();
    const { cursor } = await a.value(wait({}));
    const waiting = a.code(wait({ cursor }, 10_000));
    a.store.snapshot(other.store);
    await clock.advance(500);
    expect(await waiting).toBe('NOT_FOUND');
    expect(await a.code(wait({ cursor }))).toBe('NOT_FOUND');
    expect(await a.value(read('k', { level: 'eventual' }))).toMatchObject({ value: 2 });
  });

  it('a cursor is good on a node that has no more yet than the beginning of its copy (K26)', async () => {
    const { nodes, clock } = await swarm('ab');
    const [a, b] = nodes;
    b.store.isHeld = true;
    await a.value(write('k', 1));
    const { cursor } = await a.value(wait({}));
    const tooEarly = b.call(wait({ cursor }));
    await clock.advance(2_500);
    expect(await tooEarly).toMatchObject({
      error: { code: 'QUORUM_UNAVAILABLE', retryable: true, details: { outcome: 'not-done' } },
    });
    const waiting = b.value(wait({ cursor }, 10_000));
    b.store.isHeld = false;
    b.store.follow();
    await clock.advance(10);
    const { revision } = await a.value(write('k', 2));
    await clock.advance(10);
    expect((await waiting).changes).toMatchObject([{ key: 'k', revision, entry: { value: 2 } }]);
  });

  it('a store that was put back to an older state is another one to tokens and to those who wait', async () => {
    const { nodes, clock, store } = await swarm('a');
    const [a] = nodes;
    await a.value(write('kept', 1));
    const older = new SingleStore(clock);
    for (const { key } of [{ key: 'b/!store' }, { key: 'b/tasks/kept' }]) {
      const value = store.register.get(key)?.value as Uint8Array;
      older.transact({ compares: [], then: [{ op: 'put', key, value }], otherwise: [] });
    }
    const { session } = await a.value(write('lost', 1));
    await settled();
    const waiting = a.code(wait({}, 10_000));
    a.store.snapshot(older);
    await clock.advance(500);
    expect(await waiting).toBe('NOT_FOUND');
    for (const level of ['session', 'strong'] as const) {
      const reading = a.call(read('lost', { level, session }));
      await clock.advance(100);
      expect(await reading).toMatchObject({ error: { code: 'SESSION_NOT_SATISFIED', retryable: false } });
    }
  });

  it('a revision to come is waited for, and those before it are passed over', async () => {
    const { nodes, clock } = await swarm('a');
    const [a] = nodes;
    const { revision } = await a.value(write('k', 0));
    await settled();
    const waiting = a.value(wait({ afterRevision: revision + 2 }, 10_000));
    for (const value of [1, 2, 3]) {
      await a.value(write('k', value));
      await clock.advance(1);
    }
    expect((await waiting).changes).toMatchObject([{ revision: revision + 3, entry: { value: 3 } }]);
  });

  it('a wait ends at its time, when it is cancelled, and in a minority with what is known', async () => {
    const { nodes, clock } = await swarm('ab');
    const [, b] = nodes;
    b.store.isCutOff = true;
    const waiting = b.value(wait({}, 1_000));
    await clock.advance(1_001);
    expect((await waiting).changes).toEqual([]);
    const abort = new AbortController();
    const cancelled = b.boards.call(wait({}, 1_000), { agent: 'x' as AgentId }, abort.signal);
    await settled();
    abort.abort();
    expect(await cancelled).toMatchObject({ error: { code: 'TIMEOUT' } });
    expect(await b.code(wait({ cursor: '1.2' }))).toBe('INVALID_ARGUMENT');
  });
});

describe('quorum boards: the end', () => {
  it('those who wait are told that the node stops, at once, and nothing is left behind', async () => {
    const { nodes, clock, store } = await swarm('a', { bounds: { quorumHistoryChanges: 5 } });
    const late = new Node('z', store, clock);
    await nodes[0].value(write('k', 1));
    await clock.advance(10);
    const waiting = [
      late.call(wait({}, 60_000)),
      late.call(wait({ key: 'other', prefix: undefined }, 60_000)),
    ];
    await settled();
    late.boards.close();
    for (const answer of await Promise.all(waiting)) {
      expect(answer).toMatchObject({ error: { code: 'UNREACHABLE' } });
    }
    expect(await late.code(wait({}, 60_000))).toBe('UNREACHABLE');
  });
});

describe('quorum boards: time to live and quotas', () => {
  it.each([1, 30, 3_600])(
    'an entry lives at least the %i s asked, and a tenth longer at most',
    async (ttl) => {
      const { nodes, clock } = await swarm('ab');
      const [a, b] = nodes;
      await a.value(write('t', 1, { ttlSeconds: ttl }));
      await clock.advance(ttl * 1000 - 1);
      expect(await b.value(read('t'))).toMatchObject({ found: true });
      await clock.advance(Math.max(1_000, Math.min(ttl * 100, 60_000)) + 400);
      expect(await b.value(read('t'))).toMatchObject({ found: false });
      expect(await b.value(read('t', { level: 'eventual' }))).toMatchObject({ found: false });
    },
  );

  it('entries of one moment share a lease, and one written later outlives them', async () => {
    const { nodes, clock } = await swarm('a');
    const [a] = nodes;
    await Promise.all(
      Array.from({ length: 20 }, (_, index) => a.value(write(`k${index}`, 1, { ttlSeconds: 30 }))),
    );
    for (let index = 0; index < 5; index++) await a.value(write(`later${index}`, 1, { ttlSeconds: 30 }));
    expect(a.store.counts.grant).toBe(1);
    await clock.advance(10_000);
    await a.value(write('latest', 1, { ttlSeconds: 30 }));
    expect(a.store.counts.grant).toBe(2);
    await clock.advance(24_000);
    const { entries } = await a.value({ op: 'list', board: TASKS });
    expect(entries.map(({ key }) => key)).toEqual(['latest']);
  });

  it('a write without a time to live takes it off; an append keeps it; a watcher hears of the end', async () => {
    const { nodes, clock } = await swarm('a');
    const [a] = nodes;
    await a.value(write('kept', 1, { ttlSeconds: 5 }));
    await a.value(write('kept', 2));
    await a.value(write('log', [1], { ttlSeconds: 5 }));
    await a.value({ op: 'append', board: TASKS, key: 'log', items: [2] });
    expect(await a.value(read('log'))).toMatchObject({ value: [1, 2], expiresAt: expect.any(String) });
    const { cursor } = await a.value(wait({}));
    const waiting = a.value(wait({ cursor }, 60_000));
    await clock.advance(7_000);
    expect((await waiting).changes).toMatchObject([{ key: 'log', deleted: true }]);
    expect(await a.value(read('kept'))).toMatchObject({ value: 2 });
  });

  it('quotas of keys and bytes hold for one node exactly, also for writes under way', async () => {
    const { nodes } = await swarm('a', { quota: { quotaKeys: 5, quotaBytes: 4_096 } });
    const [a] = nodes;
    const codes = await Promise.all(Array.from({ length: 8 }, (_, index) => a.code(write(`k${index}`, 1))));
    expect(codes.filter((code) => code === 'ok')).toHaveLength(5);
    expect(codes.filter((code) => code === 'QUOTA_EXCEEDED')).toHaveLength(3);
    await settled();
    expect(await a.code(write('k0', 2))).toBe('ok');
    expect(await a.code(write('k0', 'x'.repeat(5_000)))).toBe('QUOTA_EXCEEDED');
    await a.value({ op: 'delete', board: TASKS, key: 'k1' });
    await settled();
    expect(await a.code(write('k9', 1))).toBe('ok');
    expect(a.boards.boards()).toMatchObject([
      { name: 'other', keys: 0 },
      { name: 'tasks', mode: 'quorum', keys: 5 },
    ]);
  });

  it.each([
    ['a value that is too large', write('k', 'x'.repeat(limits.valueBytes + 1)), 'TOO_LARGE'],
    ['a revision below 0', cas('k', -1, 1), 'INVALID_ARGUMENT'],
    ['an empty key', write('', 1), 'INVALID_ARGUMENT'],
    ['a board that is not declared', { ...read('k'), board: 'nope' as BoardName }, 'NOT_FOUND'],
    ['a token that is none', read('k', { session: 'q1.zz.1.' }), 'INVALID_ARGUMENT'],
    ['a token of a later version', read('k', { session: 'q2.ab.1.' }), 'INVALID_ARGUMENT'],
    ['no item', { op: 'append', board: TASKS, key: 'k', items: [] } as BoardCall, 'INVALID_ARGUMENT'],
  ])('%s is refused', async (_, call, code) => {
    const { nodes } = await swarm('a');
    expect(await nodes[0].code(call)).toBe(code);
  });
});
