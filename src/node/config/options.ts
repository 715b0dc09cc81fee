/**
 * Every setting, declared once: its shape, default, help and names. Flags, environment variables, help, the
 * JSON schema and `docs/CONFIGURATION.md` are all derived from here, so they cannot drift apart. Units are part
 * of the names, last, as everywhere.
 *
 * `mesh.port` in the file is `--mesh-port` on the command line and `SKEIN_MESH_PORT` in the environment.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { EXPIRIES } from '../../budget/definition.ts';
import { limits } from '../../kernel/limits.ts';
import { FOUND_AFTER_MS } from '../quorum-config.ts';
import {
  boardName,
  boolean,
  choice,
  duration,
  host,
  hostWithPort,
  httpUrl,
  integer,
  ipAddress,
  list,
  machineName,
  modelName,
  multiaddr,
  origin,
  port,
  principal,
  text,
  uniqueList,
} from './shapes.ts';

export const ROLES = ['worker', 'orchestrator', 'gateway', 'observer'] as const;
export type Role = (typeof ROLES)[number];

export const ZONES = ['local', 'trusted', 'external'] as const;
export type Zone = (typeof ZONES)[number];

interface OptionDetails {
  readonly help: string;
  /** What the default is where it depends on the machine or on other settings. */
  readonly defaultText?: string;
  /** Shorter flag of the contract, beside the one derived from the path: `data` for `--data`. */
  readonly flag?: string;
  /** Word for the flag's argument in help. */
  readonly argument?: string;
  /** Never printed, and no flag: other users of a machine see command lines. */
  readonly secret?: true;
  /** Too structured for a flag or an environment variable: the file only. */
  readonly fileOnly?: true;
}

export interface Option<Value> extends OptionDetails {
  readonly schema: z.ZodType<Value>;
  /** Absent: the setting is either computed at load (`defaultText`) or optional. */
  readonly fallback?: unknown;
}

function option<Schema extends z.ZodType>(
  schema: Schema,
  fallback: z.input<Schema>,
  details: OptionDetails,
): Option<z.output<Schema>> {
  return { schema: schema as z.ZodType<z.output<Schema>>, fallback, ...details };
}

/** No value unless given. */
function optional<Schema extends z.ZodType>(
  schema: Schema,
  details: OptionDetails,
): Option<z.output<Schema> | undefined> {
  return { schema: schema as z.ZodType<z.output<Schema>>, ...details };
}

/** Its default is computed from the machine or from other settings. */
function computed<Schema extends z.ZodType>(
  schema: Schema,
  details: OptionDetails & { defaultText: string },
): Option<z.output<Schema>> {
  return { schema: schema as z.ZodType<z.output<Schema>>, ...details };
}

/** `sha256:` and 64 hexadecimal digits. Keys are random, so a plain hash tells nothing about them. */
export function hashOfSecret(secret: string): string {
  return `sha256:${createHash('sha256').update(secret, 'utf8').digest('hex')}`;
}

const board = z.strictObject({
  mode: choice(['crdt', 'quorum'])
    .default('crdt')
    .describe(
      'How the board is kept: crdt merges the writes of all nodes, whatever they reach; quorum has one history that a majority decides, and compare-and-set. The same on every node.',
    ),
  quota: z
    .strictObject({
      keys: integer(1, limits.boardKeys)
        .default(limits.boardKeys)
        .describe('Most keys that the board takes.'),
      bytes: integer(1_024, limits.boardBytes)
        .default(limits.boardBytes)
        .describe('Most bytes of keys and values that the board takes.'),
    })
    .prefault({})
    .describe('What the board takes at most; a write beyond it fails with QUOTA_EXCEEDED.'),
});

const price = integer(0, Number.MAX_SAFE_INTEGER).refine(
  (value) => !Object.is(value, -0),
  `must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`,
);

const modelPrice = z.strictObject({
  input: price.describe('A million input tokens, in micro-USD: 3000000 is 3 dollars.'),
  output: price.describe('A million output tokens, in micro-USD.'),
  cached: price
    .optional()
    .describe('A million input tokens that the provider had cached; left out: as much as the others.'),
});

const apiKey = z
  .strictObject({
    principal: principal.describe('Who holds the key: author of what is written with it.'),
    zone: choice(ZONES)
      .default('trusted')
      .describe('How far the holder is trusted: local 0.9, trusted 0.7, external 0.5.'),
    secret: text('a secret of 16 to 256 printable characters without white space', /^[\x21-\x7e]{16,}$/)
      .optional()
      .describe('The key itself. Prefer secretHash, which is of no use to a reader of the file.'),
    secretHash: text('"sha256:" and 64 hexadecimal digits', /^sha256:[0-9a-f]{64}$/)
      .optional()
      .describe('SHA-256 of the key: `printf %s KEY | sha256sum`, written after "sha256:".'),
  })
  .superRefine((key, context) => {
    if ((key.secret === undefined) === (key.secretHash === undefined))
      context.addIssue({ code: 'custom', message: 'needs exactly one of secretHash and secret' });
  })
  .transform(({ principal, zone, secret, secretHash }) => ({
    principal,
    zone,
    secretHash: secretHash ?? hashOfSecret(secret ?? ''),
  }));

