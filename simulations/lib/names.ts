import { type AgentId, type BoardName, parseAgentId, parseBoardName } from '../../src/kernel/ids.ts';

export function agentNamed(text: string): AgentId {
  const agent = parseAgentId(text);
  if (agent === undefined) throw new RangeError(`not an agent's name: ${text}`);
  return agent;
}

export function boardNamed(text: string): BoardName {
  const name = parseBoardName(text);
  if (name === undefined) throw new RangeError(`not a board's name: ${text}`);
  return name;
}

/** The board that all workloads use. */
export const BOARD = boardNamed('main');
