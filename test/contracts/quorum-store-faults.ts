/** What every quorum store must do while members die and come back (K20, K21, K24 to K26, K30, K39, K40, K47). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/kernel/limits.ts';
import type { QuorumStore } from '../../src/quorum/port.ts';
import {
  error,
  expectSound,
  increment,
  put,
  type Subject,
  Told,
  text,
  transaction,
  under,
  until,
  value,
  write,
} from './quorum-store-support.ts';

const TEST_MS = 60_000;
/** What a call may take beyond its bound on a machine that does much else. */
const LENIENCE_MS = 1_500;

type Faults = NonNullable<Subject['faults']>;

export function describeQuorumStoreFaults(name: string, make: () => Promise<Subject>): void {
  describe(`quorum store under faults, ${name}`, { timeout: TEST_MS }, () => {
    let subject: Subject;
    let faults: Faults;
    beforeAll(async () => {
      subject = await make();
      if (subject.faults === undefined)
        throw new Error('this suite is for engines whose members can be killed');
      faults = subject.faults;
      await writable(subject, everyMember(faults));
    }, 60_000);
    afterAll(async () => {
      await subject?.close();
    }, 30_000);

    it('every member killed in turn: no acknowledged increment is lost, none counts twice (K24, K25, K30, K40)', async () => {
      const load = new Load(subject, 'turn/counter');
      for (const member of everyMember(faults)) {
        load.leave(member);
        await faults.kill(member);
        await load.progresses('while a member is down');
        await faults.restart(member);
        await writable(subject, [member]);
        load.join(member);
        await load.progresses('with all members back');
      }
      await load.end();
      const { found } = value(await subject.stores[0]!.get('turn/counter', 'strong'));
      expect(found[0]?.version).toBe(Number(text(found[0]?.value)));
      expect(found[0]?.version).toBeGreaterThanOrEqual(load.done);
      expect(found[0]?.version).toBeLessThanOrEqual(load.done + load.unknown);
    });

    it('watches go on over the death of members, without gap or repetition (K47)', async () => {
      const watcher = faults.members - 1;
      const outlives = faults.storesOutlive;
      const first = await write(subject.stores[watcher]!, put('over/k', 'first'));
      const watches = [
        new Told(subject.stores[watcher]!, under('over/'), first.revision),
        new Told(subject.stores[watcher]!, under('over/none'), first.revision),
      ];
      const versions: number[] = [];
      for (const member of everyMember(faults)) {
        if (member === watcher && !outlives) continue;
        await faults.kill(member);
        const other = (member + 1) % faults.members;
        await writable(subject, [other]);
        for (let at = 0; at < 5; at++) {
          const answer = await increment(subject.stores[other]!, 'over/counter');
          if (answer.ok) versions.push(answer.value.revision);
        }
        await faults.restart(member);
        await writable(subject, [member]);
      }
      const last = await write(subject.stores[watcher]!, put('over/k', 'last'));
      await until(
        () => watches[0]?.changed.at(-1)?.revision === last.revision,
        'the last change is told',
        20_000,
      );
      const told = watches[0]?.changed ?? [];
      for (const revision of versions) expect(told.map((event) => event.revision)).toContain(revision);
      const counted = told.flatMap(({ changes }) =>
        changes.filter(({ entry }) => entry.key === 'over/counter'),
      );
      expect(counted.map(({ entry }) => entry.version)).toEqual(counted.map((_, at) => at + 1));
      for (const watch of watches) watch.end();
      expect(watches[1]?.changed).toEqual([]);
      expectSound(...watches);
    });

    it('without a majority calls are refused in time, mirrors answer on, and it goes on by itself (K21, K39)', async () => {
      const survivor = subject.stores[0]!;
      await write(survivor, put('minority/k', 'before'));
      await until(
        async () => value(await survivor.get('minority/k', 'mirror')).found.length === 1,
        'the mirror has it',
      );
      const dead = everyMember(faults).slice(1);
      for (const member of dead) await faults.kill(member);
      const outcomes: unknown[] = [];
      for (let round = 0; round < 3; round++) {
        const startMs = performance.now();
        const refused = await Promise.all([
          survivor.transact(transaction({ then: [put('minority/k', `refused ${round}`)] })),
          survivor.get('minority/k', 'strong'),
          survivor.range(under('minority/'), 10, 'strong'),
          survivor.grantLease(5_000),
        ]);
        expect(performance.now() - startMs).toBeLessThan(limits.quorumWaitMs + LENIENCE_MS);
        expect(refused.map((result) => error(result).code)).toEqual(Array(4).fill('QUORUM_UNAVAILABLE'));
        for (const result of refused)
          expect(['not-done', 'unknown']).toContain(error(result).details?.outcome);
        outcomes.push(error(refused[0]).details?.outcome);
        const mirrored = value(await survivor.get('minority/k', 'mirror'));
        expect(text(mirrored.found[0]?.value)).toBe('before');
      }
      for (const member of dead) await faults.restart(member);
      await writable(subject, everyMember(faults));
      const { found } = value(await survivor.get('minority/k', 'strong'));
      const taken = outcomes.flatMap((outcome, round) => (outcome === 'unknown' ? [`refused ${round}`] : []));
      expect(['before', ...taken]).toContain(text(found[0]?.value));
    });

    it('all killed at once come back with all that was acknowledged; leases are prolonged, not cut short (K26)', async () => {
      const lease = value(await subject.stores[0]!.grantLease(3_000));
      const grantedMs = performance.now();
      await write(subject.stores[0]!, put('all/leased', '', lease.id));
      const written = await write(subject.stores[0]!, put('all/k', 'v'));
      await Promise.all(everyMember(faults).map((member) => faults.kill(member)));
      await Promise.all(everyMember(faults).map((member) => faults.restart(member)));
      await writable(subject, everyMember(faults));
      const read = value(await subject.stores.at(-1)!.get('all/k', 'strong'));
      expect([text(read.found[0]?.value), read.found[0]?.modRevision]).toEqual(['v', written.revision]);
      const store = subject.stores[0]!;
      const told = new Told(store, under('all/'), written.revision);
      await until(() => told.lines.includes('-all/leased'), 'the lease ends', lease.ttlMs + 15_000);
      expect(performance.now() - grantedMs).toBeGreaterThanOrEqual(lease.ttlMs - 50);
      expect(told.lines).toEqual(['all/k=v', '-all/leased']);
      told.end();
      expectSound(told);
    });
  });
}

