/** Who is alive, as each node sees it, against who is. */
import type { Cluster } from '../cluster.ts';

/** Pairs where a node is wrong about another; empty when everybody sees everybody as they are. */
export function membershipErrors(cluster: Cluster): readonly string[] {
  return cluster.machines.flatMap((machine) => {
    const { core } = machine;
    if (core === undefined) return [];
    return cluster.machines.flatMap((other) => {
      if (other === machine) return [];
      const seen = core.membership.stateOf(other.nodeId) ?? 'unknown';
      const right = other.state === 'dead' ? seen === 'dead' || seen === 'unknown' : seen === 'alive';
      return right ? [] : [`${machine.name} sees ${other.name} as ${seen}, but it is ${other.state}`];
    });
  });
}
