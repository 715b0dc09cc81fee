/**
 * A tool as the faces see it: neutral of any SDK, described once, with its arguments checked before it runs.
 * MCP, the plain HTTP calls and REST all go through `Tool.call`, so a limit or a rule holds on every face.
 */
import { z } from 'zod';
import { errorBody, fail, failWith, type Result } from '../kernel/errors.ts';
import { nearestWord } from '../kernel/nearest.ts';
import { argumentProblem } from './argument-problem.ts';
import type { NodeFaces } from './faces.ts';
import type { Principal } from './principal.ts';

interface ToolAnnotations {
  readonly readOnlyHint: boolean;
  /** This and the next mean nothing for a tool that only reads (MCP, `ToolAnnotations`). */
  readonly destructiveHint?: boolean;
  readonly idempotentHint?: boolean;
  readonly openWorldHint: boolean;
}

export type JsonSchema = Readonly<Record<string, unknown>>;

/** What `tools/list` says of a tool. */
export interface ToolListing {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly annotations: ToolAnnotations;
  readonly inputSchema: JsonSchema & { readonly type: 'object' };
  readonly outputSchema: JsonSchema & { readonly type: 'object' };
}

export interface ToolCall {
  readonly principal: Principal;
  /** Aborted when the caller cancelled or went away. */
  readonly signal?: AbortSignal;
  /** Present where the caller asked to hear of progress. `done` grows from call to call. */
  readonly progress?: (done: number, total: number, message: string) => void;
}

/** Results are plain objects that JSON can carry. */
export type Structured = Readonly<Record<string, unknown>>;

export interface Tool {
  readonly name: string;
  /** Worked out when it is first asked for: not every node is ever asked, and none at its start. */
  readonly listing: ToolListing;
  call(rawArguments: unknown, call: ToolCall): Promise<Result<Structured>>;
}

interface ToolDefinition<Shape extends z.ZodRawShape> {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** `read` changes nothing; `write` may replace what was there; `add` only adds. */
  readonly effect: 'read' | 'write' | 'add';
  readonly idempotent: boolean;
  readonly input: Shape;
  /** JSON Schema of each field of the result. */
  readonly output: Readonly<Record<string, JsonSchema>>;
  /** Fields that every result has; default: all. */
  readonly always?: readonly string[];
  /** What results have in place of `always`, for a tool with results of two kinds. */
  readonly orAlways?: readonly string[];
  run(
    input: z.output<z.ZodObject<Shape>>,
    call: ToolCall,
    faces: NodeFaces,
  ): Promise<Result<Structured>> | Result<Structured>;
}

export function defineTool<Shape extends z.ZodRawShape>(
  definition: ToolDefinition<Shape>,
  faces: NodeFaces,
): Tool {
  const schema = z.strictObject(definition.input);
  const names = Object.keys(definition.input);
  const reads = definition.effect === 'read';
  let listing: ToolListing | undefined;
  return {
    name: definition.name,
    get listing() {
      listing ??= listingOf(definition, schema);
      return listing;
    },
    async call(rawArguments, call) {
      const parsed = schema.safeParse(rawArguments ?? {});
      if (!parsed.success) return fail(argumentError(definition.name, names, parsed.error.issues));
      if (!reads && call.principal.zone === 'external') {
        return failWith(
          'DENIED',
          `${definition.name} changes things, and "${call.principal.name}" is of the zone "external", which may only read.`,
          'Ask an operator for a key of the zone "trusted".',
        );
      }
      return definition.run(parsed.data as z.output<z.ZodObject<Shape>>, call, faces);
    },
  };
}

function listingOf<Shape extends z.ZodRawShape>(
  definition: ToolDefinition<Shape>,
  schema: z.ZodType,
): ToolListing {
  const { $schema: _, ...inputSchema } = z.toJSONSchema(schema, {
    io: 'input',
    override: ({ jsonSchema }) => {
      // Whole numbers end there anyway.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  const reads = definition.effect === 'read';
  return {
    name: definition.name,
    title: definition.title,
    description: definition.description,
    annotations: {
      readOnlyHint: reads,
      ...(reads
        ? {}
        : { destructiveHint: definition.effect === 'write', idempotentHint: definition.idempotent }),
      openWorldHint: false,
    },
    inputSchema: { ...inputSchema, type: 'object' },
    outputSchema: {
      type: 'object',
      properties: definition.output,
      // Clients check structured content against this schema also where the call failed. What an error holds is the same
      // everywhere and said once, in the documentation: lists of tools are read by agents.
      anyOf: [
        { required: definition.always ?? Object.keys(definition.output) },
        ...(definition.orAlways === undefined ? [] : [{ required: definition.orAlways }]),
        { required: ['error'] },
      ],
    },
  };
}

function argumentError(tool: string, names: readonly string[], issues: readonly z.core.$ZodIssue[]) {
  // Within an argument, what is missing tells more of its form than what is too much.
  const issue =
    issues.find(({ code, path }) => code === 'unrecognized_keys' && path.length === 0) ?? issues[0];
  if (issue?.code === 'unrecognized_keys' && issue.path.length === 0) {
    const unknown = issue.keys[0] ?? '';
    const nearest = nearestWord(unknown, names);
    return errorBody(
      'INVALID_ARGUMENT',
      `${tool} has no argument ${JSON.stringify(unknown.slice(0, 64))}.`,
      nearest === undefined
        ? `Its arguments are: ${names.join(', ') || 'none'}.`
        : `Did you mean "${nearest}"? Its arguments are: ${names.join(', ')}.`,
      { details: { unknown: unknown.slice(0, 64), ...(nearest === undefined ? {} : { nearest }) } },
    );
  }
  const where = issue?.path.map(String).join('.') ?? '';
  if (issue === undefined || where === '')
    return errorBody(
      'INVALID_ARGUMENT',
      'The arguments must be an object.',
      'Give each argument by its name.',
    );
  const problem = argumentProblem(issue);
  return errorBody(
    'INVALID_ARGUMENT',
    `The argument "${where}" ${problem}.`,
    'Nothing was done. Call again with this argument mended.',
    { details: { argument: where, problem } },
  );
}
