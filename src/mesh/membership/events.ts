import type { Mark, PeerDown, PeerUp, Penalise, Received, Send } from '../../kernel/effects.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { MemberState } from '../view.ts';

/** The host measured that its process or event loop was held for so long. */
export interface Lagged {
  readonly kind: 'lagged';
  readonly ms: number;
}

export interface MemberChanged {
  readonly kind: 'memberChanged';
  readonly member: NodeId;
  readonly state: MemberState;
  /** Absent for a member seen for the first time. */
  readonly was?: MemberState;
}

export type MembershipEvent = PeerUp | PeerDown | Received | Lagged;
export type MembershipEffect = Send | Mark | Penalise | MemberChanged;

export interface MemberInfo {
  readonly nodeId: NodeId;
  readonly state: MemberState;
  readonly incarnation: number;
  /** There is an admitted link to it. */
  readonly linked: boolean;
  /** Round trip of the last direct ping; absent without a link. */
  readonly rttMs?: number;
  /** Wall time at which it came to this state. */
  readonly sinceMs: number;
}
