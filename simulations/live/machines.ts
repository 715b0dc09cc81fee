/**
 * Machines of a live run: real node processes, started as a user starts them, each in a network namespace and on a small
 * disk of its own where this process is root, else on loopback. Whatever happens, nothing of it is left behind.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ControlClient } from '../../src/cli/client.ts';
import { makeNamespaces, type Namespaces, whyNoNamespaces } from '../../test/support/namespaces.ts';
import { NodeProcess } from '../../test/support/node-process.ts';
import { type Cut, Network } from './network.ts';
import { type Tampering, Tracer } from './tracer.ts';

const MESH_PORT = 7331;
/** A start takes a second; a machine that does other work besides may take much longer. */
const READY_MS = 60_000;
const DISK_BYTES = 96 * 1024 * 1024;
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1';

export type Ability = 'partitions' | 'narrow' | 'disks' | 'clocks' | 'copies' | 'tracing';

export interface MachinesOptions {
  readonly count: number;
  /** Loopback even where namespaces could be had. */
  readonly loopback?: boolean;
  /** A clock of its own for every machine. */
  readonly clocks?: boolean;
}

export interface Machine {
  readonly place: number;
  readonly name: string;
  readonly data: string;
  readonly control: ControlClient;
}

export class Machines {
  readonly all: readonly Machine[];
  /** What cannot be done here, and why. */
  readonly lacking = new Map<Ability, string>();
  readonly #options: MachinesOptions;
  readonly #root = mkdtempSync(join(tmpdir(), `skein-chaos-${process.pid}-`));
  readonly #runs: { readonly machine: string; readonly node: NodeProcess }[] = [];
  readonly #nodes = new Map<Machine, NodeProcess>();
  readonly #ports = new Map<Machine, { mesh: number; http: number }>();
  readonly #mounted: string[] = [];
  readonly #expected = new Set<NodeProcess>();
  /** Processes that were made and may still be there. */
  readonly #pids = new Set<number>();
  readonly #starting = new Set<Promise<NodeProcess>>();
  readonly #tracers = new Map<Machine, Tracer>();
  readonly #atExit = () => this.#removeAll();
  #namespaces: Namespaces | undefined;
  #network: Network | undefined;
  /** Nodes that ended though nobody had ended them. */
  readonly fallen: string[] = [];

