/** Which format the store has and may have: raised by its leader, and left alone by who does not understand it. */
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';
import { encodeCommand } from '../register/command.ts';
import type { Carrier } from '../store/carrier.ts';
import type { Replica } from '../store/replica.ts';
import type { Neighbours } from './neighbours.ts';

/** The leader's command, once nobody is left whom it would leave behind. */
export function raiseCommand(
  newestFormat: number,
  replica: Replica,
  neighbours: Neighbours,
): Uint8Array | undefined {
  const format = neighbours.commonFormat(newestFormat, replica.server, replica.raft.configuration);
  if (format === undefined || format <= replica.formatToCome) return undefined;
  return encodeCommand({ kind: 'raiseFormat', format });
}

/** Why a person's order about the store is refused here. */
export function formatConflict({ newestFormat, neededFormat, replica }: Carrier): ErrorBody | undefined {
  const format = neededFormat ?? replica?.formatToCome ?? 0;
  if (format <= newestFormat) return undefined;
  return errorBody(
    'CONFLICT',
    `The quorum store has format ${format}, and this version of skein understands no more than ${newestFormat}.`,
    'Install the version that the other members run, and start this node again.',
  );
}
