/** Runs a cluster of cores under faults that a seed chooses, then heals everything and demands progress. */
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { ServerId } from '../../../src/quorum/raft/types.ts';
import { TestCluster } from './cluster.ts';

export interface FuzzResult {
  readonly committed: number;
  readonly leaders: number;
  readonly crashes: number;
  readonly changes: number;
  readonly transfers: number;
  readonly snapshots: number;
  readonly reads: number;
  readonly diskFailures: number;
  readonly pauses: number;
}

export class Fuzz {
  readonly #rng: Rng;
  readonly cluster: TestCluster;
  readonly #names: string[];
  #cut = new Set<string>();
  #count = 0;
  /** In one step. */
  readonly #faults: number;
  readonly #counts = { crashes: 0, diskFailures: 0, pauses: 0 };

  constructor(seed: number) {
    const rng = seededRng(seed);
    this.#rng = rng;
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const voters = names.slice(0, 1 + rng.below(5));
    this.#names = names;
    this.#faults = rng.pick([0.001, 0.004, 0.02]);
    this.cluster = new TestCluster({
      voters,
      others: names.slice(voters.length),
      seed: rng.uint32(),
      config: {
        reads: rng.chance(0.5) ? 'lease' : 'index',
        // Small enough that every bound is met.
        appendBytes: rng.pick([40, 200, 16_384]),
        inFlightBytes: rng.pick([100, 1_000, 65_536]),
        uncommittedBytes: rng.pick([500, 1_000_000]),
        tailEntries: rng.below(8),
      },
    });
  }

  run(steps: number): FuzzResult {
    for (let step = 0; step < steps; step++) this.#step();
    this.#heal();
    const { seen, watch } = this.cluster;
    const count = (test: (effect: (typeof seen)[number]['effect']) => boolean) =>
      seen.reduce((sum, { effect }) => sum + (test(effect) ? 1 : 0), 0);
    return {
      committed: watch.committed.length,
      leaders: count((effect) => effect.kind === 'leadership' && effect.role === 'leader'),
      changes: count((effect) => effect.kind === 'reconfigured'),
      transfers: count((effect) => effect.kind === 'transferred'),
      snapshots: count((effect) => effect.kind === 'snapshotWanted'),
      reads: count((effect) => effect.kind === 'readReady'),
      ...this.#counts,
    };
  }

  #step(): void {
    if (this.#rng.chance(this.#faults)) this.#breakSomething();
    if (this.#rng.chance(this.#faults / 4)) this.#cutLinks();
    const dice = this.#rng.below(980);
    if (dice < 600) this.#network();
    else if (dice < 800) this.#disk();
    else if (dice < 880) this.#pass();
    else if (dice < 960) this.#work();
    else this.#manage();
  }

  #anyName(): string {
    // Mostly whoever leads: the others refuse most of what is asked.
    return (this.#rng.chance(0.7) ? this.cluster.leaderName() : undefined) ?? this.#rng.pick(this.#names);
  }

  #network(): void {
    const { network } = this.cluster;
    if (network.length === 0) return;
    // Mostly in order, sometimes not.
    const place = this.#rng.chance(0.7) ? 0 : this.#rng.below(Math.min(network.length, 20));
    const [parcel] = this.#rng.chance(0.05) ? [network[place]] : network.splice(place, 1);
    if (parcel === undefined) return;
    const { from, to } = parcel.kind === 'message' ? parcel.message : parcel;
    if (this.cluster.server(to).isPaused) network.push(parcel);
    else if (this.#rng.chance(0.05) || this.#cut.has(`${from} ${to}`)) this.cluster.drop(parcel);
    else this.cluster.deliver(parcel);
    if (network.length > 500) for (const lost of network.splice(0, 250)) this.cluster.drop(lost);
  }

  #disk(): void {
    const busy = this.cluster.alive.filter((each) => each.queue.length > 0 && !each.isPaused);
    if (busy.length > 0) this.cluster.syncDisk(this.#rng.pick(busy).id, 1 + this.#rng.below(6));
  }

  #pass(): void {
    const { cluster } = this;
    if (cluster.expireDue()) return;
    cluster.nowMs += this.#rng.below(this.#rng.chance(0.05) ? 80 : 6);
    cluster.expireDue();
  }

