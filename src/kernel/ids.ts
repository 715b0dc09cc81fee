/** Branded identifiers. A plain string or number becomes one only through its `parse…` function. */

declare const brand: unique symbol;
export type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** A libp2p PeerId of an Ed25519 key in base58btc (`12D3KooW…`): the identity of a node. */
export type NodeId = Branded<string, 'NodeId'>;
/** The first 16 hexadecimal digits of the SHA-256 of a swarm's root public key. */
export type SwarmId = Branded<string, 'SwarmId'>;
/** One run of one node: a random integer below 2^53, used as Yjs client id of that run, never used again. */
export type Incarnation = Branded<number, 'Incarnation'>;
/** Name of a board: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter or digit. */
export type BoardName = Branded<string, 'BoardName'>;
/** Name of an agent or other principal: 1 to 128 printable characters without white space. */
export type AgentId = Branded<string, 'AgentId'>;

const NODE_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;
const SWARM_ID = /^[0-9a-f]{16}$/;
const BOARD_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const PLAIN_AGENT_ID = /^[!-~]{1,128}$/;
const AGENT_ID = /^[^\s\p{C}]{1,128}$/u;

export function parseNodeId(text: unknown): NodeId | undefined {
  return typeof text === 'string' && NODE_ID.test(text) ? (text as NodeId) : undefined;
}

export function parseSwarmId(text: unknown): SwarmId | undefined {
  return typeof text === 'string' && SWARM_ID.test(text) ? (text as SwarmId) : undefined;
}

export function parseIncarnation(value: unknown): Incarnation | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
    ? (value as Incarnation)
    : undefined;
}

let lastBoardName: string | undefined;

export function parseBoardName(text: unknown): BoardName | undefined {
  // Nearly always the same as the time before.
  if (typeof text !== 'string' || (text !== lastBoardName && !BOARD_NAME.test(text))) return undefined;
  lastBoardName = text;
  return text as BoardName;
}

export function parseAgentId(text: unknown): AgentId | undefined {
  if (typeof text !== 'string') return undefined;
  // Nearly all are plain, and the tables of Unicode are slow.
  return PLAIN_AGENT_ID.test(text) || AGENT_ID.test(text) ? (text as AgentId) : undefined;
}
