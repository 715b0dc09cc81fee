/** Renewing one lease: a stream of etcd's, used for one question. */
import { fail, failWith, ok, type Result } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { unavailable } from '../../quorum/messages.ts';
import type { Lease, LeaseId } from '../../quorum/port.ts';
import { type Connection, pause } from './connection.ts';
import { type LeaseResponse, leaseKeepAliveMethod } from './schema.ts';

const TRY_MS = 700;
const PAUSE_MS = 50;

/** Asks until it is answered or the time is up: to renew twice does no harm. */
export async function renewOn(
  connection: Connection,
  id: LeaseId,
  signal: AbortSignal | undefined,
): Promise<Result<Lease>> {
  const time = AbortSignal.timeout(limits.quorumWaitMs);
  const cancel = signal === undefined ? time : AbortSignal.any([signal, time]);
  while (!cancel.aborted && !connection.isClosed) {
    const answer = await ask(connection, id, cancel);
    if (answer === undefined) {
      await pause(PAUSE_MS, cancel);
      continue;
    }
    if (answer.TTL > 0) return ok({ id, ttlMs: answer.TTL * 1000 });
    return failWith(
      'NOT_FOUND',
      `Lease ${id} has ended or never was.`,
      'Grant another; what hung on it is gone.',
    );
  }
  if (signal?.aborted === true) {
    return failWith(
      'TIMEOUT',
      'The call was cancelled by its caller.',
      'Renew again to see whether the lease stands.',
      {
        details: { outcome: 'unknown' },
      },
    );
  }
  return fail(unavailable('etcd did not renew the lease in time', 'unknown'));
}

async function ask(
  connection: Connection,
  id: LeaseId,
  cancel: AbortSignal,
): Promise<LeaseResponse | undefined> {
  const over = AbortSignal.any([cancel, AbortSignal.timeout(TRY_MS)]);
  const stream = await connection.stream(leaseKeepAliveMethod, TRY_MS, over);
  if (stream === undefined) return undefined;
  return new Promise((resolve) => {
    stream.on('error', () => resolve(undefined));
    stream.on('end', () => resolve(undefined));
    stream.on('data', (response: LeaseResponse) => {
      resolve(response);
      stream.cancel();
    });
    stream.write({ ID: id });
  });
}