const path = text('a path', /^[^\0]+$/, 4_096);

export const declaration = {
  node: {
    name: computed(machineName, {
      help: 'Name of this machine for people; its identity is the key in the data directory.',
      defaultText: "the machine's host name",
      flag: 'name',
      argument: 'NAME',
    }),
    roles: option(
      uniqueList(choice(ROLES), 'roles', ROLES.length).refine(
        (roles) => roles.length > 0,
        'needs at least one role',
      ),
      ['worker', 'orchestrator'],
      {
        help: 'What this node does in the mesh; other nodes see it. Of those with the role orchestrator one at a time shares out the budgets. A gateway also serves HTTP on every address once guard.keys is set.',
        flag: 'role',
        argument: 'ROLE',
      },
    ),
    data: option(path, './.skein', {
      help: 'Directory of the identity, the swarm secret and the data; one node at a time uses it. Relative to the working directory.',
      flag: 'data',
      argument: 'DIR',
    }),
  },
  swarm: {
    secret: optional(text('a secret of 16 to 1024 characters', /^\s*\S.{14,}\S\s*$/su, 1_024), {
      help: 'Shared secret of the swarm: whoever holds it is a member. Long and random; prefer the environment to the file.',
      defaultText: 'kept in the data directory, made at the first start',
      secret: true,
    }),
  },
  mesh: {
    listen: option(uniqueList(ipAddress, 'IP addresses', 16), ['0.0.0.0'], {
      help: 'IP addresses of this machine on which other nodes may connect.',
      argument: 'IP',
    }),
    port: option(port, 7331, {
      help: 'TCP port for other nodes; 0 means any free port.',
      argument: 'N',
    }),
    wsPort: option(port, 0, {
      help: 'WebSocket port for other nodes, for networks that pass nothing else; 0 means any free port.',
      argument: 'N',
    }),
    peers: option(uniqueList(multiaddr, 'multiaddrs', 256), [], {
      help: 'Nodes to connect to, as multiaddrs; one that is alive is enough to find the others.',
      flag: 'peer',
      argument: 'MULTIADDR',
    }),
    mdns: option(boolean, true, {
      help: 'Find nodes on the local network, and be found, by multicast DNS (_skein._tcp).',
      flag: 'mdns',
    }),
    registry: optional(httpUrl, {
      help: 'URL of a list of nodes, for networks without multicast such as clouds.',
      argument: 'URL',
    }),
  },
  http: {
    enabled: option(boolean, true, {
      help: 'Serve MCP and the REST interface over HTTP. Agents on this machine can do without: `skein mcp`.',
    }),
    host: computed(host, {
      help: 'Address to serve HTTP on. Any but loopback needs an API key in guard.keys.',
      defaultText: '127.0.0.1; 0.0.0.0 for a gateway with guard.keys',
      argument: 'HOST',
    }),
    port: option(port, 7330, { help: 'TCP port of HTTP; 0 means any free port.', argument: 'N' }),
    allowedHosts: option(uniqueList(hostWithPort, 'hosts', 64), [], {
      help: 'Host headers to answer beside those of the listening address: the names of a proxy in front.',
      argument: 'HOST',
    }),
    allowedOrigins: option(uniqueList(origin, 'origins', 64), [], {
      help: 'Origins of web pages that may call this node beside its own.',
      argument: 'ORIGIN',
    }),
  },
  boards: option(
    z.record(boardName, board, { error: 'must be a mapping from board names to their settings' }),
    {},
    {
      help: 'Boards that this node takes calls for, beside `main` (crdt) and `tasks` (quorum), which are always there. A node passes on the others too.',
      fileOnly: true,
    },
  ),
  quorum: {
    engine: option(choice(['embedded', 'etcd']), 'embedded', {
      help: 'What keeps the quorum boards and leases: the nodes themselves, or an etcd cluster that all nodes reach. The same on every node.',
    }),
    foundAfter: option(duration(0, 3_600_000), `${FOUND_AFTER_MS / 1_000}s`, {
      help: 'How long a new node that was given no peer looks for others before it founds a store of its own.',
      argument: 'TIME',
    }),
    reads: option(choice(['index', 'lease']), 'index', {
      help: 'How a strong read is proved: index asks a majority each time and relies on no clock; lease asks the leader alone, and relies on clocks that run equally fast.',
    }),
    voters: {
      target: option(integer(1, limits.raftVoters), 3, {
        help: 'Wanted number of voters; the leader promotes stable members and replaces lost ones. Odd.',
        argument: 'N',
      }),
      replaceAfter: option(duration(1_000, 30 * 24 * 3_600_000), '5m', {
        help: 'A voter that was out of reach for so long gives its place to another member.',
        argument: 'TIME',
      }),
    },
    etcd: {
      endpoints: option(uniqueList(httpUrl, 'URLs', 16), [], {
        help: 'Members of the etcd cluster, such as http://10.0.0.5:2379.',
        argument: 'URL',
      }),
      prefix: option(text('a text of 1 to 128 characters', /^.{1,128}$/s, 128), 'skein/', {
        help: 'Start of all keys of this swarm in etcd. The same on every node.',
        argument: 'TEXT',
      }),
      user: optional(text('a user name', /^.{1,128}$/, 128), {
        help: 'User of etcd, where it asks for one.',
        argument: 'NAME',
      }),
      password: optional(text('a password', /^.{1,256}$/s), {
        help: 'Password of that user; prefer the environment to the file.',
        secret: true,
      }),
      tls: {
        ca: optional(path, {
          help: 'File (PEM) with the certificates that may sign those of etcd; default: those of the system.',
          argument: 'FILE',
        }),
        certificate: optional(path, {
          help: 'File (PEM) with the certificate by which etcd knows this node.',
          argument: 'FILE',
        }),
        key: optional(path, { help: 'File (PEM) with the key of that certificate.', argument: 'FILE' }),
      },
    },
  },
  budgets: {
    prices: option(
      z
        .record(modelName, modelPrice, { error: 'must be a mapping from models to their prices' })
        .refine(
          (models) => Object.keys(models).length <= limits.priceModels,
          `has prices of more than ${limits.priceModels} models`,
        ),
      {},
      {
        help: 'What models cost, for budgets in micro-USD whose callers tell the model and its tokens. Of this node: give all nodes the same.',
        fileOnly: true,
      },
    ),
    reserveTtl: option(duration(1_000, limits.budgetTtlMs), '10m', {
      help: 'How long a reservation that names no time waits to be settled.',
      argument: 'TIME',
    }),
    expiry: option(choice(EXPIRIES), 'charge', {
      help: 'What becomes of reservations that nobody settled, in budgets created here that do not say: charge counts them as spent, free gives them back.',
    }),
    thresholds: option(
      list(integer(1, 100), 'percentages', 16).refine(
        (items) => items.every((item, index) => index === 0 || item > (items[index - 1] ?? 0)),
        'must be ascending',
      ),
      [],
      {
        help: 'Percentages of the limit that are told when spending passes them, in budgets created here that name none, such as [80, 95].',
        fileOnly: true,
      },
    ),
  },
  guard: {
    keys: option(list(apiKey, 'API keys', 1_000), [], {
      help: 'API keys for HTTP; with at least one, every HTTP call needs a key.',
      fileOnly: true,
    }),
  },
} as const;

