/** What a node promised is there afterwards: kill -9 at every sort of moment, a damaged journal, a full disk. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CrashPoint } from '../../src/adapters/node/crash-points.ts';
import type { TestClient } from '../support/mcp-clients.ts';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { Ledger } from '../support/steady-writer.ts';
import {
  command,
  type ErrorShape,
  entriesOf,
  hashOf,
  logLines,
  mcpWriter,
  peersOf,
  problemsOf,
  restWriter,
  WholeNodes,
} from '../support/whole-nodes.ts';

const nodes = new WholeNodes('durability');
afterAll(() => nodes.end());

const linked = (on: NodeProcess, count = 2) =>
  eventually(
    `${count} nodes see each other`,
    async () => (await peersOf(on)).filter(({ state }) => state === 'alive').length === count || undefined,
  );

const equal = (a: NodeProcess, b: NodeProcess) =>
  eventually('both boards are equal', async () => (await hashOf(a)) === (await hashOf(b)) || undefined);

/** The newest file of that sort in the journal. */
function journalFile(data: string, form: RegExp): string {
  const directory = join(data, 'journal');
  const numbered = readdirSync(directory)
    .filter((name) => form.test(name))
    .toSorted((left, right) => Number(/\d+/.exec(left)) - Number(/\d+/.exec(right)));
  return join(directory, numbered.at(-1) as string);
}

describe('a node killed at a crash point (K07)', { timeout: 60_000 }, () => {
  /** One life after the other on the same directory: each proves what the one before it promised. */
  async function lives(name: string, deaths: readonly (readonly [CrashPoint, number])[], padding: number) {
    const ledger = new Ledger();
    ledger.pad(padding);
    for (const [point, passage] of deaths) {
      const node = await nodes.start(name, { env: { SKEIN_CRASH_AT: `${point}:${passage}` } });
      ledger.check(await entriesOf(node));
      const before = ledger.acknowledged;
      // Alone, a batch is one record, which half-way then cuts.
      const names = point === 'journal.mid-write' ? ['w0'] : ['w0', 'w1', 'w2'];
      const writers = names.map((writer) => ledger.write(writer, restWriter(node)));
      expect(await node.ended(), point).toBe('SIGKILL');
      await Promise.all(writers);
      expect(ledger.acknowledged, `acknowledged before ${point}`).toBeGreaterThan(before);
    }
    return ledger;
  }

  async function diesAtStart(name: string, point: CrashPoint): Promise<void> {
    const start = nodes.start(name, { env: { SKEIN_CRASH_AT: point } });
    await expect(start, point).rejects.toThrow(/did not become ready/);
  }

  it('in the middle of writes comes back with every acknowledged one: before, half-way, after, synced', async () => {
    const ledger = await lives(
      'crash-journal',
      [
        ['journal.before-write', 25],
        ['journal.after-write', 25],
        ['journal.after-sync', 25],
        ['journal.mid-write', 25],
      ],
      100,
    );
    // The last life left half a record; two more die while they see to that.
    await diesAtStart('crash-journal', 'load.before-cut');
    await diesAtStart('crash-journal', 'load.after-cut');
    const last = await nodes.start('crash-journal');
    ledger.check(await entriesOf(last));
    expect(await problemsOf(last)).toEqual([]);
    await last.end('SIGKILL');
  });

  it.each([
    ['segment.after-create', 2],
    ['checkpoint.mid-write', 1],
    ['checkpoint.after-rename', 1],
    ['checkpoint.after-first-removal', 1],
  ] as const)(
    'while a checkpoint is made (%s:%i) comes back with every acknowledged write, and with little on the disk',
    async (point, passage) => {
      const name = `crash-${point}`;
      const ledger = await lives(name, [[point, passage]], 8_000);
      const last = await nodes.start(name);
      const entries = await entriesOf(last);
      ledger.check(entries);
      expect(await problemsOf(last)).toEqual([]);
      const live = [...entries.values()].reduce<number>(
        (sum, value) => sum + JSON.stringify(value).length,
        0,
      );
      expect(live).toBeGreaterThan(100_000);
      const directory = join(last.setting.data, 'journal');
      const kept = () =>
        readdirSync(directory).reduce(
          // A file may be renamed or removed meanwhile.
          (sum, file) => sum + (statSync(join(directory, file), { throwIfNoEntry: false })?.size ?? 0),
          0,
        );
      // Once nothing is written for a while, the log is cut.
      await eventually('little is on the disk', () => kept() < 3 * live || undefined);
      await last.end('SIGKILL');
    },
  );
});

