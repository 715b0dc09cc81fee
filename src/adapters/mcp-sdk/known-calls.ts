/**
 * Calls of tools past the SDK, once it has shown how it answers them.
 *
 * Intuition: the SDK checks every message against its schemas half a dozen times, which costs several times what
 * most tools take and leaves garbage that only a full collection removes. Whether it accepts a call depends on what
 * surrounds the arguments (the *envelope*: `_meta`, headers), and what it adds to a result is the same each time. So
 * after it has answered two calls with the same envelope and the same additions, further calls with exactly that envelope are
 * carried out here, and answered in the same shape. Everything else stays the SDK's: other methods, unknown tools,
 * requests for progress, parameters that are not a call's.
 */
import type { Catalogue } from '../../mcp/catalogue.ts';
import type { Principal } from '../../mcp/principal.ts';
import { isRequest } from './messages.ts';

/** Envelopes remembered; clients have one each, mostly the same. */
const ENVELOPES = 64;
const PROOFS = 2;
const REQUEST_FIELDS: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'method', 'params']);
const CALL_PARAMS: ReadonlySet<string> = new Set(['name', 'arguments', '_meta']);

interface Known {
  /** What the SDK adds to the result of a tool, as JSON and as it is. */
  text: string;
  additions: Readonly<Record<string, unknown>>;
  proofs: number;
}

export interface PlainCall {
  readonly name: string;
  readonly arguments: unknown;
  readonly envelope: string;
}

export class KnownCalls {
  readonly #catalogue: Catalogue;
  readonly #known = new Map<string, Known>();

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue;
  }

  /** What is asked for, where it is nothing but a call of a tool there is. `around` is what else the SDK judges by. */
  plain(message: unknown, around = ''): PlainCall | undefined {
    if (!isRequest(message) || message.method !== 'tools/call') return undefined;
    const { id, params } = message as { id: unknown; params?: Record<string, unknown> };
    if (params === undefined || (typeof id === 'number' && !Number.isSafeInteger(id))) return undefined;
    for (const field in message) if (!REQUEST_FIELDS.has(field)) return undefined;
    for (const name in params) if (!CALL_PARAMS.has(name)) return undefined;
    const { name, arguments: given, _meta } = params;
    if ((_meta as { progressToken?: unknown } | undefined)?.progressToken !== undefined) return undefined;
    if (typeof name !== 'string' || !this.#catalogue.hasTool(name)) return undefined;
    if (given !== undefined && (typeof given !== 'object' || given === null || Array.isArray(given)))
      return undefined;
    return { name, arguments: given, envelope: around + JSON.stringify(_meta) };
  }

  /** The answer to a call whose envelope is known; `undefined` where the SDK must say. */
  answer(
    call: PlainCall,
    principal: Principal,
    signal: AbortSignal,
  ): Promise<Readonly<Record<string, unknown>>> | undefined {
    const known = this.#known.get(call.envelope);
    if (known === undefined || known.proofs < PROOFS) return undefined;
    const { additions } = known;
    return this.#catalogue
      .callTool(call.name, call.arguments, { principal, signal })
      .then((result) => ({ ...result, ...additions }));
  }

  /** The SDK answered the call with this result. */
  learn({ envelope }: PlainCall, result: unknown): void {
    if (typeof result !== 'object' || result === null) return;
    const { content, structuredContent, isError: _, ...additions } = result as Record<string, unknown>;
    if (!Array.isArray(content) || structuredContent === undefined) return;
    const text = JSON.stringify(additions);
    const known = this.#known.get(envelope);
    this.#known.delete(envelope);
    this.#known.set(envelope, { text, additions, proofs: known?.text === text ? known.proofs + 1 : 1 });
    if (this.#known.size > ENVELOPES) this.#known.delete(this.#known.keys().next().value as string);
  }
}
