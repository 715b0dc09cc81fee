/** Across machines of their own, and with Avahi as the witness: a node is found by what any browser of services would use. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { nodeId } from '../../mesh/membership/cluster.ts';
import {
  canUseNamespaces,
  makeNamespaces,
  type Namespace,
  type Namespaces,
} from '../../support/namespaces.ts';

const SWARM = '0123456789abcdef';
const WITHIN = { timeout: 10_000, interval: 25 };
const canRun = canUseNamespaces('mDNS across network namespaces');
const avahi = canRun ? whyNoAvahi() : 'no namespaces';
if (canRun && avahi !== undefined) console.warn(`skipped: mDNS seen by Avahi: ${avahi}`);

function whyNoAvahi(): string | undefined {
  try {
    for (const program of ['avahi-daemon', 'avahi-browse', 'dbus-daemon']) execFileSync('which', [program]);
    return undefined;
  } catch {
    return 'avahi-daemon, avahi-utils and dbus are not installed';
  }
}

interface Running {
  readonly child: ChildProcess;
  readonly lines: Record<string, unknown>[];
}

const running: ChildProcess[] = [];

function startNode(host: Namespace, index: number): Running {
  const child = host.spawn(process.execPath, [
    join(import.meta.dirname, 'node.ts'),
    `machine-${index}`,
    nodeId(index),
    SWARM,
    `/ip4/${host.address}/tcp/${7_000 + index}`,
    `/ip4/${host.address}/tcp/${8_000 + index}/ws`,
  ]);
  running.push(child);
  const lines: Record<string, unknown>[] = [];
  createInterface({ input: child.stdout! }).on('line', (line) => lines.push(JSON.parse(line)));
  child.stderr!.on('data', (text) => lines.push({ kind: 'stderr', text: String(text) }));
  return { child, lines };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

const claimOf = (host: Namespace, index: number) => ({
  kind: 'claimed',
  source: 'mdns',
  claims: [
    {
      nodeId: nodeId(index),
      addresses: [
        `/ip4/${host.address}/tcp/${7_000 + index}/p2p/${nodeId(index)}`,
        `/ip4/${host.address}/tcp/${8_000 + index}/ws/p2p/${nodeId(index)}`,
      ],
    },
  ],
});

describe.runIf(canRun)('mdns across network namespaces', () => {
  let net: Namespaces;

  beforeAll(() => {
    net = makeNamespaces(3);
  });

  afterEach(async () => {
    await Promise.all(running.splice(0).map((child) => end(child, 'SIGKILL')));
  });

  afterAll(() => net.remove());

  it('three machines find each other; a goodbye takes back what was claimed', async () => {
    const [one, two, three] = net.hosts as [Namespace, Namespace, Namespace];
    const nodes = [startNode(one, 1), startNode(two, 2), startNode(three, 3)] as const;
    await vi.waitFor(() => {
      nodes.forEach(({ lines }, self) => {
        [one, two, three].forEach((host, other) => {
          if (other !== self) expect(lines).toContainEqual(claimOf(host, other + 1));
        });
      });
    }, WITHIN);
    await end(nodes[0].child, 'SIGTERM');
    await vi.waitFor(() => {
      for (const { lines } of nodes.slice(1)) {
        expect(lines).toContainEqual({ kind: 'withdrawn', source: 'mdns', nodeId: nodeId(1) });
      }
    }, WITHIN);
    expect(nodes.flatMap(({ lines }) => lines).filter((line) => line.kind === 'stderr')).toEqual([]);
  });

  it('a machine that is plugged in later is found once its interface is up', async () => {
    const [one, two] = net.hosts as [Namespace, Namespace, Namespace];
    net.unplug(two);
    const a = startNode(one, 1);
    const b = startNode(two, 2);
    await vi.waitFor(() => {
      expect(a.lines).toContainEqual({ kind: 'started' });
      expect(b.lines).toContainEqual({ kind: 'started' });
    }, WITHIN);
    net.plug(two);
    await vi.waitFor(() => {
      expect(a.lines).toContainEqual(claimOf(two, 2));
      expect(b.lines).toContainEqual(claimOf(one, 1));
    }, WITHIN);
  });

  it('hears nothing from beyond the link', async () => {
    const [one, two] = net.hosts as [Namespace, Namespace, Namespace];
    // The same wire, but another network: what comes from 172.30.0.0/24 is not of this link.
    two.run('ip', ['address', 'del', `${two.address}/24`, 'dev', two.device]);
    two.run('ip', ['address', 'add', '172.30.0.2/24', 'dev', two.device]);
    two.run('ip', ['route', 'replace', '224.0.0.0/4', 'dev', two.device]);
    try {
      const a = startNode(one, 1);
      startNode({ ...two, address: '172.30.0.2' }, 2);
      const c = startNode(net.hosts[2]!, 3);
      await vi.waitFor(() => {
        expect(a.lines).toContainEqual(claimOf(net.hosts[2]!, 3));
        expect(c.lines).toContainEqual(claimOf(one, 1));
      }, WITHIN);
      expect(JSON.stringify(a.lines)).not.toContain(nodeId(2));
    } finally {
      two.run('ip', ['address', 'del', '172.30.0.2/24', 'dev', two.device]);
      two.run('ip', ['address', 'add', `${two.address}/24`, 'dev', two.device]);
      two.run('ip', ['route', 'replace', '224.0.0.0/4', 'dev', two.device]);
    }
  });

  describe.runIf(avahi === undefined)('seen by Avahi', () => {
    let folder: string;
    let environment: NodeJS.ProcessEnv;
    let host: Namespace;

    beforeAll(async () => {
      host = net.hosts[2]!;
      folder = mkdtempSync(join(tmpdir(), 'skein-avahi-'));
      const socket = `unix:path=${join(folder, 'bus')}`;
      environment = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: socket };
      writeFileSync(join(folder, 'bus.conf'), BUS_CONFIG.replace('ADDRESS', socket));
      writeFileSync(join(folder, 'avahi.conf'), AVAHI_CONFIG);
      daemons.push(host.spawn('dbus-daemon', ['--nofork', `--config-file=${join(folder, 'bus.conf')}`]));
      await vi.waitFor(() => execFileSync('test', ['-S', join(folder, 'bus')]), WITHIN);
      // The daemon keeps its pid file under /run: a mount of its own keeps it apart from the machine's own Avahi.
      const start = `mkdir -p /run/avahi-daemon && mount -t tmpfs none /run/avahi-daemon && exec avahi-daemon -f ${join(folder, 'avahi.conf')} --no-drop-root --no-rlimits --no-chroot`;
      const said: string[] = [];
      const daemon = host.spawn('unshare', ['--mount', 'sh', '-c', start], { env: environment });
      daemon.stderr!.on('data', (text) => said.push(String(text)));
      daemons.push(daemon);
      await vi.waitFor(() => expect(said.join('')).toContain('Server startup complete'), WITHIN);
    });

    afterAll(async () => {
      await Promise.all(daemons.splice(0).map((child) => end(child, 'SIGKILL')));
      rmSync(folder, { recursive: true, force: true });
    });

    const daemons: ChildProcess[] = [];
    const browse = (...more: readonly string[]) => {
      const args = [`--net=/run/netns/${host.name}`, 'avahi-browse', '--parsable', '--terminate', ...more];
      return execFileSync('nsenter', args, { encoding: 'utf8', env: environment });
    };

    it('avahi-browse -rtp _skein._tcp sees and resolves the node; its goodbye removes it', async () => {
      const one = net.hosts[0]!;
      const { child } = startNode(one, 1);
      const instance = `machine-1-${nodeId(1).slice(-8)}`.replaceAll('-', '\\045');
      await vi.waitFor(() => {
        const resolved = browse('--resolve', '_skein._tcp')
          .split('\n')
          .find((line) => line.startsWith('='));
        const fields = resolved?.split(';') ?? [];
        expect(fields[3]?.replaceAll('-', '\\045')).toBe(instance);
        expect(fields.slice(4, 6)).toEqual(['_skein._tcp', 'local']);
        expect(fields.slice(7, 9)).toEqual([one.address, '7001']);
        for (const entry of ['v=1', `id=${nodeId(1)}`, 'sw=01234567', `a=/ip4/${one.address}/tcp/8001/ws`]) {
          expect(resolved).toContain(`"${entry}"`);
        }
      }, WITHIN);
      expect(browse('--all')).toContain(';_skein._tcp;local');
      await end(child, 'SIGTERM');
      await vi.waitFor(() => expect(browse('_skein._tcp')).not.toContain('_skein._tcp'), WITHIN);
    });
  });
});

const BUS_CONFIG = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`;

const AVAHI_CONFIG = `[server]
host-name=witness
use-ipv6=no
allow-interfaces=eth0
enable-dbus=yes
[publish]
publish-workstation=no
[wide-area]
enable-wide-area=no
`;
