/**
 * Several Raft cores with a network, disks and state machines that the test controls, and a watch over all of them:
 * after every step it checks what must hold in every run (Ongaro 2014, figure 3.2), and more that follows from it.
 */
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import { jointTally } from '../../../src/quorum/arithmetic/joint.ts';
import { Raft } from '../../../src/quorum/raft/raft.ts';
import type {
  Configuration,
  HardState,
  LogEntry,
  RaftConfig,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  ServerId,
  SnapshotPoint,
} from '../../../src/quorum/raft/types.ts';

export const id = (name: string): ServerId => name as ServerId;
export const command = (text: string): Uint8Array => new TextEncoder().encode(text);

export const TEST_CONFIG: RaftConfig = {
  electionTimeoutMs: 100,
  heartbeatMs: 20,
  inFlightBytes: 64 * 1024,
  appendBytes: 16 * 1024,
  uncommittedBytes: 1024 * 1024,
  reads: 'index',
  leaseDriftMs: 20,
};

/** What travels: messages of the core, and snapshots, which are the host's business. */
export type Parcel =
  | { readonly kind: 'message'; readonly message: RaftMessage }
  | {
      readonly kind: 'snapshot';
      readonly from: ServerId;
      readonly to: ServerId;
      readonly term: number;
      readonly point: SnapshotPoint;
    };

type Queued =
  | { readonly kind: 'write'; readonly effect: RaftEffect }
  | { readonly kind: 'send'; readonly message: RaftMessage }
  | { readonly kind: 'await'; readonly sequence: number };

export interface DiskImage {
  hardState: HardState;
  point: SnapshotPoint;
  entries: LogEntry[];
  applied: number;
}

export class TestServer {
  readonly id: ServerId;
  readonly disk: DiskImage;
  raft: Raft | undefined;
  queue: Queued[] = [];
  /** A disk that is held answers nothing until it is let go. */
  isDiskHeld = false;
  hasDiskFailed = false;
  /** Does not run: no timer fires, nothing arrives. */
  isPaused = false;
  reachable: readonly ServerId[] = [];

  constructor(name: ServerId, configuration: Configuration) {
    this.id = name;
    this.disk = {
      hardState: { term: 0, votedFor: undefined },
      point: { index: 0, term: 0, configuration },
      entries: [],
      applied: 0,
    };
  }
}

export class TestCluster {
  readonly servers = new Map<ServerId, TestServer>();
  readonly config: RaftConfig;
  readonly rng: Rng;
  readonly network: Parcel[] = [];
  readonly seen: { readonly at: ServerId; readonly effect: RaftEffect }[] = [];
  readonly watch = new Watch(this);
  nowMs = 0;
  /** Told of everything that happens, for transcripts. */
  onEffect: (at: ServerId, effect: RaftEffect) => void = () => {};

  onDeliver: (message: RaftMessage) => void = () => {};

  constructor(options: {
    readonly voters: readonly string[];
    readonly others?: readonly string[];
    readonly seed?: number;
    readonly config?: Partial<RaftConfig>;
  }) {
    this.config = { ...TEST_CONFIG, ...options.config };
    this.rng = seededRng(options.seed ?? 1);
    const voters = options.voters.map(id).sort();
    for (const voter of voters) this.add(voter, { incoming: voters, outgoing: [] });
    for (const other of options.others ?? []) this.add(id(other), { incoming: [], outgoing: [] });
    for (const server of this.servers.values()) {
      server.reachable = [...this.servers.keys()].filter((each) => each !== server.id);
      this.start(server.id);
    }
  }

  add(name: ServerId, configuration: Configuration): void {
    this.servers.set(name, new TestServer(name, configuration));
  }

  server(name: string): TestServer {
    return this.servers.get(id(name))!;
  }

  raft(name: string): Raft {
    return this.server(name).raft!;
  }

  get now() {
    return { monoMs: this.nowMs, wallMs: this.nowMs };
  }

  get alive(): TestServer[] {
    return [...this.servers.values()].filter((server) => server.raft !== undefined);
  }

  get leader(): Raft | undefined {
    const leaders = this.alive.filter((server) => server.raft!.role === 'leader');
    return leaders.sort((a, b) => b.raft!.term - a.raft!.term)[0]?.raft;
  }

  leaderName(): string | undefined {
    return this.alive.find((server) => server.raft === this.leader)?.id;
  }

