/**
 * The rows of other accounts, and how much of what they say can be believed.
 *
 * A row is signed by its writer, which proves who said it, not that it is true. It is believed where the money adds up:
 * the reserve granted what it claims to have been granted, whoever it says it got rights from says so too, and the same
 * holds for those. (It may go round in a circle: whatever a set of liars tells about each other, what comes out of the set
 * is then no more than what was granted into it.) What cannot be checked yet is not refused but waits.
 *
 * A writer that takes something back, or says two things under one number, has lost its memory, was copied, or cheats:
 * it is put in quarantine, and nothing it says from then on counts. What was taken in before is bounded by its rights.
 */
import { limits } from '../kernel/limits.ts';
import { type Amount, ZERO } from './amount.ts';
import type { AccountId, PurseKey } from './names.ts';
import { type Row, standingOf } from './row.ts';

type Others = ReadonlyMap<AccountId, OtherAccount>;

export interface Heard {
  readonly row: Row;
  /** Sequence of the signed record that carried it. */
  readonly version: number;
  /** Of an account that this node's data stood for: nobody was told it. */
  readonly isUntold?: boolean;
}

export interface Contradiction {
  readonly purse: PurseKey;
  readonly account: AccountId;
  readonly first: Heard;
  readonly second: Heard;
}

export type Hearing = 'newer' | 'known' | 'quarantined' | 'full' | 'contradicts';

/** Contradicting rows kept of one account: each may back as much as its rights. */
const BRANCHES = 3;

interface OtherAccount {
  heard: Heard | undefined;
  /** Rows that contradict it: whoever was told one of these took its money in good faith. */
  readonly branches: Row[];
  /** The newest that it wrote after what it was written off on, where an earlier one was heard too. */
  late: Row | undefined;
  /** By the register. */
  granted: Amount;
  /** Written off: rows with a higher sequence come from an account that should not be alive. */
  lastSequence: number;
  /** What a write-off took of what it was granted, what came back before included. */
  takenBack: Amount | undefined;
}

/** An account was written off, with what the register has of that. */
export interface End {
  readonly lastSequence: number;
  readonly takenBack: Amount;
}

export class Rows {
  readonly #purses = new Map<PurseKey, Map<AccountId, OtherAccount>>();
  readonly #isQuarantined: (account: AccountId) => boolean;
  readonly #proofs: Contradiction[] = [];
  #count = 0;

  /** Whoever contradicts itself is told of and not heard again as soon as `isQuarantined` says so, which the caller keeps over restarts. */
  constructor(isQuarantined: (account: AccountId) => boolean) {
    this.#isQuarantined = isQuarantined;
  }

  /** Those in which anything is known of others. */
  get purses(): Iterable<PurseKey> {
    return this.#purses.keys();
  }

  /** Accounts, purse by purse. */
  get count(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#purses.size === 0;
  }

  /** Oldest first, a bounded number. */
  get proofs(): readonly Contradiction[] {
    return this.#proofs;
  }

