import { startRegistry } from '../adapters/http/registry.ts';
import { startMdns } from '../adapters/mdns/mdns.ts';
import type { Identity } from '../adapters/node/keys.ts';
import type { NodeLogger } from '../adapters/node/log.ts';
import type { Wire } from '../kernel/ports.ts';
import type { Claimed, Withdrawn } from '../mesh/discovery/discovery.ts';
import type { Swarm } from '../mesh/identity/swarm.ts';
import type { Config } from './config/options.ts';
import type { Host } from './host.ts';

interface DiscovererParts {
  readonly config: Config;
  readonly identity: Identity;
  readonly swarm: Swarm;
  readonly wire: Wire;
  readonly host: Pick<Host, 'deliver' | 'addProblems'>;
  readonly logger: NodeLogger;
}

interface Discoverers {
  stop(): Promise<void>;
}

/** Starts the sources of claims that the configuration asks for; gossip is the core's own. */
export function startDiscoverers({
  config,
  identity,
  swarm,
  wire,
  host,
  logger,
}: DiscovererParts): Discoverers {
  const { peers, mdns, registry } = config.mesh;
  const on = (event: Claimed | Withdrawn) => host.deliver(event);
  if (peers.length > 0) on({ kind: 'claimed', source: 'static', claims: [{ addresses: peers }] });
  const sources = [
    ...(mdns
      ? [
          startMdns({
            name: config.node.name,
            nodeId: identity.nodeId,
            swarm: swarm.id,
            addresses: () => wire.addresses(),
            on,
            logger,
          }),
        ]
      : []),
    ...(registry === undefined ? [] : [startRegistry({ url: registry, on, logger })]),
  ];
  for (const source of sources) host.addProblems(() => source.problems());
  return {
    stop: async () => {
      await Promise.all(sources.map((source) => source.stop()));
    },
  };
}
