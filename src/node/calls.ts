import { ChurningMap } from '../kernel/churning-map.ts';
import { failWith, type Result } from '../kernel/errors.ts';

const DRAIN_STEP_MS = 10;

/** Local requests that wait for the machine's answer, by id; each is answered exactly once. */
export class Calls {
  readonly #waiting = new ChurningMap<number, (result: Result<unknown>) => void>();
  #lastId = 0;
  #closed = false;

  /** Asks with a fresh id; `cancel` is told when `signal` aborts before the answer has come. */
  ask<T>(send: (id: number) => void, cancel: (id: number) => void, signal?: AbortSignal): Promise<Result<T>> {
    if (this.#closed) return Promise.resolve(stopping());
    if (signal !== undefined && !isSignal(signal)) return Promise.resolve(noSignal());
    if (signal?.aborted === true) return Promise.resolve(cancelled());
    const id = ++this.#lastId;
    if (signal === undefined) {
      return new Promise((resolve) => {
        this.#waiting.set(id, resolve as (result: Result<unknown>) => void);
        send(id);
      });
    }
    return new Promise((resolve) => {
      const onAbort = () => {
        if (!this.#waiting.delete(id)) return;
        cancel(id);
        resolve(cancelled());
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.set(id, (result) => {
        signal.removeEventListener('abort', onAbort);
        resolve(result as Result<T>);
      });
      send(id);
    });
  }

  answer(id: number, result: Result<unknown>): void {
    const resolve = this.#waiting.get(id);
    this.#waiting.delete(id);
    resolve?.(result);
  }

  /** Takes no more calls, and gives those that wait so long to be answered; what they wait for may be the disk. */
  async drain(mostMs: number): Promise<void> {
    this.#closed = true;
    const endMs = performance.now() + mostMs;
    while (this.#waiting.size > 0 && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_STEP_MS));
    }
    this.close();
  }

  /** Answers all that still wait: the node stops. */
  close(): void {
    this.#closed = true;
    for (const id of [...this.#waiting.keys()]) this.answer(id, stopping());
  }
}

function stopping(): Result<never> {
  return failWith(
    'UNREACHABLE',
    'The node is stopping.',
    'Start it again, read the entry to see what took hold, and retry.',
    {
      details: { outcome: 'unknown' },
    },
  );
}

function cancelled(): Result<never> {
  return failWith(
    'TIMEOUT',
    'The call was cancelled by its caller.',
    'Read the entry to see whether the call took hold.',
    {
      details: { outcome: 'unknown' },
    },
  );
}

/** Programs without types may pass anything. */
function isSignal(signal: unknown): boolean {
  return typeof signal === 'object' && signal !== null && 'aborted' in signal && 'addEventListener' in signal;
}

function noSignal(): Result<never> {
  return failWith('INVALID_ARGUMENT', 'The signal is not an AbortSignal.', 'Pass one, or leave it out.', {
    details: { outcome: 'not-done' },
  });
}