/** Increments from every store that is there, all the time. */
class Load {
  done = 0;
  unknown = 0;
  readonly #subject: Subject;
  readonly #key: string;
  readonly #running = new Map<number, { isOver: boolean; readonly over: Promise<void> }>();

  constructor(subject: Subject, key: string) {
    this.#subject = subject;
    this.#key = key;
    for (const member of everyMember(subject.faults!)) this.join(member);
  }

  join(member: number): void {
    if (this.#running.has(member)) return;
    const state = { isOver: false, over: Promise.resolve() };
    const store = this.#subject.stores[member]!;
    state.over = this.#run(store, state);
    this.#running.set(member, state);
  }

  /** The member's store is about to be gone; whatever it still answers is counted. */
  leave(member: number): void {
    if (this.#subject.faults?.storesOutlive === true) return;
    const state = this.#running.get(member);
    if (state !== undefined) state.isOver = true;
    this.#running.delete(member);
  }

  async progresses(when: string): Promise<void> {
    const from = this.done;
    await until(() => this.done >= from + 20, `the counter grows ${when}`, 20_000);
  }

  async end(): Promise<void> {
    for (const state of this.#running.values()) state.isOver = true;
    await Promise.all([...this.#running.values()].map(({ over }) => over));
  }

  async #run(store: QuorumStore, state: { isOver: boolean }): Promise<void> {
    while (!state.isOver) {
      const answer = await increment(store, this.#key);
      if (answer.ok) this.done++;
      else if (answer.error.details?.outcome !== 'not-done') this.unknown++;
      if (!answer.ok) await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function everyMember(faults: Faults): number[] {
  return Array.from({ length: faults.members }, (_, member) => member);
}

async function writable(subject: Subject, members: readonly number[]): Promise<void> {
  for (const member of members) {
    await until(
      async () => (await subject.stores[member]!.transact(transaction({ then: [put('writable')] }))).ok,
      `writes go through member ${member}`,
      20_000,
    );
  }
}