  start(name: string): void {
    const server = this.server(name);
    const { hardState, point, entries, applied } = server.disk;
    server.hasDiskFailed = false;
    server.raft = new Raft({
      self: server.id,
      config: this.config,
      rng: this.rng.fork(),
      now: this.now,
      restored: {
        hardState,
        point,
        entries: entries.filter((entry) => entry.index > point.index),
        applied: Math.max(applied, point.index),
      },
    });
    this.watch.handleStart(server);
    this.tell(name, { kind: 'serversReachable', servers: server.reachable });
  }

  /** `survivingWrites` of what was written and not synced happen to be on disk. */
  crash(name: string, survivingWrites = 0): void {
    const server = this.server(name);
    let left = survivingWrites;
    for (const item of server.queue) {
      if (item.kind !== 'write') continue;
      if (left-- <= 0) break;
      this.#write(server, item.effect);
    }
    server.queue = [];
    server.raft = undefined;
    server.isDiskHeld = false;
    server.isPaused = false;
  }

  tell(name: string, event: RaftEvent): readonly RaftEffect[] {
    const server = this.server(name);
    if (server.raft === undefined) return [];
    const effects = server.raft.handle(event, this.now);
    this.#perform(server, effects);
    return effects;
  }

  expire(name: string): readonly RaftEffect[] {
    const server = this.server(name);
    if (server.raft === undefined) return [];
    const effects = server.raft.expire(this.now);
    this.#perform(server, effects);
    return effects;
  }

  /** Expires whatever is due now, flushes included. */
  expireDue(): boolean {
    let isAny = false;
    for (const server of this.alive) {
      if (server.isPaused) continue;
      for (let turns = 0; turns < 10; turns++) {
        const deadline = server.raft?.deadline();
        if (deadline === undefined || deadline.atMs > this.nowMs) break;
        this.expire(server.id);
        isAny = true;
      }
    }
    return isAny;
  }

  deliver(parcel: Parcel): void {
    if (parcel.kind === 'snapshot') {
      this.#deliverSnapshot(parcel);
      return;
    }
    const { message } = parcel;
    if (this.server(message.to).raft !== undefined) this.onDeliver(message);
    this.tell(message.to, { kind: 'received', message });
  }

  /** The host of a snapshot's sender notices that it did not arrive. */
  drop(parcel: Parcel): void {
    if (parcel.kind !== 'snapshot') return;
    this.tell(parcel.from, { kind: 'snapshotSent', to: parcel.to, index: parcel.point.index, ok: false });
  }

  /** Everything queued at the disk of `name` is written, up to `items`. */
  syncDisk(name: string, items = Number.POSITIVE_INFINITY): void {
    const server = this.server(name);
    for (let done = 0; done < items && server.queue.length > 0; done++) {
      const item = server.queue.shift()!;
      if (item.kind === 'write') this.#write(server, item.effect);
      else if (item.kind === 'send') this.#post({ kind: 'message', message: item.message });
      else this.tell(name, { kind: 'diskReached', sequence: item.sequence });
    }
  }

  failDisk(name: string): void {
    const server = this.server(name);
    server.queue = [];
    server.hasDiskFailed = true;
    this.tell(name, { kind: 'diskFailed' });
  }

  recoverDisk(name: string): void {
    this.server(name).hasDiskFailed = false;
    this.tell(name, { kind: 'diskRecovered' });
  }

  /** Runs without faults until nothing but time is left to pass, then passes time up to `ms`. */
  run(ms: number, isCut: (from: string, to: string) => boolean = () => false): void {
    const untilMs = this.nowMs + ms;
    for (;;) {
      this.settle(isCut);
      const next = Math.min(
        ...this.alive.map((server) => server.raft?.deadline()?.atMs ?? Number.POSITIVE_INFINITY),
      );
      if (next > untilMs) break;
      this.nowMs = Math.max(this.nowMs, next);
      this.expireDue();
    }
    this.nowMs = untilMs;
  }

  settle(isCut: (from: string, to: string) => boolean = () => false): void {
    for (;;) {
      let isAny = this.expireDue();
      for (const server of this.alive) {
        if (server.isDiskHeld || server.queue.length === 0) continue;
        this.syncDisk(server.id);
        isAny = true;
      }
      const parcel = this.network.shift();
      if (parcel !== undefined) {
        isAny = true;
        const { from, to } = parcel.kind === 'message' ? parcel.message : parcel;
        if (isCut(from, to)) this.drop(parcel);
        else this.deliver(parcel);
      }
      if (!isAny) return;
    }
  }

  runUntil(
    condition: () => boolean,
    ms: number,
    isCut: (from: string, to: string) => boolean = () => false,
  ): void {
    const untilMs = this.nowMs + ms;
    while (!condition()) {
      if (this.nowMs >= untilMs) throw new Error(`not so within ${ms} ms: ${condition}`);
      this.run(5, isCut);
    }
  }