describe('kill -9 under load', { timeout: 60_000 }, () => {
  it('with four clients on two linked nodes loses nothing, and both come to the same hash', async () => {
    const a = await nodes.start('load-a');
    const b = await nodes.start('load-b', { peers: [a] });
    await linked(a);
    const [ledger, others] = [new Ledger(), new Ledger()];
    const clients = await Promise.all([
      nodes.client(a, 'v1 (2025-11-25)'),
      nodes.client(a, 'v2 (2025-11-25)'),
      nodes.client(a, 'v2 (2026-07-28)'),
    ]);
    const onB = await nodes.client(b);
    let stopped = false;
    const load = [
      ...clients.map((client, at) => ledger.write(`a${at}`, mcpWriter(client))),
      others.write('b0', mcpWriter(onB), () => stopped),
    ];
    await eventually('the load runs', () => ledger.acknowledged > 200 || undefined);
    await a.end('SIGKILL');
    const killedAt = others.acknowledged;
    await eventually('the other node goes on', () => others.acknowledged > killedAt + 20 || undefined);
    const returned = nodes.own(await a.again({ args: [...(a.setting.args ?? []), ...peerFlag(b)] }));
    ledger.check(await entriesOf(returned));
    stopped = true;
    await Promise.all(load);
    await equal(returned, b);
    for (const node of [returned, b]) {
      const entries = await entriesOf(node);
      ledger.check(entries);
      others.check(entries);
    }
    expect([...logLines(returned), ...logLines(b)]).toEqual([]);
    await Promise.all([returned.end('SIGKILL'), b.end('SIGKILL')]);
  });
});

function peerFlag(of: NodeProcess): string[] {
  return ['--peer', of.ready.meshAddresses[0] as string];
}

describe('a node whose disk is not what it was', { timeout: 60_000 }, () => {
  /** Two linked nodes with writes of both on both, the first of them killed; `old` is a copy of its directory half-way. */
  async function pair(name: string) {
    const a = await nodes.start(`${name}-a`);
    const b = await nodes.start(`${name}-b`, { peers: [a] });
    await linked(a);
    const [own, others] = [new Ledger(), new Ledger()];
    own.pad(200);
    const write = (count: number) =>
      Promise.all([
        own.write('a', restWriter(a), () => own.acknowledged >= count),
        others.write('b', restWriter(b), () => others.acknowledged >= count),
      ]);
    await write(20);
    await equal(a, b);
    const old = `${a.setting.data}-old`;
    cpSync(a.setting.data, old, { recursive: true, filter: (path) => !path.endsWith('.sock') });
    await write(40);
    await equal(a, b);
    const hash = await hashOf(b);
    await a.end('SIGKILL');
    return { a, b, own, others, old, hash, journal: join(a.setting.data, 'journal') };
  }

  /** All that was acknowledged is on both again, and the returned node writes on. */
  async function heals({ a, b, own, others, hash }: Awaited<ReturnType<typeof pair>>): Promise<NodeProcess> {
    const returned = nodes.own(await a.again({ args: [...(a.setting.args ?? []), ...peerFlag(b)] }));
    await eventually('it has all again', async () => {
      // Meanwhile its healthy peer must not show less than it did, not for a moment.
      const there = await entriesOf(b);
      own.check(there);
      others.check(there);
      return (await hashOf(returned)) === hash || undefined;
    });
    for (const node of [b, returned]) {
      const entries = await entriesOf(node);
      own.check(entries);
      others.check(entries);
      expect(await hashOf(node)).toBe(hash);
    }
    expect(await restWriter(returned)('a/after', 'healed')).toBe('done');
    await equal(returned, b);
    return returned;
  }

  it('with flipped bits in its journal says so, keeps the file aside, and heals from its peer', async () => {
    const two = await pair('flipped');
    const file = journalFile(two.a.setting.data, /^journal-\d+\.log$/);
    const bytes = readFileSync(file);
    for (let at = 1; at <= 7; at++) bytes[Math.floor((bytes.length * at) / 8)]! ^= 0x10;
    writeFileSync(file, bytes);
    const aside = () => readdirSync(two.journal).filter((name) => /\.corrupt-/.test(name));

    // It may die while it sees to the damage, and still get there.
    for (const point of ['load.after-salvage', 'load.after-aside'] as const)
      await expect(two.a.again({ env: { SKEIN_CRASH_AT: point } }), point).rejects.toThrow(
        /not become ready/,
      );
    expect(aside()).toHaveLength(1);
    const returned = await heals(two);
    const problem = (await problemsOf(returned)).find(({ code }) => code === 'JOURNAL_CORRUPT');
    expect(problem?.message).toContain(aside()[0]);
    expect(problem?.hint).toMatch(/comes back from the other nodes/);
    expect(returned.log).toMatch(/journal\.quarantined/);
    await Promise.all([returned.end('SIGKILL'), two.b.end('SIGKILL')]);
  });

  it.each(['an old copy of it', 'nothing left of its journal'])(
    'with %s comes back to all that it ever acknowledged, and so does its peer (K14)',
    async (what) => {
      const two = await pair(what.replaceAll(' ', '-'));
      const { data } = two.a.setting;
      if (what === 'an old copy of it') {
        rmSync(data, { recursive: true });
        cpSync(two.old, data, { recursive: true });
      } else rmSync(two.journal, { recursive: true });
      const returned = await heals(two);
      await Promise.all([returned.end('SIGKILL'), two.b.end('SIGKILL')]);
    },
  );
});

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
if (!isRoot) console.warn('skipped: a full disk: mounting a small file system needs root and Linux');

