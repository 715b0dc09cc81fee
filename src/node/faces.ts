import type { AgentDirectory, AgentInfo, DiscoverQuery } from '../agents/api.ts';
import type { Blackboard, BoardAnswers, BoardCall, Change, Writer, YjsAccess } from '../blackboard/api.ts';
import type { ThresholdPassed } from '../budget/api.ts';
import { type Result, SkeinError } from '../kernel/errors.ts';
import type { BoardName } from '../kernel/ids.ts';
import type { Clock } from '../kernel/ports.ts';
import type { RegisterChanged, RegisterReplaced } from '../quorum/messages.ts';
import type { Calls } from './calls.ts';
import type { NodeCore, NodeEvent } from './core.ts';
import { Topic } from './topic.ts';

/** Who wants to hear of what the core announces; fed by the host's effects. */
export class Announcements {
  readonly boardChanges = new Topic<readonly Change[]>();
  readonly yjsUpdates = new Topic<Uint8Array>();
  /** Under `nodes` and `agents`: the list may have changed. */
  readonly lists = new Topic<undefined>();
  /** All under the key '': the name of a budget whose status may say something else. */
  readonly budgetChanges = new Topic<string>();
  readonly thresholds = new Topic<ThresholdPassed>();
  /** All under the key ''. */
  readonly registerChanges = new Topic<RegisterChanged | RegisterReplaced>();

  static yjsKey(board: BoardName, document: string | undefined): string {
    return document === undefined ? board : `${board}/${document}`;
  }
}

export interface FaceParts {
  readonly core: NodeCore;
  readonly clock: Clock;
  readonly calls: Calls;
  readonly announcements: Announcements;
  readonly deliver: (event: NodeEvent) => void;
}

/** The blackboard over the core: calls become events, answers resolve promises; plain reads are answered at once. */
export function blackboardOf({ core, clock, calls, announcements, deliver }: FaceParts): Blackboard {
  return {
    call<C extends BoardCall>(call: C, writer: Writer, signal?: AbortSignal) {
      if (call.op === 'read' || call.op === 'list' || call.op === 'documentRead') {
        const result = core.boards.read(call, clock.now());
        // What a session still lacks may arrive: such a read waits in the core.
        const mayWait = !result.ok && result.error.code === 'SESSION_NOT_SATISFIED';
        if (!mayWait) return Promise.resolve(result as Result<BoardAnswers[C['op']]>);
      }
      return calls.ask<BoardAnswers[C['op']]>(
        (id) => deliver({ kind: 'requested', id, call, writer }),
        (id) => deliver({ kind: 'cancelled', id }),
        signal,
      );
    },
    boards: () => core.boards.boards(),
    watch: (board, listener) => announcements.boardChanges.listen(board, listener),
  };
}

export function yjsAccessOf({ core, calls, announcements, deliver }: FaceParts): YjsAccess {
  return {
    stateVector: (board, document) => core.boards.stateVector(board, document),
    encodeState: (board, document, stateVector) => {
      if (stateVector === undefined || stateVector instanceof Uint8Array)
        return core.boards.encodeState(board, document, stateVector);
      throw SkeinError.of('INVALID_ARGUMENT', 'The state vector is not a Uint8Array.', 'Pass one, or none.');
    },
    readEntries: (board, update, lane) =>
      update instanceof Uint8Array ? core.boards.readEntries(board, update, lane) : undefined,
    applyUpdate: (board, document, update, writer) =>
      calls.ask<void>(
        (id) => deliver({ kind: 'yjsUpdate', id, board, document, update, writer }),
        () => undefined,
      ),
    isDeleted: (board, document) => core.boards.isDeleted(board, document),
    observe: (board, document, listener) => {
      if (typeof board !== 'string' || (document !== undefined && typeof document !== 'string'))
        throw SkeinError.of('INVALID_ARGUMENT', 'The board or the document is not a text.', 'Pass names.');
      return announcements.yjsUpdates.listen(Announcements.yjsKey(board, document), listener);
    },
  };
}

export function agentDirectoryOf({ core, clock, calls, announcements, deliver }: FaceParts): AgentDirectory {
  return {
    register: (registration) =>
      calls.ask<AgentInfo>(
        (id) =>
          deliver({
            kind: 'agentRequested',
            event: { kind: 'requested', id, call: { op: 'register', registration } },
          }),
        () => undefined,
      ),
    heartbeat: (agentId) =>
      calls.ask<AgentInfo>(
        (id) =>
          deliver({
            kind: 'agentRequested',
            event: { kind: 'requested', id, call: { op: 'heartbeat', agentId } },
          }),
        () => undefined,
      ),
    discover: (query) => {
      if (isQuery(query)) return core.agents.discover(query, clock.now());
      throw SkeinError.of(
        'INVALID_ARGUMENT',
        'This is no query for agents.',
        'Pass { capability, minTrust }, or {} for all agents.',
      );
    },
    watch: (listener) => announcements.lists.listen('agents', listener),
  };
}

/** Programs without types may pass anything. */
function isQuery(query: DiscoverQuery | null | undefined): boolean {
  if (typeof query !== 'object' || query === null) return false;
  const { capability, minTrust } = query;
  const isText = capability === undefined || typeof capability === 'string';
  return isText && (minTrust === undefined || typeof minTrust === 'number');
}
