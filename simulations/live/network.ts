/** Cuts between machines that are network namespaces: frames are dropped at the switch, each direction by itself. */
import { execFileSync } from 'node:child_process';
import type { Namespaces } from '../../test/support/namespaces.ts';

/** Frames from the first to the second machine (by their place) are lost. */
export type Cut = readonly [from: number, to: number];

export class Network {
  readonly #namespaces: Namespaces;

  constructor(namespaces: Namespaces) {
    this.#namespaces = namespaces;
    this.#nft(
      [
        'table bridge skein {',
        '  set cut { type ifname . ifname',
        '  }',
        '  chain forward { type filter hook forward priority 0',
        '    iifname . oifname @cut drop',
        '  }',
        '  chain loss { type filter hook forward priority -1',
        '  }',
        '}',
      ].join('\n'),
    );
  }

  /** Exactly these are cut from now on. */
  cut(cuts: readonly Cut[]): void {
    const pairs = cuts.map(([from, to]) => `"port${from + 1}" . "port${to + 1}"`);
    const add = pairs.length === 0 ? '' : `add element bridge skein cut { ${pairs.join(', ')} }\n`;
    this.#nft(`flush set bridge skein cut\n${add}`);
  }

  /** Of all frames between any two, so many in a hundred are lost at random from now on; 0: none. */
  lose(percent: number): void {
    const add = percent === 0 ? '' : `add rule bridge skein loss numgen random mod 100 < ${percent} drop\n`;
    this.#nft(`flush chain bridge skein loss\n${add}`);
  }

  /** All that goes to the machine queues behind a line of so many bits in a second, up to 400 ms; more is lost. */
  narrow(machine: number, kilobits: number): void {
    this.#tc('replace', machine, ['tbf', 'rate', `${kilobits}kbit`, 'burst', '4kb', 'latency', '400ms']);
  }

  /** The line of the machine is as wide as it was. */
  widen(machine: number): void {
    try {
      this.#tc('del', machine, []);
    } catch {
      // It was never narrow.
    }
  }

  #tc(what: 'replace' | 'del', machine: number, discipline: readonly string[]): void {
    const inside = `--net=/run/netns/${this.#namespaces.switchName}`;
    const args = ['tc', 'qdisc', what, 'dev', `port${machine + 1}`, 'root', ...discipline];
    execFileSync('nsenter', [inside, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  }

  #nft(script: string): void {
    const inside = `--net=/run/netns/${this.#namespaces.switchName}`;
    execFileSync('nsenter', [inside, 'nft', '-f', '-'], { input: script, stdio: ['pipe', 'ignore', 'pipe'] });
  }
}

/** Both directions between every machine of one side and every one of the others. */
export function apart(count: number, side: readonly number[]): readonly Cut[] {
  return allPairs(count).filter(([from, to]) => side.includes(from) !== side.includes(to));
}

/** Every machine sees a majority, and no two the same one; of three, the first and the last do not see each other. */
export function ring(count: number): readonly Cut[] {
  if (count <= 3) return allPairs(count).filter(([from, to]) => Math.abs(from - to) === count - 1);
  const reach = Math.ceil(Math.floor(count / 2) / 2);
  return allPairs(count).filter(([from, to]) => {
    const steps = Math.abs(from - to);
    return Math.min(steps, count - steps) > reach;
  });
}

/** One machine hears nobody and is heard, or the other way round. */
export function oneWay(count: number, machine: number, what: 'deaf' | 'mute'): readonly Cut[] {
  return allPairs(count).filter(([from, to]) => (what === 'deaf' ? to : from) === machine);
}

function allPairs(count: number): readonly Cut[] {
  const machines = Array.from({ length: count }, (_, index) => index);
  return machines.flatMap((from) => machines.flatMap((to): Cut[] => (from === to ? [] : [[from, to]])));
}
