/** How long writes pause when members of the quorum store are killed, and how soon they go on. */
import { nowUs, sleep } from './lib/clock.ts';
import { type Options, wanted } from './lib/options.ts';
import { places, skeinSetup, startMember, votersAre } from './lib/quorum-clusters.ts';
import type { Remote } from './lib/remote.ts';
import type { Report } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { Samples } from './lib/stats.ts';
import type { Stamp } from './quorum-driver.ts';

const SECTION = 'Quorum store: faults';
const MEMBERS = 3;
const FIRST_WRITE = 'leader killed, first acknowledged write';
const PAUSE = 'voter killed, longest pause of writes';
const BACK = 'quorum back, first acknowledged write';
/** Links are up and everybody knows who leads. */
const SETTLE_MS = 1500;

interface Member {
  driver: Remote;
  address: string;
}

export const FAULTS = ['leader killed', 'voter killed', 'quorum back'] as const;

export async function quorumFaults(options: Options, report: Report): Promise<void> {
  const samples = new Samples();
  const swarm = new Swarm();
  try {
    await swarm.start();
    const [leaderKilled, voterKilled, quorumBack] = FAULTS;
    if (wanted(options, leaderKilled)) await killLeaders(swarm, options.quick ? 1 : 20, samples);
    if (wanted(options, voterKilled)) await killVoters(swarm, options.quick ? 1 : 5, samples);
    if (wanted(options, quorumBack)) await bringBack(swarm, options.quick ? 1 : 5, samples);
  } catch (error) {
    report.failed(SECTION, 'kills', error);
  } finally {
    await swarm.close();
  }
  for (const [what, bound] of [
    [FIRST_WRITE, 1500],
    [PAUSE, 200],
    [BACK, 2000],
  ] as const) {
    const spread = samples.spread(what);
    if (spread !== undefined)
      report.add({
        section: SECTION,
        what,
        who: 'skein',
        unit: 'ms',
        spread,
        goal: { direction: 'at most', bound },
      });
  }
  const ready = samples.spread(`${BACK}, of that the start of the node`);
  if (ready !== undefined)
    report.add({
      section: SECTION,
      what: `${BACK}, of that the start of the node`,
      who: 'skein',
      unit: 'ms',
      spread: ready,
    });
}

/** From the kill to the first acknowledgement of a write that was begun after it. */
async function killLeaders(swarm: Swarm, kills: number, samples: Samples): Promise<void> {
  for (let kill = 1; kill <= kills; kill++) {
    console.error(`quorum: leader killed, ${kill}/${kills}`);
    await sleep(SETTLE_MS);
    const leader = await swarm.memberAt('leader');
    const others = swarm.drivers.filter((driver) => driver !== leader.driver);
    await Promise.all(others.map((driver) => driver.ask('beginSteady')));
    await sleep(100 + 31 * (kill % 7));
    const killedUs = nowUs();
    await killed(leader.driver);
    await sleep(3000);
    const stamps = await Promise.all(others.map((driver) => driver.ask<Stamp[]>('endSteady')));
    samples.add(FIRST_WRITE, (firstAckUs(stamps.flat(), killedUs) - killedUs) / 1000);
    await swarm.restart(leader);
  }
}

/** Writes at the leader one after the other: the longest time from one acknowledgement to the next. */
async function killVoters(swarm: Swarm, kills: number, samples: Samples): Promise<void> {
  for (let kill = 1; kill <= kills; kill++) {
    console.error(`quorum: voter killed, ${kill}/${kills}`);
    await sleep(SETTLE_MS);
    const leader = await swarm.memberAt('leader');
    const voter = await swarm.memberAt('follower');
    await leader.driver.ask('beginSteady');
    await sleep(300);
    const killedUs = nowUs();
    await killed(voter.driver);
    await sleep(2500);
    const stamps = await leader.driver.ask<Stamp[]>('endSteady');
    samples.add(PAUSE, longestGapMs(stamps, killedUs));
    await swarm.restart(voter);
  }
}

/** Two of three are killed and one is started again; from its start to the next acknowledged write at the one that stayed. */
async function bringBack(swarm: Swarm, times: number, samples: Samples): Promise<void> {
  for (let time = 1; time <= times; time++) {
    console.error(`quorum: quorum back, ${time}/${times}`);
    await sleep(SETTLE_MS);
    const leader = await swarm.memberAt('leader');
    const [stays, ...gone] = [...swarm.members].sort((one) => (one === leader ? 1 : -1));
    if (stays === undefined) throw new Error('three members');
    await Promise.all(gone.map(({ driver }) => killed(driver)));
    await sleep(3000);
    await stays.driver.ask('beginSteady');
    const startUs = nowUs();
    const [first, ...rest] = gone;
    if (first === undefined) throw new Error('two members are gone');
    await swarm.spawn(first);
    const readyUs = nowUs();
    await sleep(4000);
    const stamps = await stays.driver.ask<Stamp[]>('endSteady');
    samples.add(BACK, (firstAckUs(stamps, 0) - startUs) / 1000);
    samples.add(`${BACK}, of that the start of the node`, (readyUs - startUs) / 1000);
    for (const member of rest) await swarm.spawn(member);
    await votersAre(swarm.drivers, MEMBERS);
  }
}

function firstAckUs(stamps: readonly Stamp[], sinceUs: number): number {
  const acks = stamps
    .filter(({ startUs, endUs }) => startUs >= sinceUs && endUs > 0)
    .map(({ endUs }) => endUs);
  if (acks.length === 0) throw new Error('no write was acknowledged again');
  return Math.min(...acks);
}

function longestGapMs(stamps: readonly Stamp[], sinceUs: number): number {
  let longestUs = 0;
  let beforeUs = sinceUs;
  for (const { endUs } of stamps) {
    if (endUs < sinceUs) continue;
    longestUs = Math.max(longestUs, endUs - beforeUs);
    beforeUs = endUs;
  }
  return longestUs / 1000;
}

/** kill -9. */
async function killed({ process }: Remote): Promise<void> {
  const gone = new Promise((resolve) => process.once('exit', resolve));
  process.kill('SIGKILL');
  await gone;
}

/** Three members, each of which can be killed and started again on what its disk holds. */
class Swarm {
  readonly members: Member[] = [];
  readonly #directory = scratchDirectory();

  get drivers(): readonly Remote[] {
    return this.members.map(({ driver }) => driver);
  }

  async start(): Promise<void> {
    const addresses: string[] = [];
    for (let member = 0; member < MEMBERS; member++) {
      this.members.push(await startMember(skeinSetup(this.#directory, member, addresses)));
      addresses.push(this.members[member]?.address ?? '');
    }
    await votersAre(this.drivers, MEMBERS);
  }

  async memberAt(wanted: 'leader' | 'follower'): Promise<Member> {
    const found = (await places(this.drivers)).find(([place]) => place === wanted)?.[1];
    const member = this.members.find(({ driver }) => driver === found);
    if (member === undefined) throw new Error(`no ${wanted}`);
    return member;
  }

  async restart(member: Member): Promise<void> {
    await this.spawn(member);
    await votersAre(this.drivers, MEMBERS);
  }

  async spawn(member: Member): Promise<void> {
    const peers = this.members.filter((other) => other !== member).map(({ address }) => address);
    Object.assign(
      member,
      await startMember(skeinSetup(this.#directory, this.members.indexOf(member), peers)),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.drivers.map((driver) => driver.end()));
    removeScratch(this.#directory);
  }
}
