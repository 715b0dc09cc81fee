/** Tools of free documents: texts that several edit at once. */
import { z } from 'zod';
import type { DocumentEdit } from '../blackboard/api.ts';
import { failWith, type Result } from '../kernel/errors.ts';
import { checkKey, LONE_SURROGATE } from '../kernel/key.ts';
import { limits } from '../kernel/limits.ts';
import { agentId, board, boardOf, common, flag, integer, level, session, text } from './board-arguments.ts';
import type { NodeFaces } from './faces.ts';
import { actingAgent } from './principal.ts';
import { defineTool, type Structured, type Tool } from './tool.ts';

const MAX_EDITS = 100;

const document = z.string().describe('Document, such as "report".');
const output = { text, revision: integer, session: text };
const deletion = { deleted: flag, revision: integer, session: text };

export function documentTools(faces: NodeFaces): Tool[] {
  return [documentRead(faces), documentEdit(faces), documentDelete(faces)];
}

function documentRead(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'document_read',
      title: 'Read a document',
      description:
        'Read the text of a shared document, which people and agents may be editing at this moment. One that nobody wrote yet is empty.',
      effect: 'read',
      idempotent: true,
      input: { board, document, level, session },
      output,
      async run(input, call, { blackboard }) {
        const boardName = boardOf(input.board);
        if (!boardName.ok) return boardName;
        const checked = checkKey(input.document, 'document');
        if (!checked.ok) return checked;
        const answer = await blackboard.call(
          { op: 'documentRead', document: input.document, ...common(boardName.value, input) },
          { agent: call.principal.agent },
          call.signal,
        );
        return answer as Result<Structured>;
      },
    },
    faces,
  );
}

function documentEdit(faces: NodeFaces): Tool {
  const edit = z.strictObject({
    kind: z.enum(['replace', 'insert_after', 'append']),
    find: z.string().min(1).optional().describe('Text that occurs exactly once; not for append.'),
    text: z.string().max(limits.valueBytes),
  });
  return defineTool(
    {
      name: 'document_edit',
      title: 'Edit a document',
      description:
        'Edit a shared document by exact text: replace a passage, insert after one, or append. Edits merge with what others type meanwhile, so send only what you change. All edits of a call are made, or none.',
      effect: 'write',
      idempotent: false,
      input: {
        board,
        document,
        edits: z.array(edit).min(1).max(MAX_EDITS),
        level,
        session,
        agent_id: agentId,
      },
      output,
      async run(input, call, { blackboard }) {
        const boardName = boardOf(input.board);
        if (!boardName.ok) return boardName;
        const checked = checkKey(input.document, 'document');
        if (!checked.ok) return checked;
        const agent = actingAgent(call.principal, input.agent_id);
        if (!agent.ok) return agent;
        const edits = editsOf(input.edits);
        if (!edits.ok) return edits;
        const answer = await blackboard.call(
          {
            op: 'documentEdit',
            document: input.document,
            edits: edits.value,
            ...common(boardName.value, input),
          },
          { agent: agent.value },
          call.signal,
        );
        return answer as Result<Structured>;
      },
    },
    faces,
  );
}

function documentDelete(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'document_delete',
      title: 'Delete a document',
      description:
        'Delete a shared document with all that is in it, on every node; edits made elsewhere meanwhile are lost with it. Writing to its name begins it anew.',
      effect: 'write',
      idempotent: true,
      input: { board, document, level, session, agent_id: agentId },
      output: deletion,
      async run(input, call, { blackboard }) {
        const boardName = boardOf(input.board);
        if (!boardName.ok) return boardName;
        const checked = checkKey(input.document, 'document');
        if (!checked.ok) return checked;
        const agent = actingAgent(call.principal, input.agent_id);
        if (!agent.ok) return agent;
        const answer = await blackboard.call(
          { op: 'documentDelete', document: input.document, ...common(boardName.value, input) },
          { agent: agent.value },
          call.signal,
        );
        return answer as Result<Structured>;
      },
    },
    faces,
  );
}

interface GivenEdit {
  readonly kind: DocumentEdit['kind'];
  readonly find?: string | undefined;
  readonly text: string;
}

function editsOf(given: readonly GivenEdit[]): Result<readonly DocumentEdit[]> {
  const edits: DocumentEdit[] = [];
  for (const [at, { kind, find, text: newText }] of given.entries()) {
    if (LONE_SURROGATE.test(newText)) {
      return failWith(
        'INVALID_ARGUMENT',
        `The text of edit ${at + 1} is not valid Unicode.`,
        'Send whole characters: half a surrogate pair cannot be stored.',
      );
    }
    if (kind === 'append') {
      if (find !== undefined) {
        return failWith(
          'INVALID_ARGUMENT',
          `Edit ${at + 1} appends, so it has no "find".`,
          'Use insert_after to add text behind a passage.',
        );
      }
      edits.push({ kind, text: newText });
    } else if (find === undefined) {
      return failWith(
        'INVALID_ARGUMENT',
        `Edit ${at + 1} needs "find".`,
        'Give a passage that occurs exactly once in the document.',
      );
    } else {
      edits.push({ kind, find, text: newText });
    }
  }
  return { ok: true, value: edits };
}
