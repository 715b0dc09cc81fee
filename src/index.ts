/** The library's public face: run a node inside a program of your own. */
export type { AgentDirectory, AgentInfo, AgentRegistration, DiscoverQuery } from './agents/api.ts';
export type {
  Blackboard,
  BoardAnswers,
  BoardCall,
  BoardInfo,
  Change,
  Entry,
  Level,
  Writer,
  YjsAccess,
} from './blackboard/api.ts';
export {
  BoardView,
  type BoardViewChange,
  type BoardViewEntry,
  type BoardViewWrite,
} from './blackboard/board-view.ts';
export type {
  BudgetAnswers,
  BudgetCall,
  BudgetStatus,
  Budgets,
  MachineShare,
  PricedUse,
  ThresholdPassed,
} from './budget/api.ts';
export { ERROR_CODES, type ErrorBody, type ErrorCode, type Result, SkeinError } from './kernel/errors.ts';
export {
  type AgentId,
  type BoardName,
  type NodeId,
  parseAgentId,
  parseBoardName,
  parseNodeId,
} from './kernel/ids.ts';
export type { Json } from './kernel/json.ts';
export type { MemberState, MeshStatus, MeshView, PeerInfo, Problem } from './mesh/view.ts';
export { configWith, loadConfig } from './node/config/load.ts';
export type { Config } from './node/config/options.ts';
export { type RunningNode, type StartOptions, startNode } from './node/node.ts';
export type { TaskBudgets } from './node/task-budgets.ts';
