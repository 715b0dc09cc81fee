/** How soon a killed or frozen node is known everywhere, and how often a living one is taken for dead. */
import { cpus } from 'node:os';
import { join } from 'node:path';
import { nowUs, sleep } from './lib/clock.ts';
import { Group } from './lib/group.ts';
import { type Options, wanted } from './lib/options.ts';
import { Remote } from './lib/remote.ts';
import type { Report } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { startSkein } from './lib/skein-process.ts';
import { Samples } from './lib/stats.ts';

const SECTION = 'Detection';
const NODES = 5;
const DEADLINE_MS = 30_000;
const SETTLE_MS = 5_000;

/** A change of a member's state as one node saw it. */
export interface Transition {
  readonly member: string;
  readonly state: 'alive' | 'suspect' | 'dead';
  readonly atUs: number;
}

const KILLED = `killed, ${NODES} nodes`;
const FROZEN = `frozen, ${NODES} nodes`;

export async function detection(options: Options, report: Report): Promise<void> {
  const samples = new Samples();
  for (let round = 1; round <= options.rounds; round++) {
    if (wanted(options, 'kill')) await detect('SIGKILL', KILLED, `round ${round}`, samples);
    if (wanted(options, 'freeze')) await detect('SIGSTOP', FROZEN, `round ${round}`, samples);
  }
  const add = (what: string, boundMs: number | undefined) => {
    const spread = samples.spread(what);
    if (spread === undefined) return;
    report.add({
      section: SECTION,
      what,
      who: what.endsWith('gone') ? 'the system' : 'skein, defaults',
      unit: 'ms',
      spread,
      ...(boundMs === undefined ? {} : { goal: { direction: 'at most', bound: boundMs } }),
    });
  };
  add(`${KILLED}: process gone`, undefined);
  add(`${KILLED}: suspect everywhere`, 50);
  add(`${KILLED}: dead everywhere`, 2000);
  add(`${FROZEN}: suspect everywhere`, undefined);
  add(`${FROZEN}: dead everywhere`, 5000);
  anchors(report);
  if (options.minutes > 0 && wanted(options, 'load')) await falseDeaths(options.minutes, report);
}

async function detect(
  signal: 'SIGKILL' | 'SIGSTOP',
  what: string,
  round: string,
  samples: Samples,
): Promise<void> {
  console.error(`detection: ${what}, ${round}`);
  const directory = scratchDirectory();
  const group = await Group.open('skein', NODES - 1);
  try {
    const observers = group.participants;
    const address = await group.writer.ask<string>('probe', { question: 'address' });
    // As a user starts it: what a process has in memory decides how long the system takes to close its connections.
    const victim = await startSkein(join(directory, 'data'), ['--no-mdns', '--peer', address]);
    try {
      const member = victim.line.nodeId;
      await Promise.all(
        observers.map((observer) => observer.ask('connect', { addresses: [], participants: NODES })),
      );
      // The members settle: who tells whom, what a round trip takes, who votes.
      await sleep(SETTLE_MS);
      await Promise.all(observers.map((observer) => observer.ask('probe', { question: 'watchMembers' })));
      const startUs = nowUs();
      victim.child.once('exit', () => {
        if (signal === 'SIGKILL') samples.add(`${what}: process gone`, (nowUs() - startUs) / 1000);
      });
      victim.child.kill(signal);
      const stories = await Promise.all(observers.map((observer) => storyOf(observer, member)));
      const since = (state: Transition['state'][]) =>
        Math.max(...stories.map((story) => (firstOf(story, state) - startUs) / 1000));
      samples.add(`${what}: suspect everywhere`, since(['suspect', 'dead']));
      samples.add(`${what}: dead everywhere`, since(['dead']));
    } finally {
      // A frozen process cannot leave by itself.
      victim.child.kill('SIGKILL');
      await victim.stop();
    }
  } finally {
    await group.close();
    removeScratch(directory);
  }
}

/** What an observer saw of the member until its death. */
async function storyOf(observer: Remote, member: string): Promise<readonly Transition[]> {
  await observer.ask('probe', {
    question: 'awaitState',
    argument: { member, state: 'dead', deadlineMs: DEADLINE_MS },
  });
  const all = await observer.ask<readonly Transition[]>('probe', { question: 'transitions' });
  return all.filter((transition) => transition.member === member);
}

function firstOf(story: readonly Transition[], states: readonly Transition['state'][]): number {
  return story.find((transition) => states.includes(transition.state))?.atUs ?? Number.POSITIVE_INFINITY;
}

/** Figures of others that cannot run in this process; never measured here. */
function anchors(report: Report): void {
  const anchor = (what: string, who: string, values: readonly [min: number, middle: number, max: number]) => {
    const [min, median, max] = values;
    report.add({
      section: SECTION,
      what,
      who,
      unit: 'ms',
      spread: { median, min, max, rounds: 3 },
      note: 'anchor, NOT measured in this run',
    });
  };
  anchor(
    `${KILLED} or frozen: dead`,
    'memberlist, LAN defaults, computed from its source',
    [6000, 6500, 7000],
  );
  anchor('frozen: connection given up', 'libp2p 3 defaults, measured once', [11_000, 14_700, 32_900]);
}

/** Twice as many busy processes as cores for `minutes`, and writes all the time. */
async function falseDeaths(minutes: number, report: Report): Promise<void> {
  console.error(`detection: ${minutes} minutes at 100 % CPU`);
  const group = await Group.open('skein', NODES);
  const burners = Array.from(
    { length: cpus().length * 2 },
    (_, index) => new Remote(new URL('./peers/burner.ts', import.meta.url), [], `burner-${index}`),
  );
  try {
    await Promise.all(group.participants.map((node) => node.ask('probe', { question: 'watchMembers' })));
    const endUs = nowUs() + minutes * 60e6;
    while (nowUs() < endUs) {
      await group.writer.ask('burst', {
        ops: 1000,
        batch: 1,
        inFlight: 100,
        valueBytes: 200,
        label: 'load',
      });
      await sleep(1000);
    }
    const stories = await Promise.all(
      group.participants.map((node) => node.ask<readonly Transition[]>('probe', { question: 'transitions' })),
    );
    const count = (state: Transition['state']) =>
      stories.flat().filter((transition) => transition.state === state).length;
    const single = (value: number) => ({ median: value, min: value, max: value, rounds: 1 });
    const what = `${minutes} min at 100 % CPU, ${NODES} nodes`;
    report.add({
      section: SECTION,
      what: `${what}: false deaths`,
      who: 'skein, defaults',
      unit: '',
      spread: single(count('dead')),
      goal: { direction: 'at most', bound: 0 },
    });
    report.add({
      section: SECTION,
      what: `${what}: suspicions, refuted`,
      who: 'skein, defaults',
      unit: '',
      spread: single(count('suspect')),
    });
  } finally {
    await Promise.all(burners.map((burner) => burner.end(0)));
    await group.close();
  }
}
