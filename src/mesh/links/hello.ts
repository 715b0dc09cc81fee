/** The two frames of the `hello` channel: the greeting, and the reason for a refusal. */
import { decode, encode } from '../../kernel/codec.ts';
import { type Incarnation, parseIncarnation } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';

/** Versions of the protocols between nodes that this program speaks. */
export const PROTOCOL_VERSIONS = { least: 1, most: 1 } as const;

export interface Hello {
  readonly leastVersion: number;
  readonly mostVersion: number;
  readonly certificate: Uint8Array;
  readonly wallMs: number;
  /** Version of the sender's program, for people. */
  readonly software: string;
  /** Multiaddrs where the sender listens: claims, not yet tried. */
  readonly addresses: readonly string[];
  readonly incarnation: Incarnation;
}

/** Why a node refuses another; codes are closed, since a refusal's words would be a stranger's words on our terminal. */
export const REFUSALS = [
  'malformed',
  'protocol-version',
  'wrong-swarm',
  'bad-certificate',
  'not-yet-valid',
  'expired',
  'clock',
  'identity-twice',
  'barred',
  'silent',
] as const;
export type RefusalCode = (typeof REFUSALS)[number];

export interface Refusal {
  readonly code: RefusalCode;
  /** With `clock`: the refuser's clock minus the other's; with `barred`: how long still. */
  readonly ms: number;
  /** With `protocol-version`: what the refuser speaks. */
  readonly leastVersion: number;
  readonly mostVersion: number;
}

export type HelloFrame =
  | { readonly kind: 'hello'; readonly hello: Hello }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const TEXT = /^[^\p{C}]{1,64}$/u;
const ADDRESS = /^\/[\x21-\x7e]{1,255}$/;

export function encodeHello(hello: Hello): Uint8Array {
  const { leastVersion, mostVersion, certificate, wallMs, software, addresses, incarnation } = hello;
  const versions = [leastVersion, mostVersion];
  return encode({ kind: 'hello', versions, certificate, wallMs, software, addresses, incarnation });
}

export function encodeRefusal(code: RefusalCode, ms = 0): Uint8Array {
  const versions = [PROTOCOL_VERSIONS.least, PROTOCOL_VERSIONS.most];
  return encode({ kind: 'refused', code, ms: Math.round(ms), versions });
}

/** The frame, or `undefined` for anything malformed. Unknown fields are left out, so that later versions can add some. */
export function decodeHelloFrame(bytes: Uint8Array): HelloFrame | undefined {
  if (bytes.length > limits.helloBytes) return undefined;
  const value = decode(bytes);
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const versions = parseVersions(fields.versions);
  if (versions === undefined) return undefined;
  if (fields.kind === 'hello') return parseHello(fields, versions);
  if (fields.kind === 'refused') return parseRefusal(fields, versions);
  return undefined;
}

type Versions = readonly [least: number, most: number];

function parseHello(fields: Readonly<Record<string, unknown>>, versions: Versions): HelloFrame | undefined {
  const { certificate, wallMs, software, addresses } = fields;
  const incarnation = parseIncarnation(fields.incarnation);
  if (!(certificate instanceof Uint8Array) || incarnation === undefined) return undefined;
  if (typeof wallMs !== 'number' || !Number.isFinite(wallMs)) return undefined;
  if (typeof software !== 'string' || !TEXT.test(software)) return undefined;
  if (!Array.isArray(addresses) || addresses.length > limits.addressesPerMember) return undefined;
  if (!addresses.every((address) => typeof address === 'string' && ADDRESS.test(address))) return undefined;
  const [leastVersion, mostVersion] = versions;
  return {
    kind: 'hello',
    hello: { leastVersion, mostVersion, certificate, wallMs, software, addresses, incarnation },
  };
}

function parseRefusal(fields: Readonly<Record<string, unknown>>, versions: Versions): HelloFrame | undefined {
  const code = REFUSALS.find((known) => known === fields.code);
  const ms = fields.ms;
  if (code === undefined || typeof ms !== 'number' || !Number.isFinite(ms)) return undefined;
  return { kind: 'refused', refusal: { code, ms, leastVersion: versions[0], mostVersion: versions[1] } };
}

function parseVersions(value: unknown): Versions | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [least, most] = value as unknown[];
  if (!Number.isSafeInteger(least) || !Number.isSafeInteger(most)) return undefined;
  const [from, to] = [least as number, most as number];
  return from >= 1 && to >= from ? [from, to] : undefined;
}
