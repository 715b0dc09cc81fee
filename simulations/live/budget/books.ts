/** Budgets as nodes of a live run show them, and what operators do to them. */
import type { Budget } from '../../../src/cli/budget-api.ts';
import { SkeinError } from '../../../src/kernel/errors.ts';
import type { Machine } from '../machines.ts';

const PATIENCE_MS = 8_000;

/** `undefined` where the node does not answer. */
export async function statusOf({ control }: Machine, budget: string): Promise<Budget | undefined> {
  const signal = AbortSignal.timeout(2_000);
  return control.call<Budget>('GET', `/v1/budgets/${budget}`, { signal }).catch(() => undefined);
}

/** Whether it was done for certain. */
export async function asked(
  { control }: Machine,
  method: 'POST' | 'PATCH',
  path: string,
  body: object,
): Promise<boolean> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return control.call(method, path, { body, signal }).then(
    () => true,
    () => false,
  );
}

export type Taken =
  | { readonly kind: 'taken'; readonly reservationId: string }
  | { readonly kind: 'exhausted' | 'failed'; readonly why: string };

export async function take(
  { control }: Machine,
  budget: string,
  tokens: number,
  agent: string,
): Promise<Taken> {
  try {
    const { reservation_id: reservationId } = await control.call<{ reservation_id: string }>(
      'POST',
      `/v1/budgets/${budget}/reservations`,
      { body: { tokens, agent_id: agent }, signal: AbortSignal.timeout(2 * PATIENCE_MS) },
    );
    return { kind: 'taken', reservationId };
  } catch (error) {
    const isExhausted = error instanceof SkeinError && error.body.code === 'BUDGET_EXHAUSTED';
    return { kind: isExhausted ? 'exhausted' : 'failed', why: String(error) };
  }
}

export interface WriteOffAnswer {
  readonly writtenOff: number;
  readonly lost: number;
}

/** `undefined`: refused, since it is in use or was written off. */
export async function writeOff(
  { control }: Machine,
  budget: string,
  account: string,
): Promise<WriteOffAnswer | undefined> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await control.call<WriteOffAnswer>('POST', `/v1/budgets/${budget}/write-offs`, {
      body: { account },
      signal,
    });
  } catch (error) {
    if (error instanceof SkeinError && ['CONFLICT', 'NOT_FOUND'].includes(error.body.code)) return undefined;
    throw error;
  }
}
