/**
 * Which Host and Origin headers are believed.
 *
 * A page on the web can make a browser send requests to this machine, also under a name of its own that resolves
 * to 127.0.0.1 (DNS rebinding). The browser says in Host under which name, and in Origin for which page; both
 * must be ones that we know, with the port: another port of this machine is another program. For what a page
 * loads as an image or a script the browser names no Origin, but says in Sec-Fetch-Site (to loopback and over
 * TLS) that it comes from elsewhere. Programs that are no browsers send neither.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'];

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (bare === 'localhost' || bare === '::1') return true;
  const mapped = bare.startsWith('::ffff:') ? bare.slice('::ffff:'.length) : bare;
  return isIP(mapped) === 4 && mapped.startsWith('127.');
}

interface OriginSetting {
  /** Where the server listens. */
  readonly host: string;
  /** Names besides the loopback ones, without port. */
  readonly allowedHosts: readonly string[];
  /** Whole origins, such as `https://app.example`: scheme, host and port must be the same. */
  readonly allowedOrigins: readonly string[];
}

/** A request, and the address and port at which it arrived. */
interface Arrival {
  readonly headers: IncomingHttpHeaders;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
}

export class OriginCheck {
  readonly #hosts: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;
  readonly #anyAddress: boolean;

  constructor({ host, allowedHosts, allowedOrigins }: OriginSetting) {
    const named = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
    this.#hosts = new Set([...LOOPBACK_NAMES, named, ...allowedHosts].map((name) => name.toLowerCase()));
    this.#origins = new Set(allowedOrigins.map(wholeOrigin).filter((origin) => origin !== undefined));
    this.#anyAddress = !isLoopback(host);
  }

  /** Why the request is refused, or `undefined`. */
  refusal({ headers, localAddress, localPort }: Arrival): ErrorBody | undefined {
    const { host, origin } = headers;
    const name = hostnameOf(host);
    if (name === undefined || !this.#knowsHost(name, localAddress)) return foreignHost(host);
    if (origin !== undefined) return this.#knowsOrigin(origin, localPort) ? undefined : foreignOrigin(origin);
    const site = headers['sec-fetch-site'];
    return site === 'cross-site' || site === 'same-site' ? foreignPage() : undefined;
  }

  #knowsHost(name: string, localAddress: string | undefined): boolean {
    if (this.#hosts.has(name)) return true;
    // An address, unlike a name, cannot be rebound: where others may connect, the one they used is fine.
    if (!this.#anyAddress || localAddress === undefined) return false;
    const arrived = localAddress.replace(/^::ffff:/, '');
    return name === arrived || name === `[${arrived}]`;
  }

  #knowsOrigin(origin: string, localPort: number | undefined): boolean {
    const whole = wholeOrigin(origin);
    if (whole === undefined) return false;
    if (this.#origins.has(whole)) return true;
    return LOOPBACK_NAMES.some((name) => whole === wholeOrigin(`http://${name}:${localPort}`));
  }
}

/** Scheme, host and port as browsers write them; `undefined` where `text` names no origin. */
function wholeOrigin(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { origin } = new URL(text);
  return origin === 'null' ? undefined : origin;
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

function foreignPage(): ErrorBody {
  return errorBody(
    'DENIED',
    'A page of another origin may not load this as an image, a script or a link.',
    'Use fetch or EventSource, which name the origin, and add it to http.allowedOrigins if you trust it.',
  );
}
