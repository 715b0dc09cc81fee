import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Problem } from '../view.ts';
import type { RefusalCode } from './hello.ts';

/** Who refused whom: advice differs, since one's own clock or certificate may be the wrong one. */
export type Side = 'we-refused' | 'they-refused';

interface Incident {
  readonly peer: NodeId;
  readonly code: RefusalCode;
  readonly side: Side;
  readonly address: string;
  readonly ms: number;
  /** What both sides speak, in words; only with `protocol-version`. */
  readonly versions: string;
}

/** Recent refusals, in the words of a person who must mend them. Bounded; one entry for each peer and code. */
export class Problems {
  readonly #entries = new Map<
    string,
    { readonly peer: NodeId; readonly problem: Problem; readonly atMs: number; readonly isTold: boolean }
  >();
  /** When each was last news; outlives `clear`, since a copy of a node admits its peers before they refuse it, again and again. */
  readonly #toldMs = new Map<string, number>();

  /** True where it is news rather than a repetition; of one kind at most once within `limits.linkProblemQuietMs`. */
  add(incident: Incident, nowMs: number): boolean {
    this.#forgetOld(nowMs);
    const key = `${incident.peer} ${incident.code} ${incident.side}`;
    const wasTold = this.#entries.get(key)?.isTold === true;
    const isNews =
      !wasTold && nowMs - (this.#toldMs.get(key) ?? Number.NEGATIVE_INFINITY) >= limits.linkProblemQuietMs;
    if (isNews) {
      makeRoom(this.#toldMs, key);
      this.#toldMs.set(key, nowMs);
    }
    makeRoom(this.#entries, key);
    this.#entries.set(key, {
      peer: incident.peer,
      problem: describe(incident),
      atMs: nowMs,
      isTold: wasTold || isNews,
    });
    return isNews;
  }

  /** The peer was admitted: whatever was wrong with it is mended. */
  clear(peer: NodeId): void {
    for (const [key, entry] of this.#entries) if (entry.peer === peer) this.#entries.delete(key);
  }

  list(nowMs: number): readonly Problem[] {
    this.#forgetOld(nowMs);
    return [...this.#entries.values()].map((entry) => entry.problem);
  }

  #forgetOld(nowMs: number): void {
    for (const [key, entry] of this.#entries) {
      if (nowMs - entry.atMs > limits.linkProblemMs) this.#entries.delete(key);
    }
    for (const [key, toldMs] of this.#toldMs) {
      if (nowMs - toldMs >= limits.linkProblemQuietMs) this.#toldMs.delete(key);
    }
  }
}

/** For an entry at the end: drops the former one of that key, and the oldest where there is no room. */
function makeRoom(entries: Map<string, unknown>, key: string): void {
  entries.delete(key);
  const oldest = entries.keys().next();
  if (entries.size >= limits.linkProblems && !oldest.done) entries.delete(oldest.value);
}

function describe(incident: Incident): Problem {
  const { peer, code, side, address } = incident;
  const who = `${peer} at ${address}`;
  const action = side === 'we-refused' ? `This node refused ${who}` : `The node ${who} refused this one`;
  const { why, hint } = EXPLANATIONS[code](incident);
  return { code: `link.${code}`, message: `${action}: ${why}.`, hint };
}

type Explain = (incident: Incident) => { readonly why: string; readonly hint: string };

const seconds = (ms: number) => `${Math.round(Math.abs(ms) / 1_000)} seconds`;

const EXPLANATIONS: Record<RefusalCode, Explain> = {
  malformed: () => ({
    why: 'its greeting could not be read',
    hint: 'Something other than Skein, or a damaged version of it, runs at that address: see what it is, and remove it from mesh.peers if it does not belong there.',
  }),
  'protocol-version': ({ versions }) => ({
    why: `the two speak no common protocol version (${versions})`,
    hint: 'Update the older of the two; versions next to each other understand one another.',
  }),
  'wrong-swarm': () => ({
    why: 'the two have different swarm secrets',
    hint: 'If they belong together, give both the same secret (SKEIN_SWARM_SECRET, or the file swarm.secret in the data directory) and restart. If not, all is well.',
  }),
  'bad-certificate': () => ({
    why: "its certificate does not bear the swarm's signature, or is another node's",
    hint: 'If you know that machine, let it join again; if not, somebody tries to pass for a member.',
  }),
  'not-yet-valid': ({ side }) => ({
    why: 'the certificate is valid only from a later date',
    hint: `Set the clocks of both machines by NTP (timedatectl set-ntp true); most likely ${side === 'we-refused' ? 'this one is late or the other one' : 'the other one is late or this one'} is ahead.`,
  }),
  expired: ({ side }) => ({
    why: 'the certificate has expired',
    hint: `Restart ${side === 'we-refused' ? 'the other node' : 'this node'} to renew its certificate (or let it join again, where the swarm uses invitations), and see that its clock is right.`,
  }),
  clock: ({ ms }) => ({
    why: `their clocks are ${seconds(ms)} apart, more than the ${seconds(limits.clockSkewMs)} that are allowed`,
    hint: 'Set the clocks of both machines by NTP (timedatectl set-ntp true; chronyc tracking shows the offset), then wait a moment.',
  }),
  'identity-twice': () => ({
    why: 'two machines use the same identity',
    hint: 'A data directory was copied. On one of the two machines stop the node, move identity.key away and start again: it then gets an identity of its own. If the copy is gone already, restart the node that was refused.',
  }),
  barred: ({ ms }) => ({
    why: `it broke the protocol again and again, and is barred for another ${seconds(ms)}`,
    hint: 'See the log of both nodes for what was wrong; update the older one. The bar ends by itself.',
  }),
  silent: () => ({
    why: `no greeting came within ${seconds(limits.helloTimeoutMs)}`,
    hint: 'Something other than Skein may be listening at that address, or the machine is overloaded.',
  }),
};
