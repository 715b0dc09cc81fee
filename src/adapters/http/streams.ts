/** How many streams (event streams, WebSockets) each principal holds open. */
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import type { Principal } from '../../mcp/principal.ts';

export class StreamCount {
  readonly #open = new Map<string, number>();

  /** Counts one more until the returned function is called; `undefined` where the principal has its fill. */
  take(principal: Principal): (() => void) | undefined {
    const open = this.#open.get(principal.name) ?? 0;
    if (open >= limits.streamsPerPrincipal) return undefined;
    this.#open.set(principal.name, open + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (this.#open.get(principal.name) ?? 1) - 1;
      if (left === 0) this.#open.delete(principal.name);
      else this.#open.set(principal.name, left);
    };
  }
}

export function tooManyStreams(): ErrorBody {
  return errorBody(
    'RATE_LIMITED',
    `More than ${limits.streamsPerPrincipal} streams of this caller are open.`,
    'Close streams that are not needed; one stream can carry many subscriptions.',
    { retryAfterMs: 5_000 },
  );
}
