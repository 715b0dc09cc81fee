/** Addresses to tell others, best first: reachable from most places, over the cheapest transport. */
import { limits } from '../../kernel/limits.ts';

/** At most `limits.addressesPerMember`; link-local IPv6 means nothing on another machine and is left out. */
export function bestFirst(addresses: readonly string[]): readonly string[] {
  return [...new Set(addresses)]
    .filter((address) => !/^\/ip6\/fe80:/i.test(address))
    .sort((left, right) => rank(left) - rank(right) || (left < right ? -1 : 1))
    .slice(0, limits.addressesPerMember);
}

function rank(address: string): number {
  const isLoopback = /^\/ip4\/127\.|^\/ip6\/::1\//.test(address);
  const isVersion6 = address.startsWith('/ip6/');
  const isWebSocket = /\/wss?$/.test(address);
  return (isLoopback ? 4 : 0) + (isVersion6 ? 2 : 0) + (isWebSocket ? 1 : 0);
}