type Declaration = typeof declaration;
type Settled<Node> =
  Node extends Option<infer Value> ? Value : { readonly [Key in keyof Node]: Settled<Node[Key]> };

/** All settings of a node, checked and complete. `node.data` is absolute. */
export type Config = Settled<Declaration>;

/** An option with its place. */
export interface PlacedOption extends Option<unknown> {
  /** `mesh.port`. */
  readonly path: string;
  readonly section: string;
  /** Its path within the section; empty for an option that is a section of its own. */
  readonly key: string;
}

function isOption(node: object): node is Option<unknown> {
  return 'schema' in node && 'help' in node;
}

/** Every option in the order of the declaration. */
export const options: readonly PlacedOption[] = Object.entries(declaration).flatMap(([section, node]) =>
  placed(node, section, ''),
);

function placed(node: object, section: string, key: string): readonly PlacedOption[] {
  if (isOption(node)) return [{ ...node, path: key === '' ? section : `${section}.${key}`, section, key }];
  return Object.entries(node).flatMap(([name, child]) =>
    placed(child as object, section, key === '' ? name : `${key}.${name}`),
  );
}

function words(path: string): string {
  return path.replaceAll('.', '-').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Flags without their dashes, the one to show first; none for secrets and structures. */
export function flagsOf(option: PlacedOption): readonly string[] {
  if (option.secret || option.fileOnly) return [];
  const derived = words(option.path);
  return option.flag === undefined || option.flag === derived ? [derived] : [option.flag, derived];
}

/** `SKEIN_MESH_PORT`; undefined for structures. */
export function environmentNameOf(option: PlacedOption): string | undefined {
  return option.fileOnly ? undefined : `SKEIN_${words(option.path).replaceAll('-', '_').toUpperCase()}`;
}

/** How a setting is written as plain text. */
export type Form = 'text' | 'number' | 'boolean' | 'list' | 'structure';

export function formOf(option: PlacedOption): Form {
  if (option.fileOnly) return 'structure';
  let schema: z.ZodType = option.schema;
  if (schema instanceof z.ZodReadonly) schema = schema.def.innerType as z.ZodType;
  if (schema instanceof z.ZodArray) return 'list';
  if (schema instanceof z.ZodNumber) return 'number';
  return schema instanceof z.ZodBoolean ? 'boolean' : 'text';
}
