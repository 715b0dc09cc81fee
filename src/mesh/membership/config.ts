/** Times are milliseconds, the rest are counts. */
export interface MembershipConfig {
  /** Each member tells each of its watchers this often that it is there. */
  readonly watchMs: number;
  /** A heartbeat may go so much earlier, along with whatever wakes the node anyway. */
  readonly watchEarlyMs: number;
  /** How many members watch each member, besides the probes in turn. */
  readonly watchers: number;
  /** A probe fails after this long without an answer, direct or indirect; longer where the round trip is long. */
  readonly probeTimeoutMs: number;
  /** Members asked to probe on one's behalf. */
  readonly indirectProbes: number;
  /** How often a suspected member is given the chance to answer. */
  readonly checkMs: number;
  /** From the first doubt to death, confirmed: after a closed link, and after silence. */
  readonly closedDeathMs: number;
  readonly silentDeathMs: number;
  /** How many times longer an unconfirmed suspicion lasts. */
  readonly unconfirmedFactor: number;
  /** Other members whose doubt makes a suspicion fully confirmed. */
  readonly confirmations: number;
  /** Timers later than this mean that this node itself was held up. */
  readonly stallMs: number;
  /** After a stall, others get at least this long before anything is held against them. */
  readonly stallGraceMs: number;
  /** Worst local health score. */
  readonly worstHealth: number;
  /** How often the whole table is told to one peer. */
  readonly syncMs: number;
  /** Dead members are remembered this long. */
  readonly forgetMs: number;
  /** Urgent news goes to all linked peers up to this many, to `eagerFanout` of them above. */
  readonly eagerPeers: number;
  readonly eagerFanout: number;
  /** Least time between two frames of urgent news. */
  readonly flushMs: number;
}

export const membershipDefaults: MembershipConfig = {
  watchMs: 1_000,
  watchEarlyMs: 200,
  watchers: 3,
  probeTimeoutMs: 700,
  indirectProbes: 3,
  checkMs: 300,
  closedDeathMs: 1_500,
  silentDeathMs: 2_000,
  unconfirmedFactor: 3,
  confirmations: 3,
  stallMs: 150,
  stallGraceMs: 500,
  worstHealth: 3,
  syncMs: 30_000,
  forgetMs: 600_000,
  eagerPeers: 50,
  eagerFanout: 8,
  flushMs: 50,
};
