/**
 * Session tokens where a swarm has boards of both modes. A token of crdt boards names clocks of lanes; what was seen of
 * the quorum store is one number, its revision, with the store's identity. One token carries both, so that an agent has
 * one session, whatever boards it uses:
 *
 *     q1.STORE.REVISION.TOKEN
 *
 * REVISION in base 36, TOKEN that of the crdt boards or empty. Tokens of crdt boards alone have no dot.
 */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';

export interface StoreSeen {
  /** Identity of the store; empty for a token that has seen nothing of one. */
  readonly store: string;
  readonly revision: number;
}

export interface JoinedSession extends StoreSeen {
  /** Token of the crdt boards, unread. */
  readonly crdt: string | undefined;
}

const NOTHING_SEEN: JoinedSession = { store: '', revision: 0, crdt: undefined };

const PREFIX = 'q1.';
const FORM = /^q1\.([0-9a-f]{0,32})\.([0-9a-z]{1,11})\.([A-Za-z0-9_-]*)$/;

/** Plain where nothing of the store was seen: tokens of swarms that use crdt boards alone stay what they were. */
export function joinSession({ store, revision, crdt }: JoinedSession): string {
  if (store === '' && crdt !== undefined) return crdt;
  return `${PREFIX}${store}.${revision.toString(36)}.${crdt ?? ''}`;
}

/** `INVALID_ARGUMENT` where the text is no token; the part of the crdt boards is checked by these. */
export function splitSession(token: string | undefined): Result<JoinedSession> {
  if (token === undefined) return ok(NOTHING_SEEN);
  if (typeof token !== 'string') return refuse('is not a text');
  if (token.length > limits.sessionTokenBytes + limits.sessionStoreBytes) return refuse('is too large');
  if (!token.includes('.')) return ok({ ...NOTHING_SEEN, crdt: token });
  const match = FORM.exec(token);
  if (match === null) {
    return refuse(
      /^q\d+\./.test(token) && !token.startsWith(PREFIX)
        ? 'has a version that this node does not know'
        : 'is not one that a node gave',
    );
  }
  const [, store = '', revisionText = '', crdt = ''] = match;
  const revision = Number.parseInt(revisionText, 36);
  if (!Number.isSafeInteger(revision)) return refuse('is damaged');
  return ok({ store, revision, crdt: crdt === '' ? undefined : crdt });
}

function refuse(why: string): ReturnType<typeof failWith> {
  return failWith(
    'INVALID_ARGUMENT',
    `The session token ${why}.`,
    'Pass the token of an earlier answer unchanged, or none.',
  );
}