  #work(): void {
    const name = this.#anyName();
    if (this.#rng.chance(0.6)) {
      if (this.cluster.server(name).isPaused) return;
      const texts = Array.from({ length: 1 + this.#rng.below(4) }, () => `v${this.#count++}`);
      this.cluster.propose(name, ...texts);
    } else {
      // Whoever believes to lead, wrongly perhaps: the one that must not answer from what it has.
      const leaders = this.cluster.alive.filter((each) => each.raft!.role === 'leader');
      this.#read(this.#rng.chance(0.7) && leaders.length > 0 ? this.#rng.pick(leaders).id : name);
    }
  }

  #read(name: string): void {
    const token = this.#count++;
    const server = this.cluster.server(name);
    // Mostly asleep for long enough that the others go on without it.
    if (server.isPaused && this.#rng.chance(0.9)) return;
    server.isPaused = false;
    this.cluster.watch.handleReadAsked(name, token);
    this.cluster.tell(name, { kind: 'readAsked', token });
  }

  #manage(): void {
    const { cluster } = this;
    const name = this.#anyName();
    if (this.cluster.server(name).isPaused) return;
    const token = this.#count++;
    const dice = this.#rng.below(10);
    if (dice < 4) {
      const voters = this.#rng.shuffled(this.#names).slice(0, 1 + this.#rng.below(5)) as ServerId[];
      cluster.tell(name, { kind: 'changeAsked', token, voters });
    } else if (dice < 6) {
      cluster.tell(name, { kind: 'transferAsked', token, to: this.#rng.pick(this.#names) as ServerId });
    } else this.#compact(this.#rng.pick(this.#names));
  }

  /** A durable snapshot; sometimes the server then starts from that. */
  #compact(name: string): void {
    const server = this.cluster.server(name);
    const { raft } = server;
    if (raft === undefined || server.hasDiskFailed) return;
    const index = raft.commitIndex;
    const point = raft.pointAt(index);
    if (point === undefined || index === server.disk.point.index || server.isPaused) return;
    this.cluster.syncDisk(name);
    if (server.raft?.pointAt(index) === undefined) return;
    raft.handle({ kind: 'snapshotted', index }, this.cluster.now);
    if (this.#rng.chance(0.5)) return;
    server.disk.point = point;
    server.disk.applied = index;
    server.disk.entries = server.disk.entries.filter((entry) => entry.index > index);
    this.cluster.crash(name);
    this.cluster.start(name);
  }

  #cutLinks(): void {
    const dice = this.#rng.below(4);
    if (dice < 2) this.#cut.clear();
    else if (dice < 3) {
      const lonely = this.#anyName();
      for (const other of this.#names) this.#cut.add(`${lonely} ${other}`).add(`${other} ${lonely}`);
    } else this.#cut.add(`${this.#rng.pick(this.#names)} ${this.#rng.pick(this.#names)}`);
  }

  #breakSomething(): void {
    const { cluster } = this;
    const broken = this.#names.filter((each) => {
      const { raft, hasDiskFailed, isPaused } = cluster.server(each);
      return raft === undefined || hasDiskFailed || isPaused;
    });
    const name = this.#rng.chance(0.6) && broken.length > 0 ? this.#rng.pick(broken) : this.#anyName();
    const server = cluster.server(name);
    if (server.isPaused) server.isPaused = false;
    else if (server.raft === undefined) {
      cluster.start(server.id);
    } else if (server.hasDiskFailed) {
      cluster.recoverDisk(server.id);
    } else if (this.#rng.chance(0.4)) {
      this.#counts.pauses++;
      server.isPaused = true;
    } else if (this.#rng.chance(0.3)) {
      this.#counts.diskFailures++;
      cluster.failDisk(server.id);
    } else {
      this.#counts.crashes++;
      cluster.crash(server.id, this.#rng.below(4));
    }
  }

  #heal(): void {
    const { cluster } = this;
    for (const name of this.#names) {
      cluster.server(name).isPaused = false;
      if (cluster.server(name).raft === undefined) cluster.start(name);
      if (cluster.server(name).hasDiskFailed) cluster.recoverDisk(name);
    }
    cluster.run(1_500);
    const before = cluster.watch.committed.length;
    cluster.elect();
    cluster.propose(cluster.leaderName()!, 'after all');
    const isHealed = () => {
      const { leader } = cluster;
      return (
        leader !== undefined &&
        leader.commitIndex > before &&
        !leader.isChanging &&
        this.#names.every((name) => cluster.raft(name).commitIndex === leader.commitIndex)
      );
    };
    cluster.runUntil(isHealed, 3_000);
  }
}
