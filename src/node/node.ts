/** Composition root: one node from one configuration. Starts in order, stops in reverse, every step bounded. */
import { startControl } from '../adapters/http/control.ts';
import { startHttp } from '../adapters/http/server.ts';
import { hkdf, nodeCryptography, signerFromSeed } from '../adapters/node/cryptography.ts';
import { openDataDirectory } from '../adapters/node/data-directory.ts';
import { Journal } from '../adapters/node/journal.ts';
import { loadIdentity, loadSwarmSecret } from '../adapters/node/keys.ts';
import { createLogger, type NodeLogger } from '../adapters/node/log.ts';
import type { AgentDirectory } from '../agents/api.ts';
import type { Blackboard, YjsAccess } from '../blackboard/api.ts';
import type { Budgets } from '../budget/api.ts';
import { SkeinError } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import { type Swarm, swarmFromSecret } from '../mesh/identity/swarm.ts';
import type { MeshView } from '../mesh/view.ts';
import type { NamedLeases } from '../quorum/leases.ts';
import type { Voters } from '../quorum/voters/voters-api.ts';
import { NodeBroken } from './broken.ts';
import type { Config } from './config/options.ts';
import { startDiscoverers } from './discoverers.ts';
import { openEtcd } from './etcd.ts';
import { Host } from './host.ts';
import type { QuorumFace } from './quorum-engine.ts';
import { type TaskBudgets, taskBudgetsOf } from './task-budgets.ts';
import { VERSION } from './version.ts';

export interface StartOptions {
  /** Told what the start is doing, for a person who waits. */
  readonly progress?: (line: string) => void;
  /** Gives the start up; a node that runs already is stopped with `stop`. */
  readonly signal?: AbortSignal;
  readonly logger?: NodeLogger;
}

export interface RunningNode extends TaskBudgets {
  readonly ready: {
    readonly nodeId: NodeId;
    readonly name: string;
    readonly swarm: string;
    readonly httpUrl: string | undefined;
    readonly mcpUrl: string | undefined;
    readonly meshAddresses: readonly string[];
  };
  readonly blackboard: Blackboard;
  readonly yjs: YjsAccess;
  readonly agents: AgentDirectory;
  readonly mesh: MeshView;
  readonly leases: NamedLeases;
  readonly voters: Voters;
  readonly quorum: QuorumFace;
  readonly budgets: Budgets;
  /** Ends once the node has let go of everything: after `stop`, or with a `NodeBroken` where it found an error of its own. */
  readonly closed: Promise<void>;
  /** Tells the others, answers what waits, makes durable what was written, and lets go of everything. */
  stop(): Promise<void>;
}

/** What was started, to be ended in reverse order. */
class Closers {
  readonly #steps: { readonly name: string; readonly close: () => void | Promise<void> }[] = [];
  #closing: Promise<void> | undefined;
  #failure: NodeBroken | undefined;
  #settle: { readonly resolve: () => void; readonly reject: (failure: NodeBroken) => void } | undefined;
  readonly closed: Promise<void>;

  constructor() {
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever does not ask is told by the log.
    this.closed.catch(() => undefined);
  }

  /** Why everything was or is being closed, where nobody asked for it. */
  get failure(): NodeBroken | undefined {
    return this.#failure;
  }

  fail(failure: NodeBroken, logger: NodeLogger): void {
    this.#failure ??= failure;
    void this.closeAll(logger);
  }

  add(name: string, close: () => void | Promise<void>): void {
    this.#steps.push({ name, close });
  }

  /** One step that fails does not keep the others from being taken. What a start added meanwhile needs another call. */
  closeAll(logger: NodeLogger): Promise<void> {
    if (this.#closing === undefined) this.#closing = this.#close(logger);
    else if (this.#steps.length > 0) this.#closing = this.#closing.then(() => this.#close(logger));
    return this.#closing;
  }

  async #close(logger: NodeLogger): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.close();
      } catch (error) {
        logger.log('error', 'node.stopFailed', { step: step.name, error: String(error) });
      }
    }
    if (this.#failure === undefined) this.#settle?.resolve();
    else this.#settle?.reject(this.#failure);
  }
}

/** Throws a `SkeinError` that says what to do where the node cannot start; nothing is left running then. */
export async function startNode(config: Config, options: StartOptions = {}): Promise<RunningNode> {
  if (typeof config?.node?.data !== 'string')
    throw SkeinError.of(
      'INVALID_ARGUMENT',
      'This is no configuration of a node.',
      'Pass what configWith(…) or loadConfig(…) gives.',
    );
  const logger = options.logger ?? createLogger({ level: 'warn', base: { node: config.node.name } });
  const closers = new Closers();
  try {
    return await start(config, options, logger, closers);
  } catch (error) {
    await closers.closeAll(logger);
    throw error;
  }
}