describe.skipIf(!isRoot)('a full disk', { timeout: 60_000 }, () => {
  /** A file system of its own around a data directory; always unmounted. */
  async function onSmallDisk(name: string, use: (disk: SmallDisk) => Promise<void>): Promise<void> {
    const mount = nodes.path(name);
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=700', 'tmpfs', mount]);
    const disk = new SmallDisk(mount);
    try {
      await use(disk);
    } finally {
      await disk.end();
      execFileSync('umount', [mount]);
    }
  }

  it('makes writes fail with what to do, leaves reads alone, and is over once there is space, without a restart', () =>
    onSmallDisk('full', async (disk) => {
      const node = await disk.start();
      const client = await nodes.client(node);
      const ledger = new Ledger();
      await ledger.write('before', mcpWriter(client), () => ledger.acknowledged >= 20);

      disk.fill();
      const first = await client.call('board_write', { key: 'full/0', value: 'x'.repeat(10_000) });
      expect(first.isError).toBe(true);
      expect(first.structured.error).toMatchObject({ code: 'INTERNAL', retryable: true });
      expect((first.structured.error as ErrorShape).message).toMatch(/disk/);
      expect((first.structured.error as ErrorShape).hint).toMatch(/Free space/);
      await ledger.write('full', mcpWriter(client), () => ledger.refused >= 20);
      expect(ledger.refused).toBeGreaterThanOrEqual(20);
      const read = await client.call('board_read', { key: 'before/3' });
      expect(read.structured).toMatchObject({ found: true, value: { number: 3 } });
      const { code, error } = await command(node, 'board', 'set', 'main', 'from-the-shell', '1');
      expect(code).toBe(1);
      expect(error).toMatch(/Free space/);
      expect(await problemsOf(node)).toContainEqual({
        code: 'DISK_FAILS',
        message: expect.stringContaining('no space left'),
        hint: expect.stringContaining('Free space'),
      });
      expect(node.log).toMatch(/disk\.failed/);

      disk.free();
      await eventually('writes are taken again', async () => {
        const { isError } = await client.call('board_write', { key: 'again', value: 1 });
        return !isError || undefined;
      });
      expect((await problemsOf(node)).map(({ code }) => code)).not.toContain('DISK_FAILS');
      await ledger.write('after', mcpWriter(client), () => ledger.acknowledged >= 40);
      ledger.check(await entriesOf(node));
      await node.end('SIGKILL');
      const returned = await disk.start();
      ledger.check(await entriesOf(returned));
    }));

  it.each(['failure.after-abandon', 'failure.after-probe'] as const)(
    'at which the node dies (%s) leaves every acknowledged write',
    (point) =>
      onSmallDisk(point, async (disk) => {
        const node = await disk.start({ SKEIN_CRASH_AT: point });
        const ledger = new Ledger();
        await ledger.write('before', restWriter(node), () => ledger.acknowledged >= 20);
        disk.fill();
        const writing = ledger.write('full', restWriter(node));
        if (point === 'failure.after-probe') {
          await eventually('writes are refused', () => ledger.refused > 0 || undefined);
          disk.free();
        }
        expect(await node.ended()).toBe('SIGKILL');
        await writing;
        disk.free();
        ledger.check(await entriesOf(await disk.start()));
      }),
  );

  class SmallDisk {
    readonly #mount: string;
    #running: NodeProcess | undefined;

    constructor(mount: string) {
      this.#mount = mount;
    }

    async start(env: Record<string, string> = {}): Promise<NodeProcess> {
      this.#running = await nodes.start('small', { data: join(this.#mount, 'data'), env });
      return this.#running;
    }

    /** Not a byte is left. */
    fill(): void {
      const filler = join(this.#mount, 'filler');
      for (let bytes = 1 << 20; bytes >= 1; bytes >>= 1) {
        try {
          for (;;) writeFileSync(filler, Buffer.alloc(bytes), { flag: 'a' });
        } catch {
          // As long as anything fits, smaller pieces do.
        }
      }
    }

    free(): void {
      rmSync(join(this.#mount, 'filler'), { force: true });
    }

    async end(): Promise<void> {
      await this.#running?.end('SIGKILL');
    }
  }
});

describe('a session token', { timeout: 60_000 }, () => {
  const write = async (on: TestClient, key: string, value: unknown) => {
    const { structured, isError } = await on.call('board_write', { key, value, level: 'session' });
    expect(isError).toBe(false);
    return structured.session as string;
  };
  const read = async (on: TestClient, key: string, session?: string) => {
    const level = session === undefined ? 'eventual' : 'session';
    const { structured, isError } = await on.call('board_read', {
      key,
      level,
      ...(session === undefined ? {} : { session }),
    });
    return isError
      ? { error: (structured.error as ErrorShape).code }
      : { value: structured.value, session: structured.session as string };
  };

  it('stays valid over kill -9; after the return of an old disk it waits or is refused (K14)', async () => {
    const node = await nodes.start('token');
    const before = await nodes.client(node);
    await write(before, 'k', 'old');
    const { data } = node.setting;
    await node.end('SIGTERM');
    cpSync(data, `${data}-old`, { recursive: true });

    const second = await nodes.start('token');
    const token = await write(await nodes.client(second), 'k', 'new');
    await second.end('SIGKILL');
    const third = await nodes.start('token');
    expect(await read(await nodes.client(third), 'k', token)).toMatchObject({ value: 'new' });

    await third.end('SIGKILL');
    const restored = await nodes.start('token-old');
    const client = await nodes.client(restored);
    expect(await read(client, 'k')).toMatchObject({ value: 'old' });
    expect(await read(client, 'k', token)).toEqual({ error: 'SESSION_NOT_SATISFIED' });
    await restored.end('SIGKILL');
  });

  it('of one node is satisfied on the other or refused, never answered with an old value (K10, K11)', async () => {
    const a = await nodes.start('move-a');
    const b = await nodes.start('move-b', { peers: [a] });
    await linked(a);
    const [onA, onB] = await Promise.all([nodes.client(a), nodes.client(b)]);
    for (let round = 0; round < 60; round++) {
      const [from, to] = round % 2 === 0 ? [onA, onB] : [onB, onA];
      const token = await write(from, 'k', round);
      const there = await read(to, 'k', token);
      expect(there.value ?? there.error).toSatisfy(
        (seen) => seen === round || seen === 'SESSION_NOT_SATISFIED',
      );
      if (there.session !== undefined) expect((await read(from, 'k', there.session)).value).toBe(round);
    }

    // The link is cut in its meanest form: the other side is there and does not answer.
    await b.end('SIGKILL');
    const token = await write(onA, 'k', 'new');
    a.signal('SIGSTOP');
    try {
      const cutOff = nodes.own(await b.again());
      const client = await nodes.client(cutOff);
      expect(await read(client, 'k')).toMatchObject({ value: 59 });
      const askedMs = performance.now();
      expect(await read(client, 'k', token)).toEqual({ error: 'SESSION_NOT_SATISFIED' });
      expect(performance.now() - askedMs).toBeLessThan(5_000);
      a.signal('SIGCONT');
      await eventually('the session is satisfied', async () => {
        const there = await read(client, 'k', token);
        if (there.error === undefined) expect(there.value).toBe('new');
        return there.value === 'new' || undefined;
      });
      await cutOff.end('SIGKILL');
    } finally {
      a.signal('SIGCONT');
    }
  });
});
