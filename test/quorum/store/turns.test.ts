/** In whose turn a leader takes transactions that overwrite what was read. */
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../src/kernel/codec.ts';
import { limits } from '../../../src/kernel/limits.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import type { Compare } from '../../../src/quorum/port.ts';
import { encodeCommand, overwriteOf } from '../../../src/quorum/register/command.ts';
import { Register } from '../../../src/quorum/register/register.ts';
import { type Asked, Turns } from '../../../src/quorum/store/turns.ts';

const [A, B, C] = [1, 2, 3];

/** Reads `k` at `revision` and writes it. */
function overwrite(
  client: number,
  sequence: number,
  revision: number,
  compare: Partial<Compare> = {},
  bytes = 1,
) {
  return encodeCommand({
    kind: 'transact',
    client,
    sequence,
    lowestOutstanding: sequence,
    transaction: {
      compares: [{ target: 'modRevision', key: 'k', is: '=', than: revision, ...compare } as Compare],
      then: [{ op: 'put', key: 'k', value: utf8(`${client}`.repeat(bytes)) }],
      otherwise: [{ op: 'get', key: 'k' }],
    },
  });
}

/** A leader's register and turns; what goes into the log is applied when told to. */
class Leader {
  readonly register = new Register();
  readonly turns = new Turns();
  readonly log: Asked[] = [];
  readonly told: number[] = [];
  readonly proofs: number[] = [];
  #index = 0;
  #token = 0;
  #nowMs = 0;

  constructor(clients: readonly number[]) {
    for (const client of clients) this.#apply(encodeCommand({ kind: 'openClient', client }));
    this.put();
  }

