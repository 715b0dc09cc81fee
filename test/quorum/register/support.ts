import { limits } from '../../../src/kernel/limits.ts';
import type { Operation, Transaction } from '../../../src/quorum/port.ts';
import { type Command, encodeCommand } from '../../../src/quorum/register/command.ts';
import type { Applied } from '../../../src/quorum/register/outcome.ts';
import { Register, type RegisterBounds } from '../../../src/quorum/register/register.ts';
import { Restorer } from '../../../src/quorum/register/restorer.ts';
import { utf8 } from './twin.ts';

export const CLIENT = 7;

/** A register with one client, told commands one after the other. */
export class Told {
  register: Register;
  index = 0;
  sequence = 0;

  constructor(bounds: Partial<RegisterBounds> = {}) {
    this.register = new Register({ ...limits, ...bounds });
    this.tell({ kind: 'openClient', client: CLIENT });
  }

  tell(command: Command): Applied {
    return this.register.apply(++this.index, encodeCommand(command));
  }

  transact(transaction: Partial<Transaction>): Applied {
    return this.tell(transactCommand(++this.sequence, transaction));
  }

  put(key: string, value = '', lease = 0): Applied {
    return this.transact({ then: [put(key, value, lease)] });
  }

  grant(id: number, ttlMs = 5000): Applied {
    const sequence = ++this.sequence;
    return this.tell({
      kind: 'grantLease',
      client: CLIENT,
      sequence,
      lowestOutstanding: sequence,
      id,
      ttlMs,
    });
  }

  renew(id: number): Applied {
    const sequence = ++this.sequence;
    return this.tell({ kind: 'renewLease', client: CLIENT, sequence, lowestOutstanding: sequence, id });
  }

  revoke(id: number): Applied {
    const sequence = ++this.sequence;
    return this.tell({ kind: 'revokeLease', client: CLIENT, sequence, lowestOutstanding: sequence, id });
  }
}

export function transactCommand(
  sequence: number,
  transaction: Partial<Transaction>,
  lowestOutstanding = sequence,
  client = CLIENT,
): Command {
  return {
    kind: 'transact',
    client,
    sequence,
    lowestOutstanding,
    transaction: { compares: [], then: [], otherwise: [], ...transaction },
  };
}

export function put(key: string, value = '', lease = 0): Operation {
  return { op: 'put', key, value: utf8(value), lease };
}

export function restored(
  pieces: Iterable<Uint8Array>,
  bounds: RegisterBounds = limits,
): Register | undefined {
  const restorer = new Restorer(bounds);
  for (const piece of pieces) restorer.take(piece);
  return restorer.finish();
}
