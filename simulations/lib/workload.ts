/** Clients that read and write a board, one call at a time each, from whichever node is up. */
import type { BoardCall } from '../../src/blackboard/api.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import type { Cluster } from './cluster.ts';
import type { Operation, OperationAnswer } from './history.ts';
import type { SimulatedMachine } from './machine.ts';
import { agentNamed, BOARD } from './names.ts';

export interface WorkloadPlan {
  readonly clients: number;
  /** Of the clients, so many keep a session. */
  readonly sessions: number;
  readonly keys: number;
  readonly logs: number;
  /** Mean pause of a client between two calls. */
  readonly thinkMs: number;
  /** Chance that a client goes to another node before a call. */
  readonly wander: number;
}

/** A client that hears nothing for this long gives up; the call may still take hold. */
const PATIENCE_MS = 20_000;

export class Workload {
  readonly history: Operation[] = [];
  readonly #cluster: Cluster;
  readonly #plan: WorkloadPlan;
  readonly #clients: readonly Client[];
  readonly #onReturn: (operation: Operation) => void;
  #stopped = false;

  /** `onReturn` sees every operation once, when its outcome is known. */
  constructor(cluster: Cluster, plan: WorkloadPlan, onReturn: (operation: Operation) => void) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#onReturn = onReturn;
    this.#clients = Array.from({ length: plan.clients }, (_, number) => ({
      number,
      agent: agentNamed(`agent-${number}`),
      rng: cluster.rng.fork(),
      inSession: number < plan.sessions,
      machine: number % cluster.machines.length,
      session: undefined,
      writes: 0,
    }));
    for (const client of this.#clients) this.#later(client);
  }

  get pending(): number {
    return this.history.filter((operation) => operation.outcome === 'pending').length;
  }

  /** No new calls; those under way end as they will. */
  stop(): void {
    this.#stopped = true;
  }

  #later(client: Client): void {
    const delayMs = 2 * this.#plan.thinkMs * client.rng.float();
    this.#cluster.scheduler.after(delayMs, () => {
      if (!this.#stopped) this.#invoke(client);
    });
  }

  #invoke(client: Client): void {
    const machine = this.#choose(client);
    if (machine === undefined) {
      this.#later(client);
      return;
    }
    client.machine = machine.index;
    const { call, written } = this.#draw(client);
    const operation: Operation = {
      index: this.history.length,
      client: client.number,
      machine: machine.index,
      inSession: client.inSession,
      call,
      written,
      invokedMs: this.#cluster.nowMs,
      outcome: 'pending',
      returnedMs: Number.NaN,
      answer: undefined,
      error: undefined,
    };
    this.history.push(operation);
    const giveUp = this.#cluster.scheduler.after(PATIENCE_MS, () => this.#settle(client, operation, 'info'));
    machine.call(call, client.agent, (result) => {
      if (operation.outcome !== 'pending') return;
      giveUp();
      this.#receive(client, operation, result);
    });
  }

  #receive(client: Client, operation: Operation, result: Result<unknown>): void {
    if (result.ok) {
      operation.answer = result.value as OperationAnswer;
      if (client.inSession) client.session = operation.answer.session;
      this.#settle(client, operation, 'ok');
      return;
    }
    operation.error = result.error;
    const isUnknown = result.error.details?.outcome === 'unknown';
    this.#settle(client, operation, isUnknown ? 'info' : 'fail');
  }

  #settle(client: Client, operation: Operation, outcome: 'ok' | 'fail' | 'info'): void {
    if (operation.outcome !== 'pending') return;
    operation.outcome = outcome;
    operation.returnedMs = this.#cluster.nowMs;
    this.#cluster.trace.note(this.#cluster.nowMs, `client-${client.number}`, [
      operation.call,
      operation.answer,
    ]);
    this.#onReturn(operation);
    this.#later(client);
  }

  /** The node of before, unless it is down or the client wanders. */
  #choose(client: Client): SimulatedMachine | undefined {
    const machine = this.#cluster.machine(client.machine);
    if (machine.state !== 'dead' && !client.rng.chance(this.#plan.wander)) return machine;
    const { running } = this.#cluster;
    return running.length === 0 ? undefined : client.rng.pick(running);
  }

  #draw(client: Client): { readonly call: BoardCall; readonly written: readonly string[] } {
    const { rng } = client;
    const key = `key/${rng.below(this.#plan.keys)}`;
    const at = { board: BOARD, ...(client.session === undefined ? {} : { session: client.session }) };
    const unique = () => `${client.number}.${++client.writes}`;
    const die = rng.float();
    if (die < 0.35) return { call: { op: 'read', key, ...at }, written: [] };
    if (die < 0.7) {
      const text = unique();
      const value = { unique: text, filling: 'x'.repeat(rng.below(200)) };
      return { call: { op: 'write', key, value, ...at }, written: [text] };
    }
    if (die < 0.78) return { call: { op: 'delete', key, ...at }, written: [] };
    if (die < 0.83) return { call: { op: 'list', prefix: 'key/', limit: 1_000, ...at }, written: [] };
    const log = `log/${rng.below(this.#plan.logs)}`;
    if (die < 0.87) return { call: { op: 'read', key: log, ...at }, written: [] };
    const texts = Array.from({ length: 1 + rng.below(3) }, unique);
    const items = texts.map((text) => ({ unique: text }));
    return { call: { op: 'append', key: log, items, ...at }, written: texts };
  }
}

interface Client {
  readonly number: number;
  readonly agent: AgentId;
  readonly rng: Rng;
  readonly inSession: boolean;
  machine: number;
  session: string | undefined;
  writes: number;
}
