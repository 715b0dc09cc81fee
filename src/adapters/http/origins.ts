/**
 * Which Host and Origin headers are believed.
 *
 * A page on the web can make a browser send requests to this machine, also under a name of its own that resolves
 * to 127.0.0.1 (DNS rebinding). The browser says in Host under which name, and in Origin for which page; both
 * must be ones that we know. Programs that are no browsers send no Origin.
 */
import { isIP } from 'node:net';
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';

const LOOPBACK_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (bare === 'localhost' || bare === '::1') return true;
  const mapped = bare.startsWith('::ffff:') ? bare.slice('::ffff:'.length) : bare;
  return isIP(mapped) === 4 && mapped.startsWith('127.');
}

export interface OriginSetting {
  /** Where the server listens. */
  readonly host: string;
  /** Names besides the loopback ones, without port. */
  readonly allowedHosts: readonly string[];
  /** Origins such as `https://app.example`, or names of hosts. */
  readonly allowedOrigins: readonly string[];
}

export class OriginCheck {
  readonly #hosts: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;
  readonly #anyAddress: boolean;

  constructor({ host, allowedHosts, allowedOrigins }: OriginSetting) {
    const named = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
    this.#hosts = new Set([...LOOPBACK_NAMES, named, ...allowedHosts].map((name) => name.toLowerCase()));
    this.#origins = new Set(allowedOrigins.map((origin) => origin.toLowerCase().replace(/\/$/, '')));
    this.#anyAddress = !isLoopback(host);
  }

  /** Why the request is refused, or `undefined`. `localAddress` is the address at which it arrived. */
  refusal(
    host: string | undefined,
    origin: string | undefined,
    localAddress: string | undefined,
  ): ErrorBody | undefined {
    const name = hostnameOf(host);
    if (name === undefined || !this.#knowsHost(name, localAddress)) return foreignHost(host);
    if (origin !== undefined && !this.#knowsOrigin(origin, host)) return foreignOrigin(origin);
    return undefined;
  }

  #knowsHost(name: string, localAddress: string | undefined): boolean {
    if (this.#hosts.has(name)) return true;
    // An address, unlike a name, cannot be rebound: where others may connect, the one they used is fine.
    if (!this.#anyAddress || localAddress === undefined) return false;
    const arrived = localAddress.replace(/^::ffff:/, '');
    return name === arrived || name === `[${arrived}]`;
  }

  #knowsOrigin(origin: string, host: string | undefined): boolean {
    let url: URL;
    try {
      url = new URL(origin);
    } catch {
      return false;
    }
    const whole = origin.toLowerCase();
    if (this.#origins.has(whole) || this.#origins.has(url.hostname)) return true;
    if (url.protocol !== 'http:' && url.protocol !== 'https:') return false;
    return url.host === host?.toLowerCase() || LOOPBACK_NAMES.has(url.hostname);
  }
}

/** The name in a Host header, in lower case and without port; `undefined` where the header is no host. */
function hostnameOf(host: string | undefined): string | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.exec(host ?? '');
  return match?.[1]?.toLowerCase();
}

function foreignHost(host: string | undefined): ErrorBody {
  return errorBody(
    'DENIED',
    `The host ${JSON.stringify((host ?? '').slice(0, 128))} is not one of this node.`,
    'Use the address that the node printed, or add the name to http.allowedHosts.',
  );
}

function foreignOrigin(origin: string): ErrorBody {
  return errorBody(
    'DENIED',
    `Pages of the origin ${JSON.stringify(origin.slice(0, 128))} may not use this node.`,
    'Add the origin to http.allowedOrigins if you trust it.',
  );
}
