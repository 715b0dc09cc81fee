import { Command } from 'commander';
import { type NodeFlags, type NodeSession, onNode, wholeNumber, withNode } from '../context.ts';
import { EXIT, Reported } from '../exit.ts';
import type { Io } from '../io.ts';
import { printable, table } from '../text.ts';

interface LeaseFlags extends NodeFlags {
  readonly ttl?: number;
  readonly token?: number;
  readonly agent?: string;
}
interface ListFlags extends NodeFlags {
  readonly limit?: number;
  readonly cursor?: string;
}

interface LeaseAnswer {
  readonly name: string;
  readonly held: boolean;
  readonly fencing_token: number | null;
  readonly holder: string | null;
  readonly machine_id: string | null;
  readonly expiresAt: string | null;
}

interface ListedLease {
  readonly name: string;
  readonly holder: string;
  readonly machine_id: string;
  readonly fencing_token: number;
  readonly ttl_seconds: number;
  readonly acquiredAt: string;
}

export function leaseCommand(io: Io): Command {
  return new Command('lease')
    .addCommand(acquireCommand(io))
    .addCommand(renewCommand(io))
    .addCommand(releaseCommand(io))
    .addCommand(listCommand(io));
}

const SECONDS = wholeNumber(1, 365 * 24 * 3600);

function onLease(io: Io, name: string): Command {
  return withNode(new Command(name), io)
    .argument('<name>')
    .option('--agent <name>', 'agent that holds it; an agent on another node is another holder');
}

function acquireCommand(io: Io): Command {
  return onLease(io, 'acquire')
    .description(
      'become the one holder of a lease; prints its fencing token; exit code 1 where another has it',
    )
    .option('--ttl <seconds>', 'time to live without a renewal (default 30)', SECONDS)
    .action(
      onNode(io, async (session: NodeSession<LeaseFlags>, name: string) => {
        const { ttl, agent } = session.flags;
        const body = { ttl_seconds: ttl, agent_id: agent };
        await told(session, await session.client.call('PUT', leasePath(name), { body }), true);
      }),
    );
}

function renewCommand(io: Io): Command {
  return onLease(io, 'renew')
    .description('keep a lease that you hold; exit code 1 where you have lost it')
    .option('--ttl <seconds>', 'time to live from now on (default: as acquired)', SECONDS)
    .option(
      '--token <n>',
      'only the acquisition with this fencing token',
      wholeNumber(1, Number.MAX_SAFE_INTEGER),
    )
    .action(
      onNode(io, async (session: NodeSession<LeaseFlags>, name: string) => {
        const { ttl, token, agent } = session.flags;
        const body = { ttl_seconds: ttl, fencing_token: token, agent_id: agent };
        await told(session, await session.client.call('PATCH', leasePath(name), { body }), true);
      }),
    );
}

function releaseCommand(io: Io): Command {
  return onLease(io, 'release')
    .description('give a lease up at once')
    .option(
      '--token <n>',
      'only the acquisition with this fencing token',
      wholeNumber(1, Number.MAX_SAFE_INTEGER),
    )
    .action(
      onNode(io, async (session: NodeSession<LeaseFlags>, name: string) => {
        const { token, agent } = session.flags;
        const query = { fencing_token: token, agent_id: agent };
        await told(session, await session.client.call('DELETE', leasePath(name), { query }), false);
      }),
    );
}

async function told({ out }: NodeSession<LeaseFlags>, answer: LeaseAnswer, mustHold: boolean): Promise<void> {
  await out.result(answer, () => (answer.held ? String(answer.fencing_token) : ''));
  if (answer.held)
    out.note(printable(`Held by ${answer.holder} until ${answer.expiresAt}; renew it before.`));
  else if (answer.holder !== null)
    out.note(
      printable(`Held by ${answer.holder} on ${answer.machine_id}, until ${answer.expiresAt} at the latest.`),
    );
  else out.note('Nobody holds it now.');
  if (mustHold && !answer.held) throw new Reported(EXIT.refused);
}

function listCommand(io: Io): Command {
  return withNode(new Command('list'), io)
    .description('who holds what')
    .option('--limit <n>', 'at most so many (default 100)', wholeNumber(1, 1_000))
    .option('--cursor <cursor>', 'continue where an earlier answer ended')
    .action(
      onNode(io, async ({ client, out, flags }: NodeSession<ListFlags>) => {
        const { limit, cursor } = flags;
        const answer = await client.call<{ leases: readonly ListedLease[]; cursor?: string }>(
          'GET',
          '/v1/leases',
          { query: { limit, cursor } },
        );
        await out.result(answer, () =>
          answer.leases.length === 0
            ? ''
            : table(
                ['LEASE', 'HOLDER', 'NODE', 'TOKEN', 'TTL', 'ACQUIRED'],
                answer.leases.map((lease) => [
                  lease.name,
                  lease.holder,
                  lease.machine_id,
                  String(lease.fencing_token),
                  `${lease.ttl_seconds} s`,
                  lease.acquiredAt,
                ]),
              ),
        );
        if (answer.leases.length === 0) out.note('Nobody holds a lease.');
        if (answer.cursor !== undefined) out.note(`There are more: --cursor ${answer.cursor}`);
      }),
    );
}

function leasePath(name: string): string {
  return `/v1/leases/${encodeURIComponent(name)}`;
}
