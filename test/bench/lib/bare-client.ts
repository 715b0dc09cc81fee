/**
 * What three processes on this machine and its disk need at least to take turns on one key: a member that leads, two that
 * follow, plain TCP between them, one small write with O_DSYNC on each. The messages are those that no store can do
 * without: who comes late is told what the one before wrote (and that only once a majority has it), and comes again.
 * Nothing is elected, checked, encrypted or kept: what a real store takes longer is its own doing, the rest the machine's.
 */
import { mkdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { diskFloor } from './disk-floor.ts';
import type { Caller } from './mcp-client.ts';
import type { QuorumClient } from './quorum-client.ts';

const MAJORITY = 2;
const HEAD_BYTES = 9;
/** About as long as a real one's. */
const ENTRY_BYTES = 280;
/** To the leader: a write over what was read at `at`, and that `at` is on the disk. From it: the rest; `done` is `committed` for who wrote. */
const KIND = { write: 1, acknowledged: 2, append: 3, tooLate: 4, committed: 5, done: 6 } as const;
type Kind = (typeof KIND)[keyof typeof KIND];
type Take = (kind: number, at: number) => void;

/** Each message says how long it is: `[length u32][kind u8][at u32]` and what fills it up. */
function send(socket: Socket, kind: Kind, at: number): void {
  const bytes = Buffer.alloc(kind === KIND.append || kind === KIND.write ? ENTRY_BYTES : HEAD_BYTES);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt8(kind, 4);
  bytes.writeUInt32LE(at, 5);
  socket.write(bytes);
}

function receive(socket: Socket, take: Take): void {
  socket.setNoDelay(true);
  let held = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    while (held.length >= HEAD_BYTES && held.length >= held.readUInt32LE(0)) {
      take(held.readUInt8(4), held.readUInt32LE(5));
      held = held.subarray(held.readUInt32LE(0));
    }
  });
}

/** Who wants to write: `told` what the one before wrote, it comes again. */
interface Writer {
  told(at: number): void;
  committed(at: number, isOwn: boolean): void;
}

/** The member that leads, with a client of its own. */
class Leader {
  readonly #disk: Caller;
  readonly #followers: { readonly socket: Socket; readonly writer: Writer }[] = [];
  readonly #waiting: Writer[] = [];
  /** Whose turn it is: its write is under way, or it is expected to come again. */
  #current: Writer | undefined;
  #acknowledged = 0;
  #appended = 0;
  #committed = 0;

  constructor(disk: Caller) {
    this.#disk = disk;
  }

  get committed(): number {
    return this.#committed;
  }

  follow(socket: Socket): void {
    const writer: Writer = {
      told: (at) => send(socket, KIND.tooLate, at),
      committed: (at, isOwn) => send(socket, isOwn ? KIND.done : KIND.committed, at),
    };
    this.#followers.push({ socket, writer });
    receive(socket, (kind, at) => {
      if (kind === KIND.acknowledged) this.#acknowledge(at);
      else this.#ask(writer, at);
    });
  }

  increment(): Promise<number> {
    return new Promise((resolve) => {
      const writer: Writer = {
        told: (at) => this.#ask(writer, at),
        committed: () => resolve(1),
      };
      this.#ask(writer, this.#committed);
    });
  }

  #ask(writer: Writer, at: number): void {
    if (this.#current === undefined) this.#current = writer;
    if (this.#current !== writer) this.#waiting.push(writer);
    else if (at === this.#committed) this.#append();
    else writer.told(this.#committed);
  }

  #append(): void {
    const at = ++this.#appended;
    this.#acknowledged = 0;
    for (const { socket } of this.#followers) send(socket, KIND.append, at);
    void this.#disk.call('', {}).then(() => this.#acknowledge(at));
  }

  #acknowledge(at: number): void {
    if (at !== this.#appended || ++this.#acknowledged !== MAJORITY) return;
    this.#committed = at;
    const last = this.#current;
    this.#current = this.#waiting.shift();
    this.#current?.told(at);
    for (const { writer } of this.#followers) writer.committed(at, writer === last);
    if (this.#followers.every(({ writer }) => writer !== last)) last?.committed(at, true);
  }
}

/** Where `leader` is left out this member leads; the address is what the others are given. */
export async function bareClient(
  directory: string,
  leader: string | undefined,
): Promise<{ readonly client: QuorumClient; readonly address: string }> {
  mkdirSync(directory, { recursive: true });
  const disk = diskFloor(directory);
  return leader === undefined ? leading(disk) : following(disk, Number(leader));
}

async function leading(disk: Caller) {
  const leader = new Leader(disk);
  const server = createServer((socket) => leader.follow(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const increment = () => leader.increment();
  const client = clientOf(disk, increment, () => leader.committed, true);
  return { client, address: `${(server.address() as AddressInfo).port}` };
}

async function following(disk: Caller, port: number) {
  const socket = connect(port, '127.0.0.1');
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  let committed = 0;
  const done: (() => void)[] = [];
  receive(socket, (kind, at) => {
    if (kind === KIND.append) void disk.call('', {}).then(() => send(socket, KIND.acknowledged, at));
    else if (kind === KIND.tooLate) send(socket, KIND.write, at);
    else committed = at;
    if (kind === KIND.done) done.shift()?.();
  });
  const increment = () =>
    new Promise<number>((resolve) => {
      done.push(() => resolve(1));
      send(socket, KIND.write, committed);
    });
  return { client: clientOf(disk, increment, () => committed, false), address: '' };
}

/** One call of each client at a time. */
function clientOf(
  disk: Caller,
  increment: () => Promise<number>,
  total: () => number,
  isLeader: boolean,
): QuorumClient {
  return {
    put: () => disk.call('', {}),
    read: async () => undefined,
    increment,
    total: async () => total(),
    isLeader: async () => isLeader,
    close: async () => disk.close(),
  };
}
