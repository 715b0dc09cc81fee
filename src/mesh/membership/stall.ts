import type { Instant } from '../../kernel/time.ts';
import type { Member } from './members.ts';
import type { Relay } from './pings.ts';
import { LAST_WORD_MS } from './suspicion.ts';

/**
 * Puts off all that runs against others by the time in which this node did not run: answers that came meanwhile are still
 * to be handled, so whoever was about to be blamed gets at least `graceMs` from now.
 */
export function putOff(
  members: Iterable<Member>,
  relays: Iterable<Relay>,
  lostMs: number,
  graceMs: number,
  now: Instant,
): void {
  for (const member of members) {
    const { doubters, probe, suspicion } = member;
    member.heardMs = Math.min(now.monoMs, member.heardMs + lostMs);
    for (const [by, saidMs] of doubters) doubters.set(by, Math.min(now.monoMs, saidMs + lostMs));
    if (probe !== undefined) probe.nextMs = Math.max(probe.nextMs + lostMs, now.monoMs + probe.stepMs);
    if (suspicion === undefined) continue;
    suspicion.startMs = Math.min(now.monoMs, suspicion.startMs + lostMs);
    suspicion.evidenceMs = Math.max(suspicion.evidenceMs, now.monoMs + graceMs - LAST_WORD_MS);
    suspicion.nextCheckMs = now.monoMs;
  }
  for (const relay of relays) relay.nackMs = Math.max(relay.nackMs + lostMs, now.monoMs);
}
