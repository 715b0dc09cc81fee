/** What is on disk of a store that goes on under another name, and of snapshots when the disk fails. */
import { describe, expect, it } from 'vitest';
import { nodeCryptography } from '../../../src/adapters/node/cryptography.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import { quorumConfigOf } from '../../../src/node/quorum-config.ts';
import { freshIds } from '../../../src/quorum/calls/fresh-ids.ts';
import type { StoreFrame } from '../../../src/quorum/frames.ts';
import type { QuorumEffect } from '../../../src/quorum/messages.ts';
import { encodeCommand } from '../../../src/quorum/register/command.ts';
import { type StorageId, serverIdOf } from '../../../src/quorum/server.ts';
import { Carrier } from '../../../src/quorum/store/carrier.ts';
import type { ReplicaFact } from '../../../src/quorum/store/replica.ts';
import { EMPTY_POINT, StorageReader } from '../../../src/quorum/store/storage.ts';
import { nodeNumber, storeNumber } from '../names.ts';
import { Told } from '../register/support.ts';

const SELF = nodeNumber(1);
const LEADER = serverIdOf(nodeNumber(2), 7 as StorageId);
const OPEN = encodeCommand({ kind: 'openClient', client: 7 });
type Effects = readonly (QuorumEffect | ReplicaFact)[];

/** A carrier on a disk that takes everything, and says so when it is asked to. */
class Host {
  readonly carrier: Carrier;
  readonly journal: Uint8Array[] = [];
  /** Of the disk's answers those that were not given. */
  awaited: number[] = [];
  now = { monoMs: 1_000, wallMs: 0 };

  constructor() {
    const { raft } = quorumConfigOf({
      voters: 3,
      foundAfterMs: 100,
      replaceAfterMs: 60_000,
      reads: 'index',
      isToldOfOthers: false,
      roles: ['worker'],
    });
    const freshId = freshIds(nodeCryptography, Uint8Array.of(1));
    this.carrier = new Carrier({ self: SELF, raft, newestFormat: 1, freshId, rng: seededRng(1) });
  }

  note(effects: Effects): void {
    for (const effect of effects) {
      if (effect.kind === 'persist') this.journal.push(...effect.records);
      if (effect.kind === 'awaitDisk') this.awaited.push(effect.sequence);
    }
  }

  reachDisk(): void {
    for (let next = this.awaited.shift(); next !== undefined; next = this.awaited.shift())
      this.note(this.carrier.replica?.diskReached(next, this.now) ?? []);
  }

  run(forMs: number): void {
    for (const endMs = this.now.monoMs + forMs; this.now.monoMs < endMs; ) {
      this.now = { monoMs: this.now.monoMs + 10, wallMs: 0 };
      this.note(this.carrier.replica?.expire(this.now) ?? []);
      this.reachDisk();
    }
  }

  read(): StorageReader {
    const reader = new StorageReader();
    for (const record of this.journal) reader.take(record.subarray(1));
    return reader;
  }
}

describe('a storage that is renounced', () => {
  it('has on disk what its successor takes for stable, entries included that its leader had not sent yet (K37)', () => {
    const host = new Host();
    host.note(host.carrier.found(host.now));
    host.carrier.replica?.trust();
    host.run(3_000);
    expect(host.carrier.replica?.isLeader).toBe(true);
    const proposals = [1, 2, 3].map((token) => ({ token, command: OPEN }));
    host.note(host.carrier.replica?.step({ kind: 'proposed', proposals }, host.now) ?? []);
    host.note(host.carrier.renounce(host.now));
    const entries = host.carrier.replica?.raft.entries() ?? [];
    const { restored, identity } = host.read().stored();
    expect(entries.length).toBeGreaterThan(2);
    expect(restored.point.index + restored.entries.length).toBe(entries.at(-1)?.index);
    expect(restored.hardState).toEqual(host.carrier.replica?.raft.hardState);
    expect(identity?.carried).toEqual(host.carrier.replica?.carried);
    expect(host.read().damaged).toBe(false);
  });
});

describe('a snapshot that was given to a disk that fails', () => {
  it.each([1, 4, 5])(
    'is not kept, and the next transfer of it installs it (%i of 5 pieces were taken, K42, K31)',
    (taken) => {
      const told = new Told();
      for (let at = 0; at < 5; at++) told.put(`k${at}`, `${at}`.repeat(110_000));
      const pieces = [...told.register.capture()];
      expect(pieces).toHaveLength(5);
      const host = new Host();
      host.note(host.carrier.join(storeNumber(5), host.now));
      host.carrier.replica?.trust();
      const send = (transfer: number, count: number) => {
        // Pieces are taken from who is known to lead.
        const append = {
          kind: 'append',
          previousIndex: 0,
          previousTerm: 0,
          entries: [],
          commit: 0,
          round: 1,
          stable: 0,
        } as const;
        const to = host.carrier.replica?.server ?? LEADER;
        const message = { ...append, term: 1, from: LEADER, to };
        host.note(host.carrier.replica?.received(LEADER, { kind: 'raft', message }, host.now) ?? []);
        for (const [piece, bytes] of pieces.slice(0, count).entries()) {
          const point = {
            ...EMPTY_POINT,
            index: told.index,
            term: 1,
            configuration: { incoming: [LEADER], outgoing: [] },
          };
          const isLast = piece === pieces.length - 1;
          const frame: StoreFrame = { kind: 'snapshot', transfer, term: 1, point, piece, bytes, isLast };
          host.note(host.carrier.replica?.received(LEADER, frame, host.now) ?? []);
        }
      };
      const kept = () =>
        host.carrier.replica?.captured(host.carrier.identity).incoming.map(({ pieces }) => pieces.length);
      send(1, taken);
      expect(kept()).toEqual([taken]);
      host.awaited = [];
      host.note(host.carrier.replica?.step({ kind: 'diskFailed' }, host.now) ?? []);
      expect(kept()).toEqual([]);
      host.note(host.carrier.replica?.step({ kind: 'diskRecovered' }, host.now) ?? []);
      host.reachDisk();
      expect(host.carrier.replica?.appliedIndex).toBe(0);
      send(2, 5);
      host.reachDisk();
      expect(host.carrier.replica?.appliedIndex).toBe(told.index);
      expect(host.read().stored().register.digest()).toBe(told.register.digest());
    },
  );
});
