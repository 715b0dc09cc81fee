import { failWith, ok, type Result } from '../../kernel/errors.ts';
import { type NodeId, parseNodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';

/** A multiaddr of the few forms that Skein dials: `/<host>/tcp/<port>[/ws|/wss|/tls/ws][/p2p/<node id>]`. */
export interface Address {
  /** In full, as it is dialled. */
  readonly text: string;
  /** Without the node id: two addresses with the same endpoint lead to the same door. */
  readonly endpoint: string;
  readonly hostKind: 'ip4' | 'ip6' | 'dns' | 'dns4' | 'dns6';
  readonly host: string;
  readonly port: number;
  readonly transport: 'tcp' | 'ws' | 'wss';
  readonly nodeId?: NodeId;
}

const EXAMPLE = 'Write it like /ip4/192.168.1.20/tcp/7331 or /dns4/node.example.org/tcp/7331.';
const HOST_KINDS = ['ip4', 'ip6', 'dns', 'dns4', 'dns6'] as const;
const TRANSPORTS: Readonly<Record<string, Address['transport']>> = {
  '': 'tcp',
  ws: 'ws',
  wss: 'wss',
  'tls/ws': 'wss',
};

/** `INVALID_ARGUMENT` says what is wrong. Port 0 is right only where one listens. */
export function parseAddress(text: unknown, use: 'dial' | 'listen' = 'dial'): Result<Address> {
  if (typeof text !== 'string' || text.length > limits.addressBytes) return bad('is not a short text', text);
  if (!text.startsWith('/')) return bad('does not start with "/"', text, suggestionFor(text));
  const parts = text.replace(/\/$/, '').slice(1).split('/');
  const [kindText, host = '', protocol, portText = '', ...rest] = parts;
  const hostKind = HOST_KINDS.find((kind) => kind === kindText);
  if (hostKind === undefined) return bad(`starts with /${kindText}, not with /ip4, /ip6 or /dns4`, text);
  if (!isHost(hostKind, host)) return bad(`has "${host}", which is no ${hostKind} host`, text);
  if (protocol !== 'tcp') return bad('names no /tcp/<port> after the host', text);
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : -1;
  if (port < (use === 'listen' ? 0 : 1) || port > 65_535) {
    return bad(`has "${portText}", which is no port`, text);
  }
  const p2p = rest.indexOf('p2p');
  const nodeId = p2p < 0 ? undefined : parseNodeId(rest[p2p + 1]);
  if (p2p >= 0 && (nodeId === undefined || rest.length !== p2p + 2)) {
    return bad('has no well-formed node id, alone, after /p2p', text);
  }
  const middle = (p2p < 0 ? rest : rest.slice(0, p2p)).join('/');
  const transport = Object.hasOwn(TRANSPORTS, middle) ? TRANSPORTS[middle] : undefined;
  if (transport === undefined) return bad(`has "/${middle}", which is no transport of Skein`, text);
  const endpoint = `/${hostKind}/${host}/tcp/${port}${middle === '' ? '' : `/${middle}`}`;
  const full = nodeId === undefined ? endpoint : `${endpoint}/p2p/${nodeId}`;
  return ok({
    text: full,
    endpoint,
    hostKind,
    host,
    port,
    transport,
    ...(nodeId === undefined ? {} : { nodeId }),
  });
}

/** Reaches nobody but the machine itself. */
export function isLoopback(address: Address): boolean {
  const { hostKind, host } = address;
  return hostKind === 'ip4'
    ? host.startsWith('127.')
    : hostKind === 'ip6'
      ? host === '::1'
      : host === 'localhost';
}

function bad(why: string, text: unknown, hint = EXAMPLE): Result<Address> {
  const shown = JSON.stringify(typeof text === 'string' ? text.slice(0, 120) : typeof text);
  return failWith('INVALID_ARGUMENT', `The address ${shown} ${why}.`, hint);
}

/** People write `host:port`; say what that is here. */
function suggestionFor(text: string): string {
  const match = /^(?:[a-z]+:\/\/)?\[?([\w.:-]+?)\]?:(\d{1,5})\/?$/i.exec(text);
  const [, host, port] = match ?? [];
  if (host === undefined) return EXAMPLE;
  const kind = isHost('ip4', host) ? 'ip4' : isHost('ip6', host) ? 'ip6' : 'dns4';
  return `Write it as a multiaddr: /${kind}/${host}/tcp/${port}`;
}

function isHost(kind: Address['hostKind'], host: string): boolean {
  if (kind === 'ip4') {
    const parts = host.split('.');
    return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
  }
  if (kind === 'ip6') return isIp6(host);
  return (
    host.length <= 253 &&
    host.split('.').every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label))
  );
}

/** RFC 4291, section 2.2, without a zone: eight groups, one run of zeros elided, the last two perhaps dotted. */
function isIp6(host: string): boolean {
  const halves = host.split('::');
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [half, text] of halves.entries()) {
    const parts = text === '' ? [] : text.split(':');
    for (const [place, part] of parts.entries()) {
      const isLast = half === halves.length - 1 && place === parts.length - 1;
      if (isLast && part.includes('.')) {
        if (!isHost('ip4', part)) return false;
        groups += 2;
      } else if (/^[0-9a-f]{1,4}$/i.test(part)) groups++;
      else return false;
    }
  }
  return halves.length === 2 ? groups < 8 : groups === 8;
}
