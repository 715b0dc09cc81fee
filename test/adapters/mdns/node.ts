/** A node's mDNS alone, as a process: prints what it hears as lines of JSON, says goodbye on SIGTERM. */

import { startMdns } from '../../../src/adapters/mdns/mdns.ts';
import { parseNodeId, parseSwarmId } from '../../../src/kernel/ids.ts';

const [name = '', id, swarm, ...addresses] = process.argv.slice(2);
const nodeId = parseNodeId(id);
const swarmId = parseSwarmId(swarm);
if (nodeId === undefined || swarmId === undefined) throw new Error('usage: node.ts NAME ID SWARM ADDRESS…');
const print = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);
const mdns = startMdns({
  name,
  nodeId,
  swarm: swarmId,
  addresses: () => addresses,
  on: print,
  logger: { log: (level, mark, fields) => print({ kind: 'log', level, mark, ...fields }) },
});
const alive = setInterval(() => {}, 60_000);
process.once('SIGTERM', () => {
  void mdns.stop().then(() => {
    clearInterval(alive);
    print({ kind: 'stopped' });
  });
});
print({ kind: 'started' });
