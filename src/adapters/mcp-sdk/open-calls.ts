/** The calls of one byte stream: which the SDK has, and which are carried out past it (`KnownCalls`). */
import type { JSONRPCMessage } from '@modelcontextprotocol/server';
import type { Principal } from '../../mcp/principal.ts';
import type { KnownCalls, PlainCall } from './known-calls.ts';
import type { RequestId } from './messages.ts';

export class OpenCalls {
  readonly #known: KnownCalls;
  readonly #send: (message: JSONRPCMessage) => void;
  /** Calls that the SDK is answering, to learn from. */
  readonly #learning = new Map<RequestId, PlainCall>();
  readonly #running = new Map<RequestId, AbortController>();

  constructor(known: KnownCalls, send: (message: JSONRPCMessage) => void) {
    this.#known = known;
    this.#send = send;
  }

  /** True where the request is taken, and answered later. */
  take(message: JSONRPCMessage, principal: Principal): boolean {
    const call = this.#known.plain(message);
    if (call === undefined) return false;
    const { id } = message as { id: RequestId };
    const abort = new AbortController();
    const answer = this.#known.answer(call, principal, abort.signal);
    if (answer === undefined) {
      this.#learning.set(id, call);
      return false;
    }
    this.#running.set(id, abort);
    void answer.then((result) => {
      // Whoever cancelled it, or left, waits for no answer.
      if (this.#running.delete(id)) this.#send({ result, jsonrpc: '2.0', id } as JSONRPCMessage);
    });
    return true;
  }

  /** The SDK sends this. */
  sent(message: JSONRPCMessage): void {
    if (this.#learning.size === 0 || 'method' in message) return;
    const { id } = message as { id?: RequestId };
    const call = id === undefined ? undefined : this.#learning.get(id);
    if (id === undefined || call === undefined) return;
    this.#learning.delete(id);
    if ('result' in message) this.#known.learn(call, message.result);
  }

  cancel(id: RequestId): void {
    this.#learning.delete(id);
    const abort = this.#running.get(id);
    this.#running.delete(id);
    abort?.abort();
  }

  close(): void {
    for (const id of [...this.#running.keys()]) this.cancel(id);
  }
}
