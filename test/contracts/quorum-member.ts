/** Members as processes, so that one can be killed: the parent's side of `quorum-member-child.ts`. */
import { type ChildProcess, fork } from 'node:child_process';
import { failWith, type Result } from '../../src/kernel/errors.ts';
import type {
  KeyRange,
  Lease,
  LeaseId,
  QuorumKey,
  QuorumStore,
  RangeAnswer,
  ReadLevel,
  Transaction,
  TransactionAnswer,
  WatchEvent,
} from '../../src/quorum/port.ts';

type Op = Exclude<keyof QuorumStore, 'watch'>;

export type MemberRequest =
  | {
      readonly kind: 'call';
      readonly id: number;
      readonly op: Op;
      readonly args: readonly unknown[];
      readonly isAborted: boolean;
    }
  | { readonly kind: 'abort' | 'unwatch' | 'voters'; readonly id: number }
  | { readonly kind: 'watch'; readonly id: number; readonly range: KeyRange; readonly fromRevision: number };

export type MemberAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'answer'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'event'; readonly id: number; readonly event: WatchEvent };

export class Member implements QuorumStore {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  readonly #listeners = new Map<number, (event: WatchEvent) => void>();
  #lastId = 0;
  #isGone = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(config: object): Promise<Member> {
    const child = fork(new URL('./quorum-member-child.ts', import.meta.url), [JSON.stringify(config)], {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const member = new Member(child);
    let errors = '';
    child.stderr?.on('data', (bytes: Buffer) => {
      errors = (errors + bytes).slice(-4000);
    });
    await new Promise<void>((resolve, reject) => {
      child.on('message', (answer: MemberAnswer) =>
        answer.kind === 'ready' ? resolve() : member.#take(answer),
      );
      child.on('exit', () => {
        reject(new Error(`the member did not start: ${errors}`));
        member.#gone();
      });
    });
    return member;
  }

  /** kill -9. */
  async kill(): Promise<void> {
    if (this.#isGone) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }

  async voters(): Promise<number> {
    const id = ++this.#lastId;
    return (await this.#ask({ kind: 'voters', id })) as number;
  }

  transact(transaction: Transaction, signal?: AbortSignal): Promise<Result<TransactionAnswer>> {
    return this.#call('transact', [transaction], signal);
  }

  get(key: QuorumKey, level: ReadLevel, signal?: AbortSignal): Promise<Result<RangeAnswer>> {
    return this.#call('get', [key, level], signal);
  }

  range(
    range: KeyRange,
    limit: number,
    level: ReadLevel,
    signal?: AbortSignal,
  ): Promise<Result<RangeAnswer>> {
    return this.#call('range', [range, limit, level], signal);
  }

  watch(range: KeyRange, fromRevision: number, listener: (event: WatchEvent) => void): () => void {
    const id = ++this.#lastId;
    this.#listeners.set(id, listener);
    this.#send({ kind: 'watch', id, range, fromRevision });
    return () => {
      this.#listeners.delete(id);
      this.#send({ kind: 'unwatch', id });
    };
  }

  grantLease(ttlMs: number, signal?: AbortSignal): Promise<Result<Lease>> {
    return this.#call('grantLease', [ttlMs], signal);
  }

  renewLease(id: LeaseId, signal?: AbortSignal): Promise<Result<Lease>> {
    return this.#call('renewLease', [id], signal);
  }

  revokeLease(id: LeaseId, signal?: AbortSignal): Promise<Result<{ readonly revision: number }>> {
    return this.#call('revokeLease', [id], signal);
  }

  async #call<T>(op: Op, args: readonly unknown[], signal?: AbortSignal): Promise<Result<T>> {
    const id = ++this.#lastId;
    const answer = this.#ask({ kind: 'call', id, op, args, isAborted: signal?.aborted === true });
    const onAbort = (): void => this.#send({ kind: 'abort', id });
    signal?.addEventListener('abort', onAbort, { once: true });
    return (await answer) as Result<T>;
  }

  #ask(request: MemberRequest): Promise<unknown> {
    if (this.#isGone) return Promise.resolve(gone());
    return new Promise((resolve) => {
      this.#waiting.set(request.id, resolve);
      this.#send(request);
    });
  }

  #send(request: MemberRequest): void {
    if (this.#child.connected) this.#child.send(request, () => undefined);
  }

  #take(answer: MemberAnswer): void {
    if (answer.kind === 'event') this.#listeners.get(answer.id)?.(answer.event);
    if (answer.kind !== 'answer') return;
    this.#waiting.get(answer.id)?.(answer.result);
    this.#waiting.delete(answer.id);
  }

  #gone(): void {
    this.#isGone = true;
    for (const resolve of this.#waiting.values()) resolve(gone());
    this.#waiting.clear();
  }
}

function gone(): Result<never> {
  return failWith('UNREACHABLE', 'the member was killed', '', { details: { outcome: 'unknown' } });
}
