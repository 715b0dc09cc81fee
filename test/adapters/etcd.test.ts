/** What is etcd's own: signing in, TLS, prefixes, lost answers, broken connections. The rest is in `test/contracts`. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EtcdOptions } from '../../src/adapters/etcd/connection.ts';
import { type EtcdStore, etcdStore } from '../../src/adapters/etcd/store.ts';
import { limits } from '../../src/kernel/limits.ts';
import {
  error,
  expectSound,
  increment,
  put,
  Told,
  text,
  transaction,
  under,
  until,
  value,
  write,
} from '../contracts/quorum-store-support.ts';
import { EtcdCluster, type EtcdFiles } from './etcd-server.ts';

const opened: EtcdStore[] = [];

function open(options: EtcdOptions): EtcdStore {
  const store = etcdStore(options);
  opened.push(store);
  return store;
}

afterAll(() => {
  for (const store of opened) store.close();
});

describe('etcd: connections that break', { timeout: 30_000 }, () => {
  let cluster: EtcdCluster;
  let endpoints: readonly string[];
  beforeAll(async () => {
    cluster = await EtcdCluster.start();
    endpoints = cluster.endpoints;
  }, 30_000);
  afterAll(() => cluster?.close());

  it('a write whose answer is lost is unknown, in time, and is not sent again (K30)', async () => {
    const pipe = await Pipe.to(endpoints[0]!);
    const store = open({ endpoints: [pipe.address] });
    const direct = open({ endpoints });
    await write(store, put('lost/ready'));
    for (const how of ['silence', 'cut'] as const) {
      const key = `lost/${how}`;
      pipe.holdAnswers = true;
      const startMs = performance.now();
      const call = store.transact(transaction({ then: [put(key)] }));
      await until(async () => value(await direct.get(key, 'strong')).found.length === 1, 'it took effect');
      if (how === 'cut') pipe.cut();
      const result = await call;
      expect(error(result)).toMatchObject({ code: 'QUORUM_UNAVAILABLE', details: { outcome: 'unknown' } });
      expect(performance.now() - startMs).toBeLessThan(limits.quorumWaitMs + 1_000);
      pipe.holdAnswers = false;
      pipe.cut();
      await until(async () => (await increment(store, 'lost/again')).ok, 'writes go through again');
      expect(value(await direct.get(key, 'strong')).found[0]?.version).toBe(1);
    }
    await pipe.close();
  });

  it('a write that could not be sent was not done', async () => {
    const pipe = await Pipe.to(endpoints[0]!);
    await pipe.close();
    const store = open({ endpoints: [pipe.address] });
    const startMs = performance.now();
    const result = await store.transact(transaction({ then: [put('k')] }));
    expect(error(result)).toMatchObject({
      code: 'QUORUM_UNAVAILABLE',
      retryable: true,
      details: { outcome: 'not-done', endpoints: [pipe.address] },
    });
    expect(error(await store.renewLease(5)).code).toBe('QUORUM_UNAVAILABLE');
    expect(performance.now() - startMs).toBeLessThan(2 * limits.quorumWaitMs + 1_500);
  });

  it('a read is asked again elsewhere where its answer is lost', async () => {
    const pipes = [await Pipe.to(endpoints[0]!), await Pipe.to(endpoints[0]!)];
    const store = open({ endpoints: pipes.map(({ address }) => address) });
    await write(store, put('reread/k', 'v'));
    const before = pipes.map(({ bytes }) => bytes);
    await write(store, put('reread/k', 'w'));
    const used = pipes.findIndex(({ bytes }, at) => bytes > before[at]!);
    pipes[used]!.holdAnswers = true;
    const startMs = performance.now();
    expect(text(value(await store.get('reread/k', 'strong')).found[0]?.value)).toBe('w');
    expect(performance.now() - startMs).toBeGreaterThan(100);
    expect(text(value(await store.get('reread/k', 'mirror')).found[0]?.value)).toBe('w');
    for (const pipe of pipes) await pipe.close();
  });

  it('a watch over a connection that breaks again and again has no gap and no repetition (K47)', async () => {
    const pipe = await Pipe.to(endpoints[0]!);
    const watcher = open({ endpoints: [pipe.address] });
    const writer = open({ endpoints });
    const first = await write(writer, put('broken/0'));
    const told = new Told(watcher, under('broken/'), first.revision);
    for (let round = 1; round <= 40; round++) {
      await write(writer, put(`broken/${round}`), put('elsewhere/k'));
      if (round % 4 === 0) pipe.cut();
      if (round % 10 === 0) await until(() => told.changed.length > round / 2, 'it goes on');
    }
    await until(() => told.changed.length === 41, 'all is told', 15_000);
    expect(told.changed.map(({ revision }) => revision)).toEqual(
      Array.from({ length: 41 }, (_, at) => first.revision + at),
    );
    told.end();
    expectSound(told);
    await pipe.close();
  });

  it('a server that is stopped and goes on: refused in time, then served again', async () => {
    const store = open({ endpoints });
    await write(store, put('paused/k', 'before'));
    cluster.pause(0);
    const startMs = performance.now();
    const result = await store.transact(transaction({ then: [put('paused/k', 'meanwhile')] }));
    expect(performance.now() - startMs).toBeLessThan(limits.quorumWaitMs + 1_000);
    expect(error(result)).toMatchObject({ code: 'QUORUM_UNAVAILABLE', details: { outcome: 'unknown' } });
    cluster.resume(0);
    await until(async () => (await increment(store, 'paused/counter')).ok, 'writes go through again');
  });

  it('the deletion in the very revision that etcd compacted to is not passed over in silence', async () => {
    const store = open({ endpoints });
    await write(store, put('tomb/k'));
    const gone = await write(store, { op: 'delete', key: 'tomb/k' });
    cluster.control('compaction', String(gone.revision));
    const told = new Told(store, under('tomb/'), gone.revision);
    await until(() => told.compactRevision !== undefined || told.changed.length > 0, 'it is told one way');
    expect(told.compactRevision ?? gone.revision + 1).toBeGreaterThan(gone.revision);
    const next = new Told(store, under('tomb/'), gone.revision + 1);
    await next.live();
    expect(next.compactRevision).toBeUndefined();
    next.end();
    told.end();
  });

  it('another cluster in the place of the first: its watches are told that what they know is nothing', async () => {
    const other = await EtcdCluster.start();
    const pipe = await Pipe.to(endpoints[0]!);
    const store = open({ endpoints: [pipe.address] });
    const { revision } = await write(store, put('swapped/k'));
    const told = new Told(store, under('swapped/'), revision);
    await told.live();
    pipe.target = other.endpoints[0]!;
    pipe.cut();
    await until(() => told.compactRevision !== undefined, 'compacted is told');
    expect(told.events.at(-1)?.kind).toBe('compacted');
    await pipe.close();
    await other.close();
  });

  it('prefixes keep stores apart, and their watches too; revisions are the server’s', async () => {
    const one = open({ endpoints, prefix: 'one/' });
    const two = open({ endpoints, prefix: 'two/' });
    const { revision } = await write(one, put('k', 'one'));
    const told = new Told(two, { from: '', to: '\u{10ffff}' }, revision);
    await write(two, put('k', 'two'), put('l', 'two'));
    await write(one, { op: 'deleteRange', range: { from: '', to: '\u{10ffff}' } });
    const all = value(await two.range({ from: '', to: '\u{10ffff}' }, 10, 'strong'));
    expect(all.found.map((entry) => `${entry.key}=${text(entry.value)}`)).toEqual(['k=two', 'l=two']);
    expect(all.revision).toBe(revision + 2);
    await until(() => told.changed.length > 0, 'it is told');
    expect(told.lines).toEqual(['k=two l=two']);
    told.end();
    expectSound(told);
  });

  it('times of leases are rounded up to seconds, and the answer says to how many', async () => {
    const store = open({ endpoints });
    expect(value(await store.grantLease(2_001)).ttlMs).toBe(3_000);
    expect(value(await store.grantLease(2_000)).ttlMs).toBe(2_000);
  });

  it('a proxy of the environment is not asked', async () => {
    const before = process.env.grpc_proxy;
    process.env.grpc_proxy = 'http://127.0.0.1:9';
    await write(open({ endpoints }), put('proxy/k'));
    if (before === undefined) delete process.env.grpc_proxy;
    else process.env.grpc_proxy = before;
  });

  it('closing answers the calls that wait and ends the watches', async () => {
    const pipe = await Pipe.to(endpoints[0]!);
    const store = etcdStore({ endpoints: [pipe.address] });
    await write(store, put('closing/k'));
    const told = new Told(store, under('closing/'), 0);
    await told.live();
    pipe.holdAnswers = true;
    const calls = [
      store.get('closing/k', 'strong'),
      store.transact(transaction({ then: [put('closing/k')] })),
    ];
    store.close();
    const results = await Promise.all(calls);
    expect(results.map((result) => error(result).code)).toEqual(['QUORUM_UNAVAILABLE', 'QUORUM_UNAVAILABLE']);
    expect(error(await store.get('closing/k', 'strong')).code).toBe('QUORUM_UNAVAILABLE');
    expect(error(await store.renewLease(7)).code).toBe('QUORUM_UNAVAILABLE');
    const count = told.events.length;
    await write(open({ endpoints }), put('closing/k'));
    expect(told.events).toHaveLength(count);
    await pipe.close();
  });

  it.each(['no port at all://', 'host:70000'])(
    'an endpoint that is no address is said at once: %s',
    (endpoint) => {
      expect(() => etcdStore({ endpoints: [endpoint] })).toThrow();
      expect(() => etcdStore({ endpoints: [] })).toThrow();
    },
  );
});

describe('etcd: users and rights', { timeout: 30_000 }, () => {
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await EtcdCluster.start();
    const store = etcdStore({ endpoints: cluster.endpoints });
    await until(async () => (await store.get('k', 'strong')).ok, 'the server answers');
    await write(store, put('foreign'));
    store.close();
    cluster.control('user', 'add', 'root:secret');
    cluster.control('user', 'grant-role', 'root', 'root');
    cluster.control('user', 'add', 'skein:word');
    cluster.control('role', 'add', 'skein');
    cluster.control('role', 'grant-permission', 'skein', 'readwrite', 'skein/', '--prefix=true');
    cluster.control('user', 'grant-role', 'skein', 'skein');
    cluster.control('auth', 'enable');
  }, 30_000);
  afterAll(() => cluster?.close());

  const options = (over: Partial<EtcdOptions> = {}): EtcdOptions => ({
    endpoints: cluster.endpoints,
    user: 'skein',
    password: 'word',
    prefix: 'skein/',
    ...over,
  });

  it('a user with rights on the prefix can do all that a store does', async () => {
    const store = open(options());
    const told = new Told(store, under(''), 0);
    await told.live();
    const lease = value(await store.grantLease(10_000));
    await write(store, put('k', 'v', lease.id), { op: 'deleteRange', range: { from: 'z', to: 'a' } });
    value(await store.renewLease(lease.id));
    value(await store.range({ from: '', to: '\u{10ffff}' }, 10, 'mirror'));
    value(await store.range({ from: 'z', to: 'a' }, 10, 'strong'));
    value(await store.revokeLease(lease.id));
    value(await store.revokeLease(lease.id));
    await until(() => told.changed.length === 2, 'both changes are told');
    expect(told.lines).toEqual(['k=v', '-k']);
    told.end();
    expectSound(told);
  });

  it('a wrong password, no user, and a prefix without rights are told apart from a server that is away', async () => {
    const codeOf = async (over: Partial<EtcdOptions>) =>
      error(await open(options(over)).get('k', 'strong')).code;
    expect(await codeOf({ password: 'wrong' })).toBe('UNAUTHENTICATED');
    const { user: _user, password: _password, ...nobody } = options();
    expect(error(await open(nobody).get('k', 'strong')).code).toBe('UNAUTHENTICATED');
    expect(await codeOf({ prefix: 'other/' })).toBe('DENIED');
    const write = await open(options({ prefix: '' })).transact(transaction({ then: [put('foreign')] }));
    expect(error(write).code).toBe('DENIED');
  });

  it('a token that the server forgot is asked for anew, for calls and for watches', async () => {
    const store = open(options());
    const { revision } = await write(store, put('token/k', '1'));
    const told = new Told(store, under('token/'), revision);
    await told.live();
    await cluster.kill(0);
    await cluster.restart(0);
    await until(
      async () => (await store.transact(transaction({ then: [put('token/k', '2')] }))).ok,
      'writes go through again',
    );
    await until(() => told.lines.at(-1) === 'token/k=2', 'the watch goes on');
    told.end();
    expectSound(told);
  });

  it('rights that are changed meanwhile do not stop the store', async () => {
    const store = open(options());
    await write(store, put('rights/k', '1'));
    cluster.control('--user', 'root:secret', 'role', 'add', `another${process.pid}`);
    await write(store, put('rights/k', '2'));
  });
});

describe('etcd: TLS', { timeout: 30_000 }, () => {
  const files = mkdtempSync(join(tmpdir(), 'skein-etcd-tls-'));
  let cluster: EtcdCluster;
  let own: EtcdFiles;
  let foreign: EtcdFiles;
  beforeAll(async () => {
    own = makeCertificates(files, 'own');
    foreign = makeCertificates(files, 'foreign');
    cluster = await EtcdCluster.start({ tls: { ...own, askClients: true } });
    const store = open({ endpoints: cluster.endpoints, tls: tlsOf(own) });
    await until(async () => (await store.get('k', 'strong')).ok, 'the server answers');
  }, 30_000);
  afterAll(async () => {
    await cluster?.close();
    rmSync(files, { recursive: true, force: true });
  });

  it('with the right authority and a client certificate, by either form of endpoint', async () => {
    for (const endpoint of [cluster.endpoints[0]!, `https://${cluster.endpoints[0]}`]) {
      const store = open({ endpoints: [endpoint], tls: tlsOf(own) });
      const { revision } = await write(store, put('tls/k'));
      const told = new Told(store, under('tls/'), revision);
      await told.live();
      expect(told.changed).toHaveLength(1);
      told.end();
    }
  });

  it.each([
    ['an authority that did not sign the server', () => ({ ...tlsOf(own), ca: readFileSync(foreign.ca) })],
    ['a client certificate of another authority', () => ({ ...tlsOf(foreign), ca: readFileSync(own.ca) })],
    ['no client certificate', () => ({ ca: readFileSync(own.ca) })],
    ['another name than the certificate’s', () => ({ ...tlsOf(own), serverName: 'elsewhere.example' })],
  ])('%s: nothing is sent', async (_, tls) => {
    const store = open({ endpoints: cluster.endpoints, tls: tls() });
    const refused = error(await store.transact(transaction({ then: [put('tls/refused')] })));
    expect(refused).toMatchObject({
      code: 'QUORUM_UNAVAILABLE',
      message: expect.stringMatching(/certificate|altnames|TLS|SSL|ECONNRESET|dropped/i),
    });
    const right = open({ endpoints: cluster.endpoints, tls: tlsOf(own) });
    expect(value(await right.get('tls/refused', 'strong')).found).toEqual([]);
  });
});

function tlsOf(files: EtcdFiles) {
  return {
    ca: readFileSync(files.ca),
    certificate: readFileSync(files.certificate),
    key: readFileSync(files.key),
  };
}

/** An authority and one certificate of it, for 127.0.0.1 as server and as client. */
function makeCertificates(folder: string, name: string): EtcdFiles {
  const path = (file: string): string => join(folder, `${name}-${file}`);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: 'ignore' });
  };
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  openssl(
    'req',
    '-x509',
    ...ec,
    '-subj',
    `/CN=${name} authority`,
    '-keyout',
    path('ca.key'),
    '-out',
    path('ca.pem'),
  );
  const authority = ['-CA', path('ca.pem'), '-CAkey', path('ca.key')];
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1'];
  openssl(
    'req',
    '-x509',
    ...ec,
    ...authority,
    '-subj',
    `/CN=${name}`,
    ...names,
    '-keyout',
    path('key'),
    '-out',
    path('pem'),
  );
  return { ca: path('ca.pem'), certificate: path('pem'), key: path('key') };
}

/** Passes bytes on, and can be made to hold back answers, to break all connections, or to lead elsewhere. */
class Pipe {
  holdAnswers = false;
  /** From the client. */
  bytes = 0;
  target: string;
  readonly address: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, target: string) {
    this.#server = server;
    this.target = target;
    this.address = `127.0.0.1:${(server.address() as { port: number }).port}`;
    server.on('connection', (socket) => this.#pass(socket));
  }

  static async to(target: string): Promise<Pipe> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Pipe(server, target);
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #pass(client: Socket): void {
    const [host, port] = this.target.split(':');
    const server = connect(Number(port), host);
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.on('data', (bytes: Buffer) => {
      this.bytes += bytes.length;
      server.write(bytes);
    });
    server.on('data', (bytes) => {
      if (!this.holdAnswers) client.write(bytes);
    });
  }
}
