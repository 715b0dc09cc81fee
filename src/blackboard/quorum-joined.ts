/** Boards of both modes as one blackboard: nobody who calls needs to know which kind a board is. */
import { failWith, type Result, SkeinError } from '../kernel/errors.ts';
import { type BoardName, parseAgentId } from '../kernel/ids.ts';
import type { Blackboard, BoardAnswers, BoardCall, BoardInfo, Change, Writer } from './api.ts';
import type { QuorumBoards } from './quorum-boards.ts';
import { joinSession, splitSession } from './quorum-session.ts';

export class JoinedBlackboard implements Blackboard {
  readonly #crdt: Blackboard;
  readonly #quorum: QuorumBoards;

  constructor(crdt: Blackboard, quorum: QuorumBoards) {
    this.#crdt = crdt;
    this.#quorum = quorum;
  }

  async call<C extends BoardCall>(
    call: C,
    writer: Writer,
    signal?: AbortSignal,
  ): Promise<Result<BoardAnswers[C['op']]>> {
    if (typeof call !== 'object' || (call as C | null) === null) return noCall();
    if (parseAgentId((writer as Writer | undefined)?.agent) === undefined) return noAgent();
    if (this.#quorum.has(call.board)) return this.#quorum.call(call, writer, signal);
    if (call.op === 'compareAndSet') return notOffered(call.board);
    if (call.session === undefined) return this.#crdt.call(call, writer, signal);
    const session = splitSession(call.session);
    if (!session.ok) return session;
    const { crdt, ...seen } = session.value;
    if (seen.store === '' && crdt === call.session) return this.#crdt.call(call, writer, signal);
    // A token that has seen nothing of the crdt boards asks nothing of them.
    const { session: _, ...rest } = call;
    const inner = (crdt === undefined ? rest : { ...rest, session: crdt }) as C;
    const answer = await this.#crdt.call(inner, writer, signal);
    if (!answer.ok) return answer;
    return {
      ok: true,
      value: { ...answer.value, session: joinSession({ ...seen, crdt: answer.value.session }) },
    };
  }

  boards(): readonly BoardInfo[] {
    const others = this.#crdt.boards().filter(({ name }) => !this.#quorum.has(name));
    return [...others, ...this.#quorum.boards()].sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  watch(board: BoardName, listener: (changes: readonly Change[]) => void): () => void {
    if (typeof listener !== 'function')
      throw SkeinError.of('INVALID_ARGUMENT', 'The listener is not a function.', 'Pass a function.');
    return (this.#quorum.has(board) ? this.#quorum : this.#crdt).watch(board, listener);
  }
}

/** Programs without types may call as well; a name that others refuse would have the node blamed. */
function noAgent(): Result<never> {
  return failWith(
    'INVALID_ARGUMENT',
    'The call does not say which agent makes it.',
    'Pass { agent } with 1 to 128 printable characters without white space.',
  );
}

function noCall(): Result<never> {
  return failWith(
    'INVALID_ARGUMENT',
    'This is no call of the blackboard.',
    'Pass { op, board, … }: see BoardCall for those that there are.',
  );
}

function notOffered(board: BoardName): Result<never> {
  return failWith(
    'LEVEL_NOT_OFFERED',
    `The board "${board}" is of mode crdt: nodes write it without asking each other, so none can compare and set.`,
    'Use a board of mode quorum, such as "tasks".',
  );
}