  /** A leader that all alive voters know, its log committed. */
  elect(isCut: (from: string, to: string) => boolean = () => false): Raft {
    this.runUntil(
      () => this.leader !== undefined && this.leader.commitIndex === this.leader.lastIndex,
      5_000,
      isCut,
    );
    return this.leader!;
  }

  propose(name: string, ...texts: string[]): readonly RaftEffect[] {
    const proposals = texts.map((text, token) => ({ token, command: command(text) }));
    return this.tell(name, { kind: 'proposed', proposals });
  }

  #perform(server: TestServer, effects: readonly RaftEffect[]): void {
    for (const effect of effects) {
      this.onEffect(server.id, effect);
      this.seen.push({ at: server.id, effect });
      this.watch.handleEffect(server, effect);
      switch (effect.kind) {
        case 'persistHardState':
        case 'persistEntries':
          if (!server.hasDiskFailed) server.queue.push({ kind: 'write', effect });
          break;
        case 'awaitDisk':
          if (!server.hasDiskFailed) server.queue.push({ kind: 'await', sequence: effect.sequence });
          break;
        case 'sendMessage':
          if (effect.afterDisk && server.queue.some((item) => item.kind === 'write')) {
            server.queue.push({ kind: 'send', message: effect.message });
          } else if (!effect.afterDisk || !server.hasDiskFailed) {
            this.#post({ kind: 'message', message: effect.message });
          }
          break;
        case 'snapshotWanted':
          this.#sendSnapshot(server, effect.to, effect.term);
          break;
      }
    }
    this.watch.check();
  }

  #post(parcel: Parcel): void {
    if (parcel.kind === 'message') this.watch.handlePosted(parcel.message);
    this.network.push(parcel);
  }

  #sendSnapshot(server: TestServer, to: ServerId, term: number): void {
    const point = server.raft?.pointAt(server.raft.commitIndex);
    if (point !== undefined) this.#post({ kind: 'snapshot', from: server.id, to, term, point });
  }

  #deliverSnapshot(parcel: Extract<Parcel, { kind: 'snapshot' }>): void {
    const server = this.server(parcel.to);
    if (server.raft === undefined || server.hasDiskFailed) {
      this.drop(parcel);
      return;
    }
    if (parcel.point.index > server.raft.commitIndex && server.raft.role !== 'leader') {
      // The host writes it behind what is queued, and reports once it is there.
      this.syncDisk(parcel.to);
      if (parcel.point.index > server.raft.commitIndex) {
        server.disk.point = parcel.point;
        server.disk.applied = parcel.point.index;
        const { point, from, term } = parcel;
        this.tell(parcel.to, { kind: 'snapshotInstalled', point, from, term });
      }
    }
    this.tell(parcel.from, { kind: 'snapshotSent', to: parcel.to, index: parcel.point.index, ok: true });
  }

  #write(server: TestServer, effect: RaftEffect): void {
    if (effect.kind === 'persistHardState') server.disk.hardState = effect.state;
    if (effect.kind === 'persistEntries') {
      this.watch.handleWritten(server, effect.entries);
      const from = effect.entries[0]!.index;
      const kept = server.disk.entries.filter((entry) => entry.index < from);
      server.disk.entries = [...kept, ...effect.entries];
    }
  }
}