  hear(purse: PurseKey, account: AccountId, heard: Heard): Hearing {
    if (this.#isQuarantined(account)) return 'quarantined';
    const other = this.#other(purse, account);
    if (other === undefined) return 'full';
    const known = other.heard;
    if (known === undefined) {
      other.heard = heard;
      return 'newer';
    }
    if (isLate(heard, other) && !isLate(known, other)) return hearLate(other, known.row, heard.row);
    const standing = standingOf(heard.row, known.row);
    // Signed later, and yet older: its writer went back in time, even if it takes nothing back.
    const wentBack = standing === 'older' && heard.version > known.version;
    if (known.isUntold === true && standing !== 'newer') {
      if (standing !== 'contradicts') return 'known';
      // This data went on from an older state. What others know of the account counts; some may have got something of this in good faith.
      if (other.branches.length < BRANCHES) other.branches.push(known.row);
      other.heard = heard;
      return 'newer';
    }
    if (standing === 'contradicts' || wentBack) {
      if (this.#proofs.length < limits.budgetProofs)
        this.#proofs.push({ purse, account, first: known, second: heard });
      if (other.branches.length < BRANCHES) other.branches.push(heard.row);
      return 'contradicts';
    }
    if (standing !== 'newer') return 'known';
    other.heard = heard;
    return 'newer';
  }

  /** What the register grants to another account, in all. */
  registered(purse: PurseKey, account: AccountId, granted: Amount, end?: End): void {
    const other = this.#other(purse, account);
    if (other === undefined) return;
    if (granted > other.granted) other.granted = granted;
    if (end === undefined) return;
    other.lastSequence = Math.min(other.lastSequence, end.lastSequence);
    other.takenBack = end.takenBack;
  }

  row(purse: PurseKey, account: AccountId): Row | undefined {
    return this.#purses.get(purse)?.get(account)?.heard?.row;
  }

  /** Every account known in a purse, with its newest row, the version of that, and what the register says. */
  *of(purse: PurseKey): Generator<{
    readonly account: AccountId;
    readonly row: Row | undefined;
    readonly version?: number;
    readonly granted: Amount;
  }> {
    for (const [account, { heard, granted }] of this.#purses.get(purse) ?? [])
      yield heard === undefined
        ? { account, row: undefined, granted }
        : { account, row: heard.row, version: heard.version, granted };
  }

  /** What accounts sent to `self` that can be believed, in all: at least what was believed before. */
  creditsFor(purse: PurseKey, self: AccountId, own: Row): ReadonlyMap<AccountId, Amount> {
    const credits = new Map<AccountId, Amount>();
    let sound: ReadonlyMap<Row, AccountId> | undefined;
    for (const [account, other] of this.#purses.get(purse) ?? []) {
      const { heard } = other;
      const total = heard?.row.sent.get(self) ?? ZERO;
      if (heard === undefined || total <= (own.received.get(account) ?? ZERO)) continue;
      // Of what it sent after the row on which it was written off, the reserve has all.
      if (this.#isQuarantined(account) || isLate(heard, other)) continue;
      sound ??= this.#sound(purse, self, own);
      if (sound.has(heard.row)) credits.set(account, total);
    }
    return credits;
  }

  /** Those whose transfers could be taken in: what others have counts for this node only then. */
  credible(purse: PurseKey, self: AccountId, own: Row): ReadonlySet<AccountId> {
    const sound = this.#sound(purse, self, own);
    const credible = new Set<AccountId>();
    for (const [account, { heard }] of this.#purses.get(purse) ?? [])
      if (heard !== undefined && sound.has(heard.row) && !this.#isQuarantined(account)) credible.add(account);
    return credible;
  }

  forget(purse: PurseKey): void {
    this.#count -= this.#purses.get(purse)?.size ?? 0;
    this.#purses.delete(purse);
  }

  /** Rows for which the money adds up: of all that were heard, those are taken out for which it does not, until it does for all that are left. */
  #sound(purse: PurseKey, self: AccountId, own: Row): ReadonlyMap<Row, AccountId> {
    const others: Others = this.#purses.get(purse) ?? new Map();
    const sound = new Map<Row, AccountId>();
    const takers = new Map<AccountId, Row[]>();
    for (const [account, other] of others) {
      for (const row of saidBy(other)) {
        sound.set(row, account);
        for (const from of row.received.keys()) {
          const of = takers.get(from) ?? [];
          of.push(row);
          takers.set(from, of);
        }
      }
    }
    const covered = new Map<AccountId, boolean>();
    const isCovered = (account: AccountId): boolean => {
      const found = covered.get(account) ?? isCoveredByEnd(others, account, [self, own], sound);
      covered.set(account, found);
      return found;
    };
    const isBacked = (writer: AccountId, row: Row): boolean => {
      if (row.granted > (others.get(writer)?.granted ?? ZERO)) return false;
      for (const [from, total] of row.received) {
        const said = from === self ? [own] : saidBy(others.get(from)).filter((each) => sound.has(each));
        if (!said.some(({ sent }) => (sent.get(writer) ?? ZERO) >= total) && !isCovered(from)) return false;
      }
      return true;
    };
    for (const open = [...sound.keys()]; open.length > 0; ) {
      for (let row = open.pop(); row !== undefined; row = open.pop()) {
        const writer = sound.get(row);
        if (writer === undefined || isBacked(writer, row)) continue;
        sound.delete(row);
        for (const taker of takers.get(writer) ?? []) open.push(taker);
      }
      // What those had who were written off may have come out of rows that are out by now.
      for (const [account, was] of covered) {
        if (!was || isCoveredByEnd(others, account, [self, own], sound)) continue;
        covered.set(account, false);
        for (const taker of takers.get(account) ?? []) open.push(taker);
      }
    }
    return sound;
  }

  #other(purse: PurseKey, account: AccountId): OtherAccount | undefined {
    let others = this.#purses.get(purse);
    if (others === undefined) {
      others = new Map();
      this.#purses.set(purse, others);
    }
    let other = others.get(account);
    if (other === undefined) {
      if (this.#count >= limits.budgetRows) return undefined;
      this.#count++;
      other = {
        heard: undefined,
        branches: [],
        late: undefined,
        granted: ZERO,
        lastSequence: Number.MAX_SAFE_INTEGER,
        takenBack: undefined,
      };
      others.set(account, other);
    }
    return other;
  }
}

function saidBy(other: OtherAccount | undefined): readonly Row[] {
  if (other?.heard === undefined) return [];
  const { heard, late, branches } = other;
  return late === undefined ? [heard.row, ...branches] : [heard.row, late, ...branches];
}

/** Written after what its account was written off on. */
function isLate({ row }: Heard, { lastSequence }: OtherAccount): boolean {
  return row.sequence > lastSequence;
}

/** It moves nothing, and `known` is what counts. But who had not heard of the end took in what it sent in good faith, and cannot prove it otherwise. */
function hearLate(other: OtherAccount, known: Row, row: Row): Hearing {
  if (standingOf(row, other.late ?? known) !== 'newer') return 'known';
  other.late = row;
  return 'newer';
}

/**
 * Who was written off cannot say any more what it sent, and what it said may be lost with its disk. So those who say that they got
 * something of it are believed, as long as they and the reserve got no more than it had got: of the reserve, and of those whose
 * own money adds up.
 */
function isCoveredByEnd(
  others: Others,
  account: AccountId,
  [self, own]: readonly [AccountId, Row],
  sound: ReadonlyMap<Row, AccountId>,
): boolean {
  const ended = others.get(account);
  if (ended?.takenBack === undefined) return false;
  const known = ended.heard === undefined || isLate(ended.heard, ended) ? undefined : ended.heard.row;
  let inflow: number = ended.granted + (own.sent.get(account) ?? 0);
  let outflow: number =
    ended.takenBack + Math.max(own.received.get(account) ?? 0, known?.sent.get(self) ?? 0);
  for (const [partner, other] of others) {
    if (partner === account) continue;
    const said = saidBy(other);
    const sent = said.map((row) => (sound.has(row) ? (row.sent.get(account) ?? 0) : 0));
    inflow += Math.max(0, ...sent);
    const received = said.map((row) => row.received.get(account) ?? 0);
    outflow += Math.max(known?.sent.get(partner) ?? 0, ...received);
  }
  return outflow <= inflow;
}

/** Whether an own row that came back from others tells nothing that `own` does not. */
export function isRemembered(returned: Row, own: Row): boolean {
  const standing = standingOf(returned, own);
  return standing === 'same' || standing === 'older';
}
