/**
 * Machines of their own on one: Linux network namespaces joined by a bridge that carries multicast, each with one address of
 * 10.77.0.0/24. Needs root and iproute2; where they are not to be had, the reason is printed and the test must be skipped.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';

export interface Namespace {
  readonly name: string;
  /** IPv4 on the bridge. */
  readonly address: string;
  /** The interface inside. */
  readonly device: string;
  /** Starts a program inside; only the network differs from outside. */
  spawn(command: string, args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Runs a program inside to its end and returns what it printed. */
  run(command: string, args: readonly string[]): string;
}

export interface Namespaces {
  readonly hosts: readonly Namespace[];
  /** The switch between them, where `nft` can drop and delay. */
  readonly switchName: string;
  /** Unplugs a host, and plugs it in again. */
  unplug(host: Namespace): void;
  plug(host: Namespace): void;
  /** Removes all of it; processes inside must have ended. */
  remove(): void;
}

/** Why namespaces cannot be made here; `undefined` where they can. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are a matter of Linux';
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  const probe = `skein-probe-${process.pid}`;
  try {
    ip('netns', 'add', probe);
    ip('netns', 'del', probe);
    return undefined;
  } catch (cause) {
    return `network namespaces cannot be made (${firstLine(cause)})`;
  }
}

/** Whether to run what needs namespaces; prints the reason where not. */
export function canUseNamespaces(what: string): boolean {
  const why = whyNoNamespaces();
  if (why !== undefined) console.warn(`skipped: ${what}: ${why}`);
  return why === undefined;
}

let made = 0;

export function makeNamespaces(count: number): Namespaces {
  const stem = `skein-${process.pid}-${++made}`;
  const switchName = `${stem}-switch`;
  const names: string[] = [];
  const remove = () => {
    for (const name of names.splice(0)) {
      try {
        ip('netns', 'del', name);
      } catch (cause) {
        console.warn(`namespace ${name} is left behind: ${firstLine(cause)}`);
      }
    }
  };
  const add = (name: string) => {
    ip('netns', 'add', name);
    names.push(name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  };
  try {
    add(switchName);
    ip('-n', switchName, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0', 'forward_delay', '0');
    ip('-n', switchName, 'link', 'set', 'br0', 'up');
    const hosts = Array.from({ length: count }, (_, index) => {
      const name = `${stem}-${index + 1}`;
      add(name);
      return plugIn(name, switchName, index + 1);
    });
    const port = (host: Namespace, state: string) => {
      ip('-n', switchName, 'link', 'set', `port${hosts.indexOf(host) + 1}`, state);
    };
    return {
      hosts,
      switchName,
      unplug: (host) => port(host, 'down'),
      plug: (host) => port(host, 'up'),
      remove,
    };
  } catch (cause) {
    remove();
    throw cause;
  }
}

function plugIn(name: string, switchName: string, place: number): Namespace {
  const address = `10.77.0.${place}`;
  const device = 'eth0';
  const port = `port${place}`;
  ip('-n', switchName, 'link', 'add', port, 'type', 'veth', 'peer', 'name', device, 'netns', name);
  ip('-n', switchName, 'link', 'set', port, 'master', 'br0', 'up');
  ip('-n', name, 'address', 'add', `${address}/24`, 'dev', device);
  ip('-n', name, 'link', 'set', device, 'up');
  ip('-n', name, 'route', 'add', '224.0.0.0/4', 'dev', device);
  // `ip netns exec` would hide parts of /sys; this changes the network alone.
  const inside = [`--net=/run/netns/${name}`];
  return {
    name,
    address,
    device,
    spawn: (command, args, options = {}) => spawn('nsenter', [...inside, command, ...args], options),
    run: (command, args) => execFileSync('nsenter', [...inside, command, ...args], { encoding: 'utf8' }),
  };
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function firstLine(cause: unknown): string {
  return String(cause instanceof Error ? cause.message : cause)
    .split('\n')
    .filter((line) => !line.startsWith('Command failed'))
    .concat('command failed')[0] as string;
}
