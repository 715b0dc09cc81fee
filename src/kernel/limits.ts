/**
 * Every bound in one place, with their relations asserted at load. Sizes are bytes, times are milliseconds
 * (`…Ms`), the rest are counts.
 */
export const limits = {
  /** One frame between nodes; larger deltas are chunked. */
  frameBytes: 1024 * 1024,
  /** What one repair frame aims at: small enough to apply in well under 50 ms. */
  repairBytes: 128 * 1024,
  /** Queue of frames that wait for one peer's connection. */
  peerQueueBytes: 8 * 1024 * 1024,
  peerQueueFrames: 16_384,
  /** A decoded message: nesting and element count. */
  messageDepth: 32,
  messageElements: 100_000,

  /** One value of a board entry, as JSON. */
  valueBytes: 256 * 1024,
  valueDepth: 64,
  /** Key of a board entry, in UTF-8. */
  keyBytes: 512,
  /** Default quota of a board. */
  boardKeys: 1_000_000,
  boardBytes: 256 * 1024 * 1024,
  boards: 256,
  /** Updates held outside Yjs because what precedes them has not come. */
  heldBytes: 4 * 1024 * 1024,
  /** Items of one append to a log key. */
  appendItems: 1_000,
  documentBytes: 8 * 1024 * 1024,
  documents: 10_000,
  /** Active incarnations that one node may own in the boards; older ones are folded. */
  incarnations: 16,
  sessionTokenBytes: 16 * 1024,
  sessionLanes: 1_024,
  /** How long a call waits for its session token to be satisfied. */
  sessionWaitMs: 2_000,
  /** Longest `board_wait`. */
  waitMs: 300_000,
  waiters: 10_000,
  ttlSeconds: 365 * 24 * 3600,
  listPage: 1_000,

  /** A stamp further ahead of this node's clock than this is not believed. */
  clockSkewMs: 60_000,
  /** Body of one signed record. */
  recordBytes: 64 * 1024,
  recordsPerOwner: 10_000,

  members: 1_000,
  addressesPerMember: 16,
  agentsPerNode: 1_000,

  /** One HTTP request or MCP message. */
  httpBodyBytes: 1024 * 1024,
  jsonDepth: 64,
  jsonElements: 100_000,
} as const;

function assertRelation(holds: boolean, relation: string): void {
  if (!holds) throw new Error(`limits: ${relation} does not hold`);
}

assertRelation(
  limits.valueBytes + limits.keyBytes < limits.frameBytes / 2,
  'one entry fits a frame with room',
);
assertRelation(
  limits.repairBytes + limits.valueBytes + limits.keyBytes < limits.frameBytes,
  'a repair frame with one entry too many fits',
);
assertRelation(limits.recordBytes < limits.repairBytes, 'a record fits a repair frame');
assertRelation(limits.frameBytes < limits.peerQueueBytes, 'a queue holds a frame');
assertRelation(limits.valueBytes < limits.httpBodyBytes, 'the largest value fits a request');
