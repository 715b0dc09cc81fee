/**
 * One catalogue as an MCP server of either era.
 *
 * Requests are dispatched in the SDK's fallback handler rather than in handlers of their own: the SDK would
 * otherwise parse each call three times and each result once more against its schemas, and the catalogue checks
 * its arguments and builds its results itself. Building a server is then cheap enough to do it for every
 * request, as the modern era over HTTP wants.
 */
import {
  type JSONRPCRequest,
  ProtocolError,
  ProtocolErrorCode,
  type Result as SdkResult,
  Server,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/server/validators/ajv';
import type { ErrorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { type Catalogue, INSTRUCTIONS } from '../../mcp/catalogue.ts';
import type { Principal } from '../../mcp/principal.ts';
import type { ToolCall } from '../../mcp/tool.ts';

export interface ServerIdentity {
  readonly name: string;
  readonly version: string;
}

interface ServerSetting {
  readonly catalogue: Catalogue;
  readonly principal: Principal;
  readonly identity: ServerIdentity;
  readonly era: 'legacy' | 'modern';
}

/** Building one compiles a validator's vocabulary: once is enough. */
const validator = new AjvJsonSchemaValidator();

const CAPABILITIES = {
  tools: {},
  prompts: {},
  resources: { subscribe: true },
  completions: {},
};

/** Lists change only with the version of the node; what the mesh holds changes at any time. */
const LIST_CACHE = { ttlMs: 60_000, cacheScope: 'private' as const };
const NO_CACHE = { ttlMs: 0, cacheScope: 'private' as const };

/** A server that is not connected yet. Its subscriptions (legacy era) end when it is closed. */
export function createServer(setting: ServerSetting): Server {
  const { catalogue, identity, era } = setting;
  const server = new Server(
    { name: identity.name, title: 'Skein', version: identity.version },
    { capabilities: CAPABILITIES, instructions: INSTRUCTIONS, jsonSchemaValidator: validator },
  );
  const subscriptions = new Map<string, () => void>();
  server.onclose = () => {
    for (const stop of subscriptions.values()) stop();
    subscriptions.clear();
  };
  const cached = era === 'modern' ? LIST_CACHE : {};
  const fresh = era === 'modern' ? NO_CACHE : {};
  server.fallbackRequestHandler = async (request, context) => {
    const params = (request.params ?? {}) as Record<string, unknown>;
    switch (request.method) {
      case 'tools/call':
        return callTool(setting, params, request, context);
      case 'tools/list':
        return { tools: catalogue.tools, ...cached } as SdkResult;
      case 'prompts/list':
        return { prompts: catalogue.prompts, ...cached } as SdkResult;
      case 'prompts/get':
        return getPrompt(catalogue, params);
      case 'resources/list':
        return { ...orThrow(catalogue.listResources(optionalText(params, 'cursor'))), ...fresh } as SdkResult;
      case 'resources/templates/list':
        return { resourceTemplates: catalogue.resourceTemplates, ...cached } as SdkResult;
      case 'resources/read': {
        const content = await catalogue.readResource(textParam(params, 'uri'), toolCall(setting, context));
        return { contents: [orThrow(content)], ...fresh } as SdkResult;
      }
      case 'resources/subscribe':
        subscribe(server, catalogue, subscriptions, textParam(params, 'uri'));
        return {};
      case 'resources/unsubscribe': {
        const uri = textParam(params, 'uri');
        subscriptions.get(uri)?.();
        subscriptions.delete(uri);
        return {};
      }
      case 'completion/complete':
        return { completion: await catalogue.complete(params, setting.principal) } as SdkResult;
      default:
        throw new ProtocolError(ProtocolErrorCode.MethodNotFound, `Method not found: ${request.method}`);
    }
  };
  return server;
}

async function callTool(
  setting: ServerSetting,
  params: Record<string, unknown>,
  request: JSONRPCRequest,
  context: ServerContext,
): Promise<SdkResult> {
  const name = textParam(params, 'name');
  if (!setting.catalogue.hasTool(name)) {
    const answer = await setting.catalogue.call(name, {}, { principal: setting.principal });
    orThrow(answer);
  }
  const result = await setting.catalogue.callTool(
    name,
    params.arguments,
    toolCall(setting, context, request),
  );
  return result as unknown as SdkResult;
}

function toolCall({ principal }: ServerSetting, context: ServerContext, request?: JSONRPCRequest): ToolCall {
  const { signal, notify, _meta } = context.mcpReq;
  const token = request === undefined ? undefined : _meta?.progressToken;
  if (token === undefined) return { principal, signal };
  return {
    principal,
    signal,
    progress: (progress, total, message) => {
      // A caller that went away hears nothing more; its call is being aborted.
      notify({
        method: 'notifications/progress',
        params: { progressToken: token, progress, total, message },
      }).catch(() => {});
    },
  };
}

function getPrompt(catalogue: Catalogue, params: Record<string, unknown>): SdkResult {
  const { description, text } = orThrow(catalogue.prompt(textParam(params, 'name'), params.arguments));
  return { description, messages: [{ role: 'user', content: { type: 'text', text } }] } as SdkResult;
}

function subscribe(
  server: Server,
  catalogue: Catalogue,
  subscriptions: Map<string, () => void>,
  uri: string,
): void {
  if (subscriptions.has(uri)) return;
  if (subscriptions.size >= limits.subscriptionsPerClient) {
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      `A client may subscribe to ${limits.subscriptionsPerClient} resources. Subscribe to whole boards instead.`,
    );
  }
  const stop = orThrow(
    catalogue.updates.watch(uri, () => {
      server.sendResourceUpdated({ uri }).catch(() => {});
    }),
  );
  subscriptions.set(uri, stop);
}

/** Protocol-level failures (unknown tool, prompt, resource) are JSON-RPC errors that carry the whole body. */
function orThrow<Value>(
  answer: { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly error: ErrorBody },
): Value {
  if (answer.ok) return answer.value;
  const { error } = answer;
  const code = error.code === 'INTERNAL' ? ProtocolErrorCode.InternalError : ProtocolErrorCode.InvalidParams;
  throw new ProtocolError(code, `${error.message} ${error.hint}`, { error, ...error.details });
}

function textParam(params: Record<string, unknown>, name: string): string {
  const value = params[name];
  if (typeof value === 'string') return value;
  throw new ProtocolError(ProtocolErrorCode.InvalidParams, `"${name}" must be text.`);
}

function optionalText(params: Record<string, unknown>, name: string): string | undefined {
  return params[name] === undefined ? undefined : textParam(params, name);
}
