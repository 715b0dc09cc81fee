/**
 * Every bound in one place, with their relations asserted at load. Sizes are bytes, times are milliseconds
 * (`…Ms`), the rest are counts.
 */
export const limits = {
  /** One frame between nodes; larger deltas are chunked. */
  frameBytes: 1024 * 1024,
  /** What one repair frame aims at: small enough to apply in well under 50 ms. */
  repairBytes: 128 * 1024,
  /** Repair frames that one digest may ask for. */
  repairFrames: 32,
  /**
   * Work that one neighbour may cause on each channel, in structs checked (about 4 µs each): in a second, and at once.
   * Beyond it, it is heard later.
   */
  neighbourWork: 100_000,
  neighbourWorkBurst: 200_000,
  /** Queue of frames that wait for one peer's connection. */
  peerQueueBytes: 8 * 1024 * 1024,
  peerQueueFrames: 16_384,
  /** A decoded message: nesting and element count. */
  messageDepth: 32,
  messageElements: 100_000,

  /** One value of a board entry, as JSON. */
  valueBytes: 256 * 1024,
  /** Key of a board entry, in UTF-8. */
  keyBytes: 512,
  /** Default quota of a board. */
  boardKeys: 1_000_000,
  boardBytes: 256 * 1024 * 1024,
  boards: 256,
  /** Of these, boards that are not declared here, on account of one member. */
  boardsPerOwner: 64,
  /** Updates held outside Yjs because what precedes them has not come. */
  heldBytes: 4 * 1024 * 1024,
  /** Items of one append to a log key. */
  appendItems: 1_000,
  documentBytes: 8 * 1024 * 1024,
  /** Documents of one board with something in them. */
  documents: 10_000,
  /** The same with those that were deleted, which are remembered. */
  documentNames: 50_000,
  /** Yjs clients that have ever written to one document. */
  documentClients: 16_384,
  /** Active incarnations that one node may own in the boards; older ones are folded. */
  incarnations: 16,
  /** A session token as text: with room to spare in the headers of an HTTP request. */
  sessionTokenBytes: 12 * 1024,
  /** How long a call waits for its session token to be satisfied. */
  sessionWaitMs: 2_000,
  /** Longest `board_wait`. */
  waitMs: 300_000,
  waiters: 10_000,
  /** Of these, calls of one agent. */
  waitersPerCaller: 1_000,
  ttlSeconds: 365 * 24 * 3600,
  listPage: 1_000,
  /** Lanes of one board: writer incarnations that have not been folded away. */
  boardLanes: 4_096,
  /** Items of one log key, and their bytes together. */
  /** Names of free documents told with a board. */
  listedDocuments: 1_000,
  logItems: 10_000,
  logBytes: 1024 * 1024,
  /** What others wrote is merged up to this many times a board's quota: to converge comes first, to a point. */
  quotaSlack: 4,
  /** How long updates are held whose predecessor, causes or owner are not known yet. */
  heldMs: 5_000,
  /** How long a deleted key is remembered, so that an older write of a peer that was away does not bring it back. */
  tombstoneMs: 24 * 3600_000,
  /** An author signs the head of a lane this long after a change at the earliest. */
  headDelayMs: 100,
  /** How far behind its author's last head a tail without proof may be stamped. */
  unprovenMs: 5_000,
  /** Characters in all edits of one call, and edits in one call. */
  editBytes: 256 * 1024,
  edits: 100,

  /** A stamp further ahead of this node's clock than this is not believed. */
  clockSkewMs: 60_000,
  /** Body of one signed record. */
  recordBytes: 64 * 1024,
  recordsPerOwner: 10_000,
  recordKeyBytes: 256,
  /** Everything that one owner's records hold, and all records of all owners together. */
  ownerBytes: 8 * 1024 * 1024,
  recordStoreBytes: 512 * 1024 * 1024,
  /** Records in one frame: each new one costs a signature check of about 0.1 ms. */
  recordsPerFrame: 200,
  /** Records that wait for a frame to ride on, and what one frame takes along. */
  recordsOwed: 4_096,
  rideBytes: 16 * 1024,
  /** Tombstones are kept this long; whoever was away for longer may bring a dead record back until its owner buries it again. */
  recordTombstoneMs: 7 * 24 * 3600 * 1000,
  /** Proofs of equivocation kept, of one owner and of all. */
  proofsPerOwner: 4,
  proofs: 1_000,

  /** One record of the journal or of a checkpoint. */
  journalRecordBytes: 32 * 1024 * 1024,
  /** Records appended and not yet written; beyond it appends are refused and the next sync fails. */
  journalBufferBytes: 64 * 1024 * 1024,
  /** Records of one checkpoint. */
  checkpointRecords: 4_000_000_000,
  /** Different counters and gauges of one process. */
  metrics: 2_000,

  /** Keys and values of the quorum store, compares and operations of one transaction, and their bytes together. */
  quorumKeyBytes: 1_024,
  quorumValueBytes: 512 * 1024,
  quorumOperations: 128,
  quorumTransactionBytes: 768 * 1024,
  /** Everything that the keys of the quorum store hold. */
  quorumKeys: 1_000_000,
  quorumBytes: 512 * 1024 * 1024,
  quorumLeases: 100_000,
  /** Changes remembered for watches that fell behind. */
  quorumHistoryChanges: 100_000,
  quorumHistoryBytes: 32 * 1024 * 1024,
  /** Clients whose requests are remembered, so that a retry is applied once, and requests of one of them. */
  quorumClients: 4_096,
  quorumClientRequests: 16_384,
  /** Answers remembered for one client and for all: beyond it the one is refused, of all the longest silent are forgotten. */
  quorumClientBytes: 8 * 1024 * 1024,
  quorumAnswersBytes: 64 * 1024 * 1024,
  /** Entries found by one range: more are left for the next page. */
  quorumRangeBytes: 1024 * 1024,
  /** A call that needs a majority is answered or refused within this. */
  quorumWaitMs: 2_000,
  /** Calls of this node that wait for the quorum. */
  quorumCalls: 16_384,
  /** What a leader holds back until it is its turn, and the keys of which it knows whose turn it is. */
  quorumTurnsHeld: 4_096,
  quorumTurnsHeldBytes: 8 * 1024 * 1024,
  quorumTurnsKeys: 16_384,

  /** Boards of mode quorum: what a log may hold, and the changes that a node remembers for those who wait. */
  quorumLogBytes: 384 * 1024,
  quorumMirrorChanges: 20_000,
  quorumMirrorBytes: 16 * 1024 * 1024,
  /** What the part of the quorum store adds to a session token. */
  sessionStoreBytes: 64,
  /** Names of leases, and of their holders. */
  leaseNameBytes: 256,

  /** Raft: voters on either side of a change, servers that a leader sends entries to. */
  raftVoters: 9,
  raftServers: 1_024,
  /** Reads that wait on one server, and numbers in one message about them. */
  raftReads: 16_384,
  /** Entries that a snapshot holds and that are kept for slow followers. */
  raftTailEntries: 4_096,
  raftTailBytes: 4 * 1024 * 1024,

  /** Budgets known to a node, and levels from one to its last ancestor. */
  budgets: 1_000,
  budgetLevels: 8,
  /** Budgets times periods that one node has money in. */
  budgetPurses: 4_096,
  /** Accounts that one account passes rights to in one purse, and the same for those it gets rights from. */
  budgetPartners: 256,
  /** Reservations that wait to be settled, and finished requests remembered, so that a retry counts once. */
  budgetHolds: 50_000,
  budgetRemembered: 50_000,
  /** Ids that callers give to reservations and reports. */
  budgetIdBytes: 128,
  /** Rows of others that a node keeps, and pairs that prove that one contradicted itself. */
  budgetRows: 50_000,
  budgetProofs: 256,
  /** How long a reservation may wait to be settled. */
  budgetTtlMs: 24 * 3600_000,
  /** How long after its end a period still takes what was reserved in it. */
  budgetGraceMs: 48 * 3600_000,
  /** How long the clock of day must have said so before a period is closed for good. */
  budgetSureOfTimeMs: 6 * 3600_000,
  /** The same for a node that is half full of periods: it makes room for those that run. */
  budgetCrowdedGraceMs: 2 * 3600_000,
  budgetCrowdedSureMs: 30 * 60_000,
  /** Where no other node is there to agree that a period is over, the store keeps it for so long. */
  budgetLoneGraceMs: 14 * 24 * 3600_000,
  /** How long a reservation may wait for rights to come from elsewhere. */
  budgetWaitMs: 5_000,
  /** Reservations that wait for rights at one node. */
  budgetWaiters: 10_000,
  /** Keys of the quorum store under `budget/` that a node looks after. */
  budgetStoreEntries: 200_000,
  /** Agents in debt that a status names. */
  budgetDebtsShown: 64,
  /** Those who watch a budget hear of it at most this often. */
  budgetNoticeMs: 100,
  /** One frame of the channel `call`. */
  budgetCallBytes: 128 * 1024,
  /** Settlements under way at other nodes. */
  budgetForwards: 10_000,
  /** Models with a price. */
  priceModels: 1_000,

  members: 1_000,
  addressesPerMember: 16,
  agentsPerNode: 1_000,

  /** Updates about members in one frame, and those that ride on a ping. */
  membershipUpdates: 512,
  membershipRumours: 16,
  /** Pings that a node sends on behalf of others at a time: in all, and for one peer. */
  membershipRelays: 1_024,
  membershipRelaysPerPeer: 64,
  /** Dead members that are remembered. */
  deadMembers: 256,
  /** Addresses that discovery holds, those of one node from one source, and dials under way at a time. */
  discoveryAddresses: 4_096,
  addressesPerClaim: 8,
  dialsUnderWay: 16,
  addressBytes: 512,
  /** mDNS: instances and hosts remembered, records looked at in one packet, packets handled in a second. */
  mdnsInstances: 512,
  mdnsRecords: 256,
  mdnsPacketsPerSecond: 200,
  /** Body of an HTTP registry's answer. */
  registryBytes: 1024 * 1024,

  /** Links: what a node accepts before it knows who is there, and how long it puts up with a bad peer. */
  helloBytes: 16 * 1024,
  helloTimeoutMs: 5_000,
  /** Offences within `penaltyWindowMs` that cut a peer off, at first for `barMs`, doubled each time up to `barMaxMs`. */
  penaltyPoints: 10,
  penaltyWindowMs: 60_000,
  barMs: 30_000,
  barMaxMs: 3_600_000,
  /** Refusals kept for `status` and `doctor`, and how long they stay news. */
  linkProblems: 32,
  linkProblemMs: 10 * 60_000,
  /** A refusal that comes again so soon after it was logged as a warning is logged at level debug. */
  linkProblemQuietMs: 60_000,
  /** Connections of one node, and those among them that may lack a verified hello. */
  connections: 2_048,
  strangers: 128,
  /** New incoming connections that one address may open in a second. */
  inboundConnectionsPerSecond: 100,
  dialMs: 5_000,
  /** Queue of the membership channel, apart from `peerQueue…`: bulk data must not starve heartbeats. */
  controlQueueBytes: 256 * 1024,
  controlQueueFrames: 1_024,
  /** Frames of one tick are written together up to this, so that one write is one packet of the cipher. */
  batchBytes: 64_000,

  /** One HTTP request or MCP message. */
  httpBodyBytes: 1024 * 1024,
  jsonDepth: 64,
  jsonElements: 100_000,

  /** Faces: HTTP and MCP. */
  httpConnections: 1_024,
  /** From one address other than loopback. */
  httpConnectionsPerAddress: 256,
  httpHeaderBytes: 16 * 1024,
  /** A request's headers, and the whole request, must have arrived within these. */
  httpHeadersMs: 10_000,
  httpRequestMs: 15_000,
  /** Nesting that the envelope of a message adds around a value. */
  envelopeDepth: 8,
  /** Calls in one JSON-RPC batch. */
  mcpBatch: 100,
  /** Sessions of clients older than 2026-07-28, all together and of one principal. */
  mcpSessions: 1_024,
  mcpSessionsPerPrincipal: 256,
  mcpSessionIdleMs: 30 * 60_000,
  /** Byte-stream MCP connections (`skein mcp`), and requests that one of them may have open. */
  mcpConnections: 256,
  mcpRequestsInFlight: 1_024,
  /** Resources that one client, and all clients together, may be subscribed to. */
  subscriptionsPerClient: 1_024,
  subscriptions: 16_384,
  /** Least time between two updates of one resource. */
  resourceUpdateMs: 50,
  /** Event streams and WebSockets that one principal may hold open. */
  streamsPerPrincipal: 256,
  /** What may wait for a slow reader of a stream before it is cut off. */
  streamQueueBytes: 4 * 1024 * 1024,
  /** One answer of a list call: larger pages are cut short, with a cursor. */
  listAnswerBytes: 2 * 1024 * 1024,
  /** A Yjs client may stamp what it writes to the entries this far ahead of its node's clock. */
  clientSkewMs: 2_000,
  /** Writes of one Yjs client to the entries that its node has not answered yet, and their bytes. */
  clientWrites: 4_096,
  clientWriteBytes: 2 * 1024 * 1024,
  /** Awareness (cursors, presence) of the y-websocket endpoint: one update, and clients of one document. */
  awarenessBytes: 64 * 1024,
  awarenessClients: 1_024,
  /** All states of one document together; those of one connection are at most `awarenessBytes`. */
  awarenessRoomBytes: 1024 * 1024,
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
assertRelation(
  limits.repairBytes * limits.repairFrames <= limits.peerQueueBytes / 2,
  'a queue holds the answer to a digest, with room',
);
assertRelation(limits.documentBytes < limits.journalRecordBytes / 2, 'a document fits a journal record');
assertRelation(limits.sessionTokenBytes <= limits.httpHeaderBytes - 4096, 'a session token fits a URL');
assertRelation(limits.journalRecordBytes < limits.journalBufferBytes, 'the journal buffer holds a record');
assertRelation(
  limits.valueBytes + limits.keyBytes < limits.clientWriteBytes &&
    limits.clientWriteBytes < limits.documentBytes / 2,
  'what a Yjs client writes fits a message',
);
assertRelation(
  limits.quorumValueBytes + limits.quorumKeyBytes < limits.quorumTransactionBytes &&
    limits.quorumTransactionBytes < limits.frameBytes,
  'the largest entry fits a transaction, and that a frame',
);
assertRelation(limits.recordBytes < limits.repairBytes, 'a record fits a repair frame');
assertRelation(
  limits.members * 16 + limits.recordsPerOwner * 8 < limits.frameBytes / 2,
  'a digest of all owners and one owner in detail fits',
);
assertRelation(
  limits.valueBytes <= limits.quorumLogBytes && limits.quorumLogBytes + 4_096 < limits.quorumValueBytes,
  'an entry of a quorum board fits the store',
);
assertRelation(
  limits.budgetPartners * 2 * 80 + 1_024 < limits.recordBytes,
  'the row of an account with all its partners fits a record',
);
assertRelation(
  limits.recordBytes * 2 <= limits.budgetCallBytes && limits.budgetCallBytes < limits.frameBytes,
  'a row fits a call, and that a frame',
);
assertRelation(limits.budgetTtlMs < limits.budgetGraceMs, 'a reservation ends before its period is closed');
assertRelation(
  (limits.budgetHolds + limits.budgetRemembered) * 320 <= limits.journalRecordBytes,
  'all reservations fit a journal record',
);
assertRelation(limits.frameBytes < limits.peerQueueBytes, 'a queue holds a frame');
assertRelation(limits.helloBytes < limits.controlQueueBytes, 'a queue holds a hello');
assertRelation(limits.valueBytes < limits.httpBodyBytes, 'the largest value fits a request');
