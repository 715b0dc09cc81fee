import { networkInterfaces } from 'node:os';

/** One network interface on which multicast DNS is spoken. */
export interface MdnsInterface {
  readonly name: string;
  /** Its first IPv4 address: what packets leave from. */
  readonly address: string;
  readonly netmask: string;
  /** All addresses under which others on the link reach it; without link-local IPv6, which needs a zone. */
  readonly addresses: readonly string[];
}

/** Those with IPv4 that others are reached through; loopback only where there is nothing else. */
export function mdnsInterfaces(): readonly MdnsInterface[] {
  const all = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) => {
    const first = addresses.find((address) => address.family === 'IPv4');
    if (first === undefined) return [];
    const usable = addresses.filter((address) => !/^fe80:/i.test(address.address));
    return [
      {
        name,
        address: first.address,
        netmask: first.netmask,
        addresses: usable.map((address) => address.address),
        internal: first.internal,
      },
    ];
  });
  const outward = all.filter((found) => !found.internal);
  return (outward.length > 0 ? outward : all).map(({ internal: _, ...found }) => found);
}

/** Whether a packet from `source` came over this interface: nothing from beyond the link is heard (RFC 6762, section 11). */
export function isOnLink(source: string, { address, netmask }: MdnsInterface): boolean {
  const mask = toNumber(netmask);
  return (toNumber(source) & mask) === (toNumber(address) & mask);
}

function toNumber(ip4: string): number {
  return ip4.split('.').reduce((whole, part) => (whole << 8) | Number(part), 0);
}
