/** A running group of participants of one candidate, its hub included. */
import { join } from 'node:path';
import type { BurstRequest, PaceRequest } from '../participant.ts';
import { until } from './clock.ts';
import { phase, Remote } from './remote.ts';
import { removeScratch, scratchDirectory } from './scratch.ts';
import { usageOf } from './skein-process.ts';
import { percentile } from './stats.ts';

const PARTICIPANT = new URL('../participant.ts', import.meta.url);
const HUBS: Readonly<Record<string, URL>> = {
  star: new URL('../peers/star-hub.ts', import.meta.url),
  hocuspocus: new URL('../peers/hocuspocus-hub.ts', import.meta.url),
};

export interface Latencies {
  /** From the call to the observer's callback on the last of the others. */
  readonly p50Us: number;
  readonly p99Us: number;
  readonly lost: number;
  readonly cpuUsPerOp: number;
}

export interface Throughput {
  readonly perSecond: number;
  /** Processor time of all processes together, the hub's included: other programs on the machine hardly change it. */
  readonly cpuUsPerOp: number;
}

export class Group {
  readonly candidate: string;
  readonly participants: readonly Remote[];
  readonly directory: string;
  readonly #hub: Remote | undefined;
  #bursts = 0;

  private constructor(
    candidate: string,
    participants: readonly Remote[],
    hub: Remote | undefined,
    directory: string,
  ) {
    this.candidate = candidate;
    this.participants = participants;
    this.#hub = hub;
    this.directory = directory;
  }

  static async open(candidate: string, count: number): Promise<Group> {
    const directory = scratchDirectory();
    const hubModule = HUBS[candidate];
    const hub = hubModule === undefined ? undefined : new Remote(hubModule, [], `${candidate}-hub`);
    const participants = Array.from(
      { length: count },
      (_, index) => new Remote(PARTICIPANT, [], `${candidate}-${index}`),
    );
    const group = new Group(candidate, participants, hub, directory);
    try {
      await group.#meet();
      return group;
    } catch (error) {
      await group.close();
      throw error;
    }
  }

  async #meet(): Promise<void> {
    const hub = await this.#hub?.ask<string>('listen');
    const addresses = await Promise.all(
      this.participants.map((participant, index) =>
        participant.ask<string>('open', {
          candidate: this.candidate,
          setup: { hub, directory: join(this.directory, `${index}`), group: 'bench', index },
        }),
      ),
    );
    await Promise.all(
      this.participants.map((participant, index) =>
        participant.ask('connect', {
          addresses: addresses.slice(0, index),
          participants: this.participants.length,
        }),
      ),
    );
  }

  get writer(): Remote {
    const [writer] = this.participants;
    if (writer === undefined) throw new Error('a group has a writer');
    return writer;
  }

  get #all(): readonly Remote[] {
    return this.#hub === undefined ? this.participants : [...this.participants, this.#hub];
  }

  get readers(): readonly Remote[] {
    return this.participants.slice(1);
  }

  phase<T>(name: string, run: () => Promise<T>): Promise<T> {
    return phase(name, this.#all, run);
  }

  /** Latency of each operation at the last reader that saw it. */
  async latencies(request: PaceRequest): Promise<Latencies> {
    await Promise.all(this.readers.map((reader) => reader.ask('expect', { ops: request.ops })));
    const cpuBeforeMs = this.#cpuMs();
    const sent = await this.writer.ask<Float64Array>('pace', request);
    const arrivals = await Promise.all(
      this.readers.map((reader) => reader.ask<Float64Array>('arrivals', { deadlineMs: 10_000 })),
    );
    const cpuUsPerOp = ((this.#cpuMs() - cpuBeforeMs) * 1000) / request.ops;
    const latencies: number[] = [];
    let lost = 0;
    sent.forEach((sentUs, index) => {
      const seen = arrivals.map((times) => times[index] ?? 0);
      if (seen.some((at) => at === 0)) lost++;
      else latencies.push(Math.max(...seen) - sentUs);
    });
    return { p50Us: percentile(latencies, 0.5), p99Us: percentile(latencies, 0.99), lost, cpuUsPerOp };
  }

  /** Until the last participant has the last operation; checks that all hold the same. */
  async throughput(request: Omit<BurstRequest, 'label'>, deadlineMs = 120_000): Promise<Throughput> {
    const label = `burst-${++this.#bursts}`;
    const cpuBeforeMs = this.#cpuMs();
    const startUs = await this.writer.ask<number>('burst', { ...request, label });
    const ends = await Promise.all(
      this.readers.map((reader) => reader.ask<number>('sawLast', { label, deadlineMs })),
    );
    const cpuUsPerOp = ((this.#cpuMs() - cpuBeforeMs) * 1000) / request.ops;
    await this.converged();
    return { perSecond: request.ops / ((Math.max(...ends) - startUs) / 1e6), cpuUsPerOp };
  }

  #cpuMs(): number {
    return this.#all.reduce((sum, child) => sum + usageOf(child.process.pid ?? 0).cpuMs, 0);
  }

  /** All participants hold the same entries; anything else would make their speed worthless. */
  async converged(): Promise<void> {
    let hashes: string[] = [];
    const same = async () => {
      const digests = await Promise.all(
        this.participants.map((participant) => participant.ask<{ hash: string; keys: number }>('digest')),
      );
      hashes = digests.map((digest) => `${digest.hash.slice(0, 8)} (${digest.keys} keys)`);
      return new Set(hashes).size === 1;
    };
    await until(`${this.candidate}: equal contents`, same, 20_000, 100).catch((error: Error) => {
      throw new Error(`${error.message}: ${hashes.join(', ')}`);
    });
  }

  async close(): Promise<void> {
    await Promise.all(
      this.participants.map((participant) =>
        Promise.race([
          participant.ask('close').catch(() => {}),
          new Promise((resolve) => setTimeout(resolve, 5000).unref()),
        ]),
      ),
    );
    await Promise.all(this.#all.map((child) => child.end()));
    removeScratch(this.directory);
  }
}
