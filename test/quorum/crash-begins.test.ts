/** A node that dies while it begins a store: what of it reached the disk must be the store before, or the new one. */
import { describe, expect, it } from 'vitest';
import { nodeCryptography, signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import { utf8 } from '../../src/kernel/codec.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { Instant } from '../../src/kernel/time.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { quorumConfigOf } from '../../src/node/quorum-config.ts';
import type { QuorumEffect, QuorumEvent } from '../../src/quorum/messages.ts';
import { Quorum } from '../../src/quorum/quorum.ts';

const self = nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(1)).publicKey);
const other = nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(2)).publicKey);

/** One node on a disk that takes everything at once. */
class Host {
  readonly quorum: Quorum;
  readonly journal: Uint8Array[];
  readonly answers = new Map<number, unknown>();
  /** Of the last answer: what it waited for, and the records that were ordered to disk before it. */
  answered = { stream: '', records: 0 };
  /** The most that was ordered to disk before it was waited for. */
  mostBytes = 0;
  #waitingBytes = 0;
  now: Instant = { monoMs: 1_000, wallMs: 0 };
  #lastId = 0;

  constructor(journal: readonly Uint8Array[], run: number) {
    this.journal = [...journal];
    this.quorum = new Quorum({
      self,
      config: quorumConfigOf({
        voters: 3,
        foundAfterMs: 100,
        replaceAfterMs: 60_000,
        reads: 'index',
        isToldOfOthers: false,
        roles: ['worker'],
      }),
      cryptography: nodeCryptography,
      nonce: Uint8Array.of(run),
      rng: seededRng(run),
      now: this.now,
    });
    this.quorum.load(
      journal.map((record) => record.subarray(1)),
      false,
      this.now,
    );
  }

  deliver(event: QuorumEvent): void {
    this.#carryOut(this.quorum.handle(event, this.now));
  }

  run(forMs: number): void {
    const endMs = this.now.monoMs + forMs;
    for (;;) {
      const atMs = Math.max(this.now.monoMs, this.quorum.deadline()?.atMs ?? endMs);
      if (atMs >= endMs) break;
      this.now = { monoMs: atMs, wallMs: 0 };
      this.#carryOut(this.quorum.expire(this.now));
    }
    this.now = { monoMs: endMs, wallMs: 0 };
  }

  ask(call: Extract<QuorumEvent, { kind: 'quorumRequested' }>['call']): unknown {
    const id = ++this.#lastId;
    this.deliver({ kind: 'quorumRequested', id, call });
    this.run(50);
    return this.answers.get(id);
  }

  #carryOut(effects: readonly QuorumEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'persist') {
        this.journal.push(...effect.records);
        for (const record of effect.records) this.#waitingBytes += record.length;
        this.mostBytes = Math.max(this.mostBytes, this.#waitingBytes);
      } else if (effect.kind === 'answer') {
        this.answers.set(effect.id, effect.result);
        this.answered = { stream: effect.stream, records: this.journal.length };
      } else if (effect.kind === 'awaitDisk') {
        this.#waitingBytes = 0;
        this.deliver({ kind: 'diskReached', stream: effect.stream, sequence: effect.sequence });
      }
    }
  }
}

function put(key: string, value = utf8('v')) {
  const then = [{ op: 'put', key, value } as const];
  return { op: 'transact', transaction: { compares: [], then, otherwise: [] } } as const;
}

describe('a crash while a store is begun', () => {
  it('founding: after any of its records a restart founds again, or leads what was founded', () => {
    const whole = new Host([], 1);
    whole.run(3_000);
    expect(whole.quorum.status().role).toBe('leader');
    for (let count = 0; count <= whole.journal.length; count++) {
      const host = new Host(whole.journal.slice(0, count), 2);
      host.run(5_000);
      expect(host.quorum.status().role, `after ${count} of ${whole.journal.length} records`).toBe('leader');
      expect(host.ask(put('a'))).toMatchObject({ ok: true });
    }
  });

  it.each([
    [0, 1],
    [40, 30],
  ])(
    'recovering: after any of its records a restart has everything, in the old store or the new (%i large values)',
    (large, step) => {
      const first = new Host([], 3);
      first.run(3_000);
      const value = new Uint8Array(500 * 1024).fill(120);
      for (let key = 0; key < large; key++)
        expect(first.ask(put(`k${key}`, value))).toMatchObject({ ok: true });
      for (const key of 'abc') expect(first.ask(put(key))).toMatchObject({ ok: true });
      // A second voter that never answers again: the majority is lost.
      const { replica } = first.quorum;
      const lost = `${other}/zzz` as NonNullable<typeof replica>['server'];
      first.deliver({ kind: 'peerUp', peer: other });
      const change = { kind: 'changeAsked', token: 0, voters: [replica!.server, lost] } as const;
      for (const effect of replica!.step(change, first.now))
        if (effect.kind === 'persist') first.journal.push(...effect.records);
      first.run(5_000);
      const before = first.journal.length;
      const store = first.quorum.status().store;
      expect(first.quorum.status().leader).toBeUndefined();
      first.mostBytes = 0;
      expect(first.ask({ op: 'recover' })).toMatchObject({ ok: true });
      expect(first.mostBytes).toBeLessThan(10 * 2 ** 20);
      // Behind the disk, and not before all of it was given to the disk.
      expect(first.answered.stream).toBe('quorum');
      const told = new Host(first.journal.slice(0, first.answered.records), 5);
      expect(told.quorum.status().store).toBe(first.quorum.status().store);
      expect(first.quorum.status().store).not.toBe(store);
      for (let count = before; count <= first.journal.length; count += step) {
        const host = new Host(first.journal.slice(0, count), 4);
        const where = `after ${count - before} of ${first.journal.length - before} records`;
        host.run(5_000);
        const isOld = host.quorum.status().store === store;
        if (isOld) expect(host.ask({ op: 'recover' }), where).toMatchObject({ ok: true });
        host.run(5_000);
        expect(host.ask({ op: 'get', key: 'c' }), where).toMatchObject({
          value: { found: [{ version: 1 }] },
        });
        expect(host.quorum.register.usage.keys, where).toBe(3 + large);
      }
    },
  );
});