  constructor(options: MachinesOptions) {
    this.#options = options;
    if (this.voters < 3) this.lacking.set('copies', 'one machine alone votes, and what it lost nobody has');
    const noTracing = Tracer.whyNot();
    if (noTracing !== undefined) this.lacking.set('tracing', noTracing);
    process.once('exit', this.#atExit);
    try {
      this.#prepareNetwork();
      this.#prepareClocks();
      this.all = Array.from({ length: options.count }, (_, place) => {
        const name = `m${place + 1}`;
        const data = join(this.#root, name);
        mkdirSync(data, { mode: 0o700 });
        writeFileSync(this.#clockFile(name), '+0\n');
        return { place, name, data, control: new ControlClient({ data }) };
      });
      this.#prepareDisks();
    } catch (cause) {
      this.#removeAll();
      throw cause;
    }
  }

  /** Founds the swarm and joins the others to it. */
  async raise(): Promise<void> {
    const [first, ...others] = this.all as readonly [Machine, ...Machine[]];
    await this.start(first);
    await Promise.all(others.map((machine) => this.start(machine)));
  }

  node(machine: Machine): NodeProcess | undefined {
    return this.#nodes.get(machine);
  }

  /** As many as may vote: an odd number. */
  get voters(): number {
    const { count } = this.#options;
    return count - (count % 2 === 0 ? 1 : 0);
  }

  get places(): string {
    return this.#namespaces === undefined ? 'loopback' : 'network namespaces';
  }

  /** The first machine is told of nobody at its very first start, so that it founds the store. */
  async start(machine: Machine, { elsewhere = false } = {}): Promise<void> {
    const namespace = this.#namespaces?.hosts[machine.place];
    const known = this.#ports.get(machine);
    const founds = machine.place === 0 && this.#ports.size === 0;
    const port =
      elsewhere || known === undefined ? (namespace === undefined ? 0 : this.#freshPort(known)) : known.mesh;
    const listen = namespace?.address ?? '127.0.0.1';
    const peers = founds
      ? []
      : this.all.flatMap((other) => (other === machine ? [] : this.#addressesOf(other)));
    const starting = NodeProcess.start({
      data: machine.data,
      name: machine.name,
      args: [
        ...['--mesh-listen', listen, '--mesh-port', String(port), '--http-port', String(known?.http ?? 0)],
        ...['--no-mdns', ...peers.flatMap((peer) => ['--peer', peer])],
      ],
      env: {
        SKEIN_QUORUM_VOTERS_TARGET: String(this.voters),
        SKEIN_QUORUM_VOTERS_REPLACE_AFTER: '20s',
        ...this.#clockEnvironment(machine),
      },
      readyMs: READY_MS,
      onSpawn: (pid) => {
        // A number is given to another process only after 32,768 others: those of one run are few.
        this.#pids.add(pid);
      },
      ...(namespace === undefined ? {} : { namespace: namespace.name }),
    });
    this.#starting.add(starting);
    const node = await starting.finally(() => this.#starting.delete(starting));
    this.#nodes.set(machine, node);
    this.#runs.push({ machine: machine.name, node });
    const mesh = Number(/\/tcp\/(\d+)/.exec(node.ready.meshAddresses[0] ?? '')?.[1]);
    this.#ports.set(machine, { mesh, http: Number(new URL(node.ready.httpUrl).port) });
    void node.ended().then((signal) => {
      this.#pids.delete(node.pid);
      if (!this.#expected.has(node))
        this.fallen.push(`${machine.name} (${signal ?? 'by itself'}): ${node.log}`);
      if (this.#nodes.get(machine) === node) this.#nodes.delete(machine);
    });
  }

  /** Of every run of a node, in the order of their starts. */
  get logs(): readonly { readonly machine: string; readonly log: string }[] {
    return this.#runs.map(({ machine, node }) => ({ machine, log: node.log }));
  }

  /** Network that the machine is in; `undefined`: this process's. */
  namespace(machine: Machine): string | undefined {
    return this.#namespaces?.hosts[machine.place]?.name;
  }

  /** What is on its disk, while its node is down. */
  keepImage(machine: Machine): string {
    const image = join(this.#root, `${machine.name}.image`);
    rmSync(image, { recursive: true, force: true });
    cpSync(machine.data, image, { recursive: true, filter: (path) => !path.endsWith('.sock') });
    return image;
  }

  /** Its disk is again what it was, in its place; its node is down. */
  putBack(machine: Machine, image: string): void {
    this.wipe(machine, { keepIdentity: false });
    cpSync(image, machine.data, { recursive: true });
  }

  /** A second node on a copy of the machine's data, in the same network; it ends with `kill`. */
  async startCopy(machine: Machine, image: string): Promise<Machine> {
    const name = `${machine.name}-copy`;
    const copy = { place: machine.place, name, data: image, control: new ControlClient({ data: image }) };
    const listen = this.#namespaces?.hosts[machine.place]?.address ?? '127.0.0.1';
    const namespace = this.namespace(machine);
    const peers = this.all.flatMap((other) => (other === machine ? [] : this.#addressesOf(other)));
    const node = await NodeProcess.start({
      data: image,
      name,
      args: [
        ...['--mesh-listen', listen, '--mesh-port', '0', '--http-port', '0', '--no-mdns'],
        ...peers.flatMap((peer) => ['--peer', peer]),
      ],
      env: { SKEIN_QUORUM_VOTERS_TARGET: String(this.voters), ...this.#clockEnvironment(machine) },
      readyMs: READY_MS,
      onSpawn: (pid) => this.#pids.add(pid),
      ...(namespace === undefined ? {} : { namespace }),
    });
    // What becomes of it is nothing to wonder at.
    this.#expected.add(node);
    this.#nodes.set(copy, node);
    return copy;
  }

  /** All is as it was at the beginning, and every machine runs. */
  async heal(): Promise<void> {
    this.cut([]);
    this.lose(0);
    for (const machine of this.all) {
      this.widen(machine);
      await this.leaveAlone(machine);
      this.signal(machine, 'SIGCONT');
      this.emptyDisk(machine);
      this.setClock(machine, 0);
    }
    const down = this.all.filter((machine) => this.node(machine) === undefined);
    await Promise.all(down.map((machine) => this.start(machine)));
  }

  /** kill -9. */
  async kill(machine: Machine): Promise<void> {
    const node = this.#nodes.get(machine);
    if (node === undefined) return;
    this.#expected.add(node);
    await node.end('SIGKILL');
    this.#nodes.delete(machine);
  }

  /** Its end, from now on, is nothing to wonder at. */
  mayFall(machine: Machine): void {
    const node = this.#nodes.get(machine);
    if (node !== undefined) this.#expected.add(node);
  }

  signal(machine: Machine, signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#nodes.get(machine)?.signal(signal);
  }

  cut(cuts: readonly Cut[]): void {
    this.#network?.cut(cuts);
  }

  /** Of all frames, so many in a hundred are lost. */
  lose(percent: number): void {
    this.#network?.lose(percent);
  }

  narrow(machine: Machine, kilobits: number): void {
    this.#network?.narrow(machine.place, kilobits);
  }

  widen(machine: Machine): void {
    this.#network?.widen(machine.place);
  }

  /** What its disk is asked to force down fails, or takes long, until `leaveAlone`. */
  async tamper(machine: Machine, tampering: Tampering): Promise<void> {
    await this.leaveAlone(machine);
    const pid = this.#nodes.get(machine)?.pid;
    if (pid !== undefined) this.#tracers.set(machine, await Tracer.attach(pid, tampering));
  }

  async leaveAlone(machine: Machine): Promise<void> {
    const tracer = this.#tracers.get(machine);
    this.#tracers.delete(machine);
    await tracer?.detach();
  }

  /** An empty disk in place of the one that is there; the machine's key stays, where asked for. */
  wipe(machine: Machine, { keepIdentity }: { readonly keepIdentity: boolean }): void {
    for (const name of readdirSync(machine.data)) {
      if (keepIdentity && name.startsWith('identity')) continue;
      rmSync(join(machine.data, name), { recursive: true, force: true });
    }
  }

  /** Not a byte more goes onto its disk. */
  fillDisk(machine: Machine): void {
    const ballast = this.#ballast(machine);
    try {
      execFileSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64K'], { stdio: 'ignore' });
    } catch {
      // dd ends with an error once the disk is full, which is the point.
    }
  }

  emptyDisk(machine: Machine): void {
    rmSync(this.#ballast(machine), { force: true });
  }

  /** `rate`: how many times as fast as time its clock of dates goes from now on; its clock of durations stays true. */
  setClock(machine: Machine, offsetSeconds: number, rate = 1): void {
    const offset = `${offsetSeconds < 0 ? '' : '+'}${offsetSeconds}`;
    // The rate is always said: without it the one from before would go on.
    writeFileSync(this.#clockFile(machine.name), `${offset} x${rate}\n`);
  }

  /** Ends what runs, and removes all that was made. */
  async remove(): Promise<void> {
    await Promise.allSettled(this.#starting);
    await Promise.allSettled(this.all.map((machine) => this.leaveAlone(machine)));
    await Promise.all(this.all.map((machine) => this.kill(machine)));
    this.#removeAll();
    process.off('exit', this.#atExit);
  }

  /** Without waiting for anything, as at the end of this process. */
  #removeAll(): void {
    for (const node of this.#nodes.values()) this.#expected.add(node);
    for (const tracer of this.#tracers.values()) tracer.abandon();
    this.#tracers.clear();
    for (const pid of this.#pids) kill(pid);
    this.#pids.clear();
    for (const machine of this.all ?? []) machine.control.close();
    for (const path of this.#mounted.splice(0)) execFileSync('umount', ['-l', path], { stdio: 'ignore' });
    this.#namespaces?.remove();
    this.#namespaces = undefined;
    rmSync(this.#root, { recursive: true, force: true });
  }

  #prepareNetwork(): void {
    const why = this.#options.loopback === true ? 'loopback was asked for' : whyNoNamespaces();
    if (why !== undefined) {
      this.lacking.set('partitions', why);
      this.lacking.set('narrow', why);
      return;
    }
    this.#namespaces = makeNamespaces(this.#options.count);
    try {
      this.#network = new Network(this.#namespaces);
      this.#prepareNarrow();
    } catch {
      this.lacking.set('partitions', 'nft is not to be had');
    }
  }

  #prepareNarrow(): void {
    try {
      this.#network?.narrow(0, 1_000);
      this.#network?.widen(0);
    } catch {
      this.lacking.set('narrow', 'tc tbf is not to be had');
    }
  }

  #prepareClocks(): void {
    if (this.#options.clocks === true && !existsSync(FAKETIME))
      this.lacking.set('clocks', 'faketime is not installed');
  }

  #prepareDisks(): void {
    try {
      for (const { data } of this.all) {
        execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES},mode=0700`, 'tmpfs', data], {
          stdio: 'ignore',
        });
        this.#mounted.push(data);
      }
    } catch {
      this.lacking.set('disks', 'a file system of its own cannot be mounted for each machine (needs root)');
    }
  }

  #clockEnvironment({ name }: Machine): Record<string, string> {
    if (this.#options.clocks !== true || this.lacking.has('clocks')) return {};
    return {
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: this.#clockFile(name),
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  #freshPort(known: { mesh: number } | undefined): number {
    return known === undefined ? MESH_PORT : known.mesh + 1;
  }

  #addressesOf(machine: Machine): readonly string[] {
    const address = this.#namespaces?.hosts[machine.place]?.address ?? '127.0.0.1';
    const port = this.#ports.get(machine)?.mesh ?? (this.#namespaces === undefined ? undefined : MESH_PORT);
    return port === undefined ? [] : [`/ip4/${address}/tcp/${port}`];
  }

  #clockFile(name: string): string {
    return join(this.#root, `${name}.clock`);
  }

  #ballast({ data }: Machine): string {
    return join(data, 'ballast');
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}
