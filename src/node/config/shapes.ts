/** Value shapes that settings share: zod schemas whose messages say what is right, not what zod found wrong. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseAgentId, parseBoardName } from '../../kernel/ids.ts';

/** Any message of zod's for the value itself becomes `must be …`. */
function must(what: string): { error: string } {
  return { error: `must be ${what}` };
}

export function integer(min: number, max: number) {
  const range = must(`an integer from ${min} to ${max}`);
  return z.int(range).min(min, range).max(max, range);
}

/** 0 asks the system for any free port. */
export const port = integer(0, 65_535);

export const boolean = z.boolean(must('true or false'));

export function text(what: string, pattern: RegExp, maxLength = 256) {
  return z.string(must(what)).max(maxLength, must(what)).regex(pattern, must(what));
}

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** A time with its unit, such as `500ms`, `3s`, `5m`, `24h` or `7d`; in the program milliseconds. */
export function duration(minMs: number, maxMs: number) {
  const range = must(`a time with its unit from ${timeText(minMs)} to ${timeText(maxMs)}, such as 3s`);
  return z
    .string(range)
    .regex(/^\d{1,9}(?:ms|s|m|h|d)$/, range)
    .transform(msOf)
    .refine((ms) => ms >= minMs && ms <= maxMs, range);
}

function msOf(text: string): number {
  const [, digits = '', unit = 's'] = /^(\d+)([a-z]+)$/.exec(text) ?? [];
  return Number(digits) * UNIT_MS[unit as keyof typeof UNIT_MS];
}

/** In the largest unit that fits. */
function timeText(ms: number): string {
  const [unit, size] = Object.entries(UNIT_MS).findLast(([, each]) => ms >= each && ms % each === 0) ?? [
    'ms',
    1,
  ];
  return `${ms / size}${unit}`;
}

export function choice<const Values extends readonly [string, ...string[]]>(values: Values) {
  return z.enum(values, must(`one of ${values.join(', ')}`));
}

export function list<Item extends z.ZodType>(item: Item, what: string, maxItems: number) {
  const expected = must(`a list of at most ${maxItems} ${what}`);
  return z.array(item, expected).max(maxItems, expected).readonly();
}

export function uniqueList<Item extends z.ZodType>(item: Item, what: string, maxItems: number) {
  return list(item, what, maxItems).refine((items) => new Set(items).size === items.length, {
    error: 'must not name the same item twice',
  });
}

export const machineName = text(
  'a name of 1 to 63 letters, digits, dots, dashes or underscores',
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
);

export const ipAddress = z
  .string(must('an IP address such as 0.0.0.0 or ::1'))
  .refine((address) => isIP(address) !== 0, must('an IP address such as 0.0.0.0 or ::1'));

const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?$/;

export const host = z
  .string(must('a host name or an IP address'))
  .refine((value) => isIP(value) !== 0 || HOST_NAME.test(value), must('a host name or an IP address'));

/** A host as browsers and clients send it, with or without a port. */
export const hostWithPort = text(
  'a host as clients send it in the Host header, such as node.example.com or 10.0.0.5:7330',
  /^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/,
);

export const origin = z
  .string(must('an origin such as https://console.example.com'))
  .refine(
    (value) => URL.canParse(value) && new URL(value).origin === value,
    must('an origin such as https://console.example.com (scheme, host and port; no path)'),
  );

export const httpUrl = z
  .string(must('an http or https URL'))
  .refine(
    (value) => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol),
    must('an http or https URL'),
  );

const MULTIADDR =
  /^\/(?:ip4\/[^/]+|ip6\/[^/]+|dns\/[^/]+|dns4\/[^/]+|dns6\/[^/]+)\/tcp\/\d{1,5}(?:\/ws|\/tls\/ws|\/wss)?(?:\/p2p\/12D3KooW[1-9A-HJ-NP-Za-km-z]{44})?$/;

/** Enough of the multiaddr grammar to catch a slip before the node starts; libp2p parses it for good. */
export const multiaddr = z
  .string(must('a multiaddr such as /ip4/10.0.0.5/tcp/7331'))
  .superRefine((value, context) => {
    const [, family, address = '', , portText] = value.split('/');
    const wellFormed =
      MULTIADDR.test(value) &&
      Number(portText) <= 65_535 &&
      (family !== 'ip4' || isIP(address) === 4) &&
      (family !== 'ip6' || isIP(address) === 6);
    if (wellFormed) return;
    const plain = /^\[?([^\]/\s]+?)\]?:(\d{1,5})$/.exec(value);
    const version = isIP(plain?.[1] ?? '');
    const example =
      plain === null
        ? '/ip4/10.0.0.5/tcp/7331'
        : `/${version === 0 ? 'dns' : `ip${version}`}/${plain[1]}/tcp/${plain[2]}`;
    context.addIssue({ code: 'custom', message: `must be a multiaddr such as ${example}` });
  });

export const boardName = z
  .string()
  .refine(
    (name) => parseBoardName(name) !== undefined,
    'board names are 1 to 64 of a-z 0-9 . _ -, starting with a letter or digit',
  );

export const principal = z
  .string(must('a name of 1 to 128 printable characters without white space'))
  .refine(
    (name) => parseAgentId(name) !== undefined,
    must('a name of 1 to 128 printable characters without white space'),
  );

export const modelName = text(
  'the name of a model: 1 to 128 printable characters without white space',
  /^[\x21-\x7e]+$/,
  128,
);