async function start(
  config: Config,
  options: StartOptions,
  logger: NodeLogger,
  closers: Closers,
): Promise<RunningNode> {
  const progress = options.progress ?? (() => undefined);
  // The wire's library is by far the largest to read: it loads while the journal does.
  const wireModule = import('../adapters/libp2p/wire.ts');
  wireModule.catch(() => undefined);
  const directory = openDataDirectory(config.node.data, { version: VERSION });
  closers.add('data directory', () => directory.close());
  const identity = loadIdentity(directory.path);
  const swarm = swarmOf(config, directory.path, logger);
  directory.bindSwarm(swarm.id);

  progress('Reading the journal…');
  const disk = new Journal({ directory: directory.journalPath });
  const journal = await disk.load();
  closers.add('journal', () => disk.close());
  if (journal.tornBytes > 0) logger.log('info', 'journal.tornTail', { bytes: journal.tornBytes });
  for (const file of journal.quarantined) logger.log('error', 'journal.quarantined', { file });

  const { libp2pWire } = await wireModule;
  const wire = libp2pWire({ listen: listenAddresses(config), seed: identity.seed });
  const etcd = await openEtcd(config);
  if (etcd !== undefined) closers.add('etcd', () => etcd.close());
  const onBroken = (error: unknown) => closers.fail(new NodeBroken(error), logger);
  const host = new Host({ config, identity, swarm, journal, disk, wire, logger, etcd, onBroken });
  closers.add('core', () => host.halt());

  progress('Joining the mesh…');
  options.signal?.throwIfAborted();
  closers.add('wire', () => wire.close());
  await wire.listen((event) => host.deliver(event));
  host.deliver({ kind: 'listening', addresses: wire.addresses() });
  const discoverers = startDiscoverers({ config, identity, swarm, wire, host, logger });
  closers.add('discovery', () => discoverers.stop());

  progress('Opening the doors…');
  const doors = await openDoors(config, directory.path, host, logger, closers);
  options.signal?.throwIfAborted();
  closers.add('calls', async () => {
    await host.handOver();
    host.leave();
    return host.drain();
  });
  if (closers.failure !== undefined) throw closers.failure;
  return {
    ...host.faces,
    ...taskBudgetsOf(host.faces.budgets),
    ready: {
      nodeId: identity.nodeId,
      name: config.node.name,
      swarm: swarm.id,
      httpUrl: doors?.url,
      mcpUrl: doors?.mcpUrl,
      meshAddresses: wire.addresses(),
    },
    closed: closers.closed,
    stop: () => closers.closeAll(logger),
  };
}

function swarmOf(config: Config, dataDirectory: string, logger: NodeLogger): Swarm {
  const secret = config.swarm.secret ?? loadSwarmSecret(dataDirectory).secret;
  logger.hide(secret.trim());
  const swarm = swarmFromSecret(secret, { hash: nodeCryptography.hash, hkdf, signerFromSeed });
  if (!swarm.ok) throw new SkeinError(swarm.error);
  return swarm.value;
}

function listenAddresses({ mesh }: Config): readonly string[] {
  return mesh.listen.flatMap((host) => {
    const base = `/${host.includes(':') ? 'ip6' : 'ip4'}/${host}`;
    return [`${base}/tcp/${mesh.port}`, `${base}/tcp/${mesh.wsPort}/ws`];
  });
}

/** HTTP, where it is wanted, and the sockets of the data directory. */
async function openDoors(
  config: Config,
  dataDirectory: string,
  host: Host,
  logger: NodeLogger,
  closers: Closers,
): Promise<{ readonly url: string; readonly mcpUrl: string } | undefined> {
  const setting = {
    node: { ...host.faces, meter: { text: () => host.meter.render() } },
    logger,
    identity: { name: 'skein', version: VERSION },
  };
  const control = await startControl({ ...setting, dataDirectory });
  closers.add('control sockets', () => control.close());
  if (!config.http.enabled) return undefined;
  const keys = config.guard.keys.map(({ principal, zone, secretHash }) => ({
    principal,
    zone,
    hash: secretHash,
  }));
  const http = await startHttp({ ...setting, ...config.http, keys });
  closers.add('http', () => http.close());
  return { url: http.url, mcpUrl: http.mcpUrl };
}