  get now(): Instant {
    return { monoMs: this.#nowMs, wallMs: 0 };
  }

  /** `k` gets a new revision without anybody's turn. */
  put(): void {
    const [client] = [A];
    const transaction = {
      compares: [],
      then: [{ op: 'put', key: 'k', value: utf8('put') }],
      otherwise: [],
    } as const;
    const sequence = 1_000 + ++this.#index;
    this.#apply(encodeCommand({ kind: 'transact', client, sequence, lowestOutstanding: 1, transaction }));
  }

  ask(command: Uint8Array): void {
    const lastIndex = this.#index + this.log.length;
    this.turns.ask({ token: ++this.#token, command }, lastIndex, this.register, this.now);
    this.#take();
  }

  /** Everything that is in the log takes effect; in the order in which it stands there. */
  applyAll(): void {
    for (const { command } of this.log.splice(0)) this.#apply(command);
    this.#take();
  }

  applyFirst(): void {
    const [first] = this.log.splice(0, 1);
    if (first !== undefined) this.#apply(first.command);
    this.#take();
  }

  prove(isRefused = false): void {
    for (const proof of this.proofs.splice(0)) this.turns.proved(proof, isRefused, this.register, this.now);
    this.#take();
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    this.turns.expire(this.register, this.now);
    this.#take();
  }

  /** Clients of what is in the log. */
  get logged(): readonly number[] {
    return this.log.map(({ command }) => overwriteOf(command)?.client ?? 0);
  }

  #apply(command: Uint8Array): void {
    const applied = this.register.apply(++this.#index, command);
    this.turns.applied(applied, this.#index, this.register, this.now);
  }

  #take(): void {
    const taken = this.turns.take();
    if (taken === undefined) return;
    this.log.push(...taken.admitted);
    this.told.push(...taken.outdated.map(({ sequence }) => sequence));
    if (taken.proof !== undefined) this.proofs.push(taken.proof);
  }
}

function revisionOf(leader: Leader): number {
  return leader.register.get('k')?.modRevision ?? 0;
}

describe('turns', () => {
  it('of three at once one goes into the log; the others are told when it took effect, without the log', () => {
    const leader = new Leader([A, B, C]);
    const read = revisionOf(leader);
    leader.ask(overwrite(A, 1, read));
    leader.ask(overwrite(B, 2, read));
    leader.ask(overwrite(C, 3, read));
    leader.prove();
    expect(leader.logged).toEqual([A]);
    expect(leader.told).toEqual([]);
    leader.applyAll();
    expect(leader.told).toEqual([2, 3]);
    expect(leader.log).toEqual([]);
  });

  it('each keeps its place: the one that won goes behind those that came before its next', () => {
    const leader = new Leader([A, B, C]);
    for (const client of [A, B, C]) leader.ask(overwrite(client, 1, revisionOf(leader)));
    leader.prove();
    leader.applyAll();
    const turns: number[] = [A];
    let free = new Set([A, B, C]);
    for (let round = 2; round < 20; round++) {
      // The winner is always the first to be back, and of those that were told the last comes first.
      const next = revisionOf(leader);
      leader.told.length = 0;
      for (const client of [turns.at(-1) ?? A, C, B, A])
        if (free.delete(client)) leader.ask(overwrite(client, 10 * round + client, next));
      leader.prove();
      expect(leader.log).toHaveLength(1);
      turns.push(leader.logged[0] ?? 0);
      leader.applyAll();
      free = new Set([turns.at(-1) ?? A, ...leader.told.map((sequence) => sequence % 10)]);
    }
    turns.shift();
    for (const client of [A, B, C]) expect(turns.filter((each) => each === client)).toHaveLength(6);
  });

  it('of two calls of one node, one of which always comes first, each gets the better place now and then', () => {
    const wins = { first: 0, second: 0 };
    for (let sequence = 2; sequence < 400; sequence += 2) {
      const leader = new Leader([A, B]);
      const next = revisionOf(leader);
      leader.ask(overwrite(B, 1, next - 1));
      leader.ask(overwrite(A, sequence, next));
      leader.ask(overwrite(A, sequence + 1, next));
      leader.prove();
      leader.applyAll();
      const [won] = leader.log.map(({ command }) => overwriteOf(command)?.sequence);
      wins[won === sequence ? 'first' : 'second']++;
    }
    expect(Math.min(wins.first, wins.second)).toBeGreaterThan(60);
  });

  it('nobody is told before it is proved that it asks the leader', () => {
    const leader = new Leader([A, B]);
    leader.ask(overwrite(A, 1, revisionOf(leader)));
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    leader.applyAll();
    expect(leader.told).toEqual([]);
    expect(leader.log).toEqual([]);
    leader.prove();
    expect(leader.told).toEqual([2]);
  });

  /** A took effect, B was told and is expected, C waits behind it. */
  function withExpected(): Leader {
    const leader = new Leader([A, B, C]);
    for (const client of [A, B]) leader.ask(overwrite(client, 1, revisionOf(leader)));
    leader.prove();
    leader.applyAll();
    leader.ask(overwrite(C, 1, revisionOf(leader)));
    return leader;
  }

  it('what was appended after it came and is committed proves that it asks the leader', () => {
    const leader = withExpected();
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    expect(leader.logged).toEqual([B]);
    leader.applyAll();
    expect(leader.told).toEqual([1, 1]);
  });

  it.each([0, 1, 5])(
    'what was appended before it came proves nothing, though it is committed later (behind it %i others)',
    (others) => {
      const leader = new Leader([A, B]);
      const open = (client: number) => encodeCommand({ kind: 'openClient', client });
      leader.ask(overwrite(A, 1, revisionOf(leader)));
      for (let at = 0; at < others; at++) leader.ask(open(10 + at));
      leader.ask(overwrite(B, 2, revisionOf(leader)));
      leader.applyAll();
      expect(leader.told).toEqual([]);
      leader.ask(open(9));
      leader.applyAll();
      leader.pass(1);
      expect(leader.told).toEqual([2]);
    },
  );

  it('who came again is asked no proof for, and told only when its turn is next', () => {
    const leader = withExpected();
    leader.ask(overwrite(A, 2, revisionOf(leader)));
    expect(leader.proofs).toHaveLength(1);
    leader.prove();
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    leader.applyAll();
    expect(leader.told).toEqual([1, 1]);
    leader.ask(overwrite(C, 2, revisionOf(leader)));
    leader.applyAll();
    expect(leader.told).toEqual([1, 1, 2]);
    expect(leader.proofs).toEqual([]);
  });

  it('who is next is asked no proof for where what is under way was appended after it came', () => {
    const leader = withExpected();
    leader.prove();
    leader.ask(overwrite(A, 2, revisionOf(leader)));
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    leader.applyAll();
    leader.ask(overwrite(C, 2, revisionOf(leader)));
    expect(leader.logged).toEqual([C]);
    leader.applyAll();
    expect(leader.proofs).toEqual([]);
    expect(leader.told).toEqual([1, 1, 2]);
  });

  it('who is next and came while another’s is under way is proved meanwhile, and told when its turn is next', () => {
    const leader = new Leader([A, B, C]);
    for (const client of [A, B, C]) leader.ask(overwrite(client, 1, revisionOf(leader)));
    leader.prove();
    leader.applyAll();
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    expect(leader.logged).toEqual([B]);
    leader.ask(overwrite(C, 2, revisionOf(leader)));
    expect(leader.proofs).toHaveLength(1);
    leader.prove();
    expect(leader.told).toEqual([1, 1]);
    leader.applyAll();
    expect(leader.told).toEqual([1, 1, 2]);
  });

  it('where one that is expected does not come, all others are told: perhaps none comes again', () => {
    const leader = withExpected();
    leader.ask(overwrite(A, 2, revisionOf(leader)));
    leader.prove();
    leader.put();
    leader.pass(10);
    expect(leader.told).toEqual([1, 1, 2]);
    expect(leader.log).toEqual([]);
  });

  it('where that cannot be proved the log decides', () => {
    const leader = new Leader([A, B]);
    leader.ask(overwrite(A, 1, revisionOf(leader)));
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    leader.applyAll();
    leader.prove(true);
    expect(leader.told).toEqual([]);
    expect(leader.logged).toEqual([B]);
  });

  it('who is expected and does not come is waited for 10 ms and no longer', () => {
    const leader = new Leader([A, B, C]);
    const read = revisionOf(leader);
    leader.ask(overwrite(A, 1, read));
    leader.ask(overwrite(B, 2, read));
    leader.prove();
    leader.applyAll();
    leader.ask(overwrite(C, 3, revisionOf(leader)));
    expect(leader.turns.deadline()?.atMs).toBe(10);
    leader.pass(9);
    expect(leader.log).toEqual([]);
    leader.pass(1);
    expect(leader.logged).toEqual([C]);
    expect(leader.turns.deadline()).toBeUndefined();
  });

  it('one whose turn comes while its key is as it was read goes into the log', () => {
    const leader = new Leader([A, B]);
    const read = revisionOf(leader);
    leader.ask(overwrite(A, 1, read - 1));
    leader.ask(overwrite(B, 2, read));
    leader.prove();
    leader.applyAll();
    expect(leader.logged).toEqual([B]);
    expect(leader.told).toEqual([]);
  });

  it('a repetition of one that took effect is never told that it did not', () => {
    const leader = new Leader([A, B]);
    const read = revisionOf(leader);
    const command = overwrite(A, 1, read);
    leader.ask(command);
    leader.applyAll();
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    leader.ask(command);
    leader.prove();
    leader.applyAll();
    leader.applyAll();
    expect(leader.told).toEqual([]);
    expect(
      leader.register.isOutdated({
        client: A,
        sequence: 1,
        compared: [{ key: 'k', revision: read }],
        keys: ['k'],
      }),
    ).toBe(false);
  });

  it('a repetition of one in the log goes there too, and its key is free once both were applied', () => {
    const leader = new Leader([A, B]);
    const command = overwrite(A, 1, revisionOf(leader));
    leader.ask(command);
    leader.ask(command);
    expect(leader.logged).toEqual([A, A]);
    leader.applyAll();
    leader.ask(overwrite(B, 2, revisionOf(leader)));
    expect(leader.logged).toEqual([B]);
  });

  it('a key is free once all that overwrite it were applied, also where the bounds let several into the log', () => {
    const leader = new Leader([A, B, C]);
    const read = revisionOf(leader);
    leader.ask(overwrite(A, 1, read));
    const many = limits.quorumTurnsHeld;
    for (let sequence = 2; sequence < many + 3; sequence++) leader.ask(overwrite(B, sequence, read));
    expect(leader.logged).toEqual([A, B]);
    leader.applyFirst();
    leader.prove();
    leader.ask(overwrite(C, 1, revisionOf(leader)));
    leader.pass(20);
    expect(leader.logged).toEqual([B]);
    leader.applyAll();
    expect(leader.logged).toEqual([C]);
  });

  it('what was held and is no more does not count for what may be held', () => {
    const leader = new Leader([A, B]);
    const large = limits.quorumValueBytes;
    const rounds = 2 + Math.floor(limits.quorumTurnsHeldBytes / large);
    for (let sequence = 1; sequence <= rounds; sequence++) {
      leader.ask(overwrite(A, sequence, revisionOf(leader), {}, large));
      leader.ask(overwrite(B, sequence, revisionOf(leader), {}, large));
      expect(leader.logged).toEqual([A]);
      leader.prove();
      leader.applyAll();
      leader.pass(10);
    }
    expect(leader.told).toHaveLength(rounds);
  });

  it('one that comes twice while it is held has one place', () => {
    const leader = new Leader([A, B]);
    const read = revisionOf(leader);
    leader.ask(overwrite(A, 1, read));
    for (let times = 0; times < 3; times++) leader.ask(overwrite(B, 2, read));
    leader.prove();
    leader.applyAll();
    expect(leader.told).toEqual([2]);
  });

  it.each<[string, Uint8Array]>([
    ['creates', overwrite(B, 2, 0)],
    ['compares a version', overwrite(B, 2, 1, { target: 'version' })],
    ['compares by another relation', overwrite(B, 2, 1, { is: '>' })],
    ['is no transaction', encodeCommand({ kind: 'openClient', client: B })],
  ])('what %s never waits', (_, command) => {
    const leader = new Leader([A, B]);
    leader.ask(overwrite(A, 1, revisionOf(leader)));
    leader.ask(command);
    expect(leader.log).toHaveLength(2);
  });

  it('one whose answer its client has is not outdated: whether it took effect is not known any more', () => {
    const leader = new Leader([A]);
    const read = revisionOf(leader);
    leader.ask(overwrite(A, 1, read));
    leader.applyAll();
    const repeated = { client: A, sequence: 1, compared: [{ key: 'k', revision: read }], keys: ['k'] };
    expect(leader.register.isOutdated({ ...repeated, sequence: 3 })).toBe(true);
    leader.ask(overwrite(A, 2, revisionOf(leader)));
    leader.applyAll();
    expect(leader.register.isOutdated(repeated)).toBe(false);
    expect(leader.register.isOutdated({ ...repeated, sequence: 3 })).toBe(true);
  });

  it('one that a later write can make hold again is not outdated: only revisions never come back', () => {
    const { register } = new Leader([A]);
    const head = { client: A, sequence: 1, keys: ['k'] };
    const now = register.get('k')?.modRevision ?? 0;
    expect(register.isOutdated({ ...head, compared: [{ key: 'k', revision: now - 1 }] })).toBe(true);
    expect(register.isOutdated({ ...head, compared: [{ key: 'k', revision: now }] })).toBe(false);
    // Of a revision to come, which another leader has handed out.
    expect(register.isOutdated({ ...head, compared: [{ key: 'k', revision: now + 1 }] })).toBe(false);
    expect(register.isOutdated({ ...head, client: C, compared: [{ key: 'k', revision: 1 }] })).toBe(false);
  });

  it('what exceeds the bounds is not held', () => {
    const leader = new Leader([A, B]);
    leader.ask(overwrite(A, 1, revisionOf(leader)));
    for (let sequence = 2; sequence < limits.quorumTurnsHeld + 10; sequence++)
      leader.ask(overwrite(B, sequence, revisionOf(leader)));
    expect(leader.log).toHaveLength(1 + 8);
  });

  it('a new leader knows nothing of those that were held, and holds nobody back for them', () => {
    const leader = new Leader([A, B, C]);
    for (const client of [A, B]) leader.ask(overwrite(client, 1, revisionOf(leader)));
    leader.turns.clear();
    leader.log.length = 0;
    leader.ask(overwrite(C, 1, revisionOf(leader)));
    expect(leader.logged).toEqual([C]);
  });
});