/** Checks every step of every server. */
class Watch {
  readonly #cluster: TestCluster;
  readonly #leaders = new Map<number, ServerId>();
  /** By index and term: what the entry is and the term before it (log matching follows by induction). */
  readonly #entries = new Map<string, { readonly what: string; readonly last: number | undefined }>();
  readonly #votes = new Map<string, ServerId>();
  readonly #applied = new Map<ServerId, number>();
  readonly committed: LogEntry[] = [];
  readonly #reads = new Map<string, number>();

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
  }

  handleStart(server: TestServer): void {
    this.#applied.set(server.id, server.raft!.commitIndex);
  }

  /** From now on a read with this token must not see less than what is committed by now. */
  handleReadAsked(server: string, token: number): void {
    this.#reads.set(`${server} ${token}`, this.committed.length);
  }

  /** On a disk. What never got there, nor to anybody, may be forgotten. */
  handleWritten(server: TestServer, entries: readonly LogEntry[]): void {
    const before = entries[0]!.index - 1;
    const { point, entries: held } = server.disk;
    const previous = held.findLast((entry) => entry.index <= before);
    const previousTerm = before <= point.index ? undefined : previous?.term;
    this.#checkEntries(server.id, entries, before === point.index ? point.term : previousTerm);
  }

  handlePosted(message: RaftMessage): void {
    if (message.kind === 'append') this.#checkEntries(message.from, message.entries, message.previousTerm);
    if (message.kind !== 'voteAnswer' || message.isPreVote || !message.granted) return;
    const key = `${message.from} ${message.term}`;
    const before = this.#votes.get(key) ?? message.to;
    if (message.to !== before) throw new Error(`${key}: two votes in one term (3.4)`);
    this.#votes.set(key, message.to);
  }

  handleEffect(server: TestServer, effect: RaftEffect): void {
    if (effect.kind === 'apply') this.#checkApplied(server, effect.entries);
    if (effect.kind === 'readReady') {
      const least = this.#reads.get(`${server.id} ${effect.token}`) ?? 0;
      if (effect.index < least) {
        throw new Error(`${server.id} reads at ${effect.index}, ${least} was committed before (6.4)`);
      }
    }
    if (effect.kind === 'leadership' && effect.role === 'leader') this.#checkLeader(server);
  }

  check(): void {
    for (const server of this.#cluster.alive) {
      const { role, term } = server.raft!;
      // One that needs nobody's vote but its own leads before its disk knows, and says nothing until then.
      if (role !== 'leader' || server.disk.hardState.term < term) continue;
      const other = this.#leaders.get(term) ?? server.id;
      if (other !== server.id) throw new Error(`two leaders in term ${term}: ${other}, ${server.id} (3.6)`);
      this.#leaders.set(term, server.id);
    }
  }

  /** `previousTerm` is undefined where it is not known. */
  #checkEntries(at: ServerId, entries: readonly LogEntry[], previousTerm: number | undefined): void {
    let last = previousTerm;
    for (const entry of entries) {
      const key = `${entry.index}@${entry.term}`;
      const what = `${contentOf(entry)} after`;
      const known = this.#entries.get(key);
      if (known !== undefined && (known.what !== what || (last ?? known.last) !== (known.last ?? last))) {
        throw new Error(
          `${at}: ${key} is ${what} ${last}, was ${known.what} ${known.last} (3.5 log matching)`,
        );
      }
      this.#entries.set(key, { what, last: last ?? known?.last });
      last = entry.term;
    }
  }

  #checkApplied(server: TestServer, entries: readonly LogEntry[]): void {
    let last = this.#applied.get(server.id)!;
    // A snapshot may have carried it on.
    if (entries.length > 0 && entries[0]!.index > last + 1) last = server.raft!.firstIndex - 1;
    for (const entry of entries) {
      if (entry.index < last + 1) throw new Error(`${server.id} applies ${entry.index} after ${last}`);
      last = entry.index;
      const known = this.committed[entry.index - 1];
      if (known === undefined) {
        if (entry.index !== this.committed.length + 1)
          throw new Error(`${server.id} commits ${entry.index} behind a gap`);
        this.#checkOnDisks(server, entry);
        this.committed.push(entry);
      } else if (contentOf(known) !== contentOf(entry) || known.term !== entry.term) {
        throw new Error(`${server.id} applies another ${entry.index} (3.2 state machine safety)`);
      }
    }
    this.#applied.set(server.id, last);
  }

  /** Committed first by a leader: then a majority holds it on disk. */
  #checkOnDisks(server: TestServer, entry: LogEntry): void {
    const raft = server.raft!;
    const configuration = raft.role === 'leader' ? raft.configuration : undefined;
    if (configuration === undefined) return;
    const tally = jointTally(configuration, (voter) => {
      const disk = this.#cluster.servers.get(voter)?.disk;
      if (disk === undefined) return false;
      if (disk.point.index >= entry.index) return true;
      return disk.entries.some((held) => held.index === entry.index && held.term === entry.term);
    });
    // A configuration that was appended with the same acknowledgement may ask for more than the one that decided.
    if (tally !== 'won' && !raft.isChanging) {
      throw new Error(`${server.id} commits ${entry.index}@${entry.term} without a majority of disks`);
    }
  }

  #checkLeader(server: TestServer): void {
    const raft = server.raft!;
    for (const entry of this.committed) {
      if (entry.index < raft.firstIndex) continue;
      if (raft.termAt(entry.index) !== entry.term) {
        throw new Error(
          `${server.id} leads without ${entry.index}@${entry.term} (3.6.3 leader completeness)`,
        );
      }
    }
  }
}

function contentOf(entry: LogEntry): string {
  if (entry.kind === 'command') return new TextDecoder().decode(entry.command);
  return entry.kind === 'blank' ? '(blank)' : JSON.stringify(entry.configuration);
}
