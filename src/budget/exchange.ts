/** What passes between nodes: asking each other for rights, settling where a reservation was made, and the orchestrator's orders. */
import type { PeerDown, PeerUp, Received } from '../kernel/effects.ts';
import type { Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import type { Amount } from './amount.ts';
import { Gathering } from './gathering/gathering.ts';
import type { GatheringEffect, GatheringEvent } from './gathering/messages.ts';
import { type BudgetName, type PurseKey, parsePurseKey } from './names.ts';
import type { Office } from './office.ts';
import type { Lead, OrchestratorEffect, OrchestratorEvent } from './orchestrator/messages.ts';
import { Orchestrator } from './orchestrator/orchestrator.ts';
import { registerMirrorOf } from './orchestrator/register-mirror.ts';
import type { Settlement } from './spending.ts';

export interface ExchangeHooks {
  readonly exhausted: (purse: PurseKey, reachable: number, retryAfterMs: number, now: Instant) => void;
  /** Something was spent beyond the rights here. */
  readonly owes: (now: Instant) => void;
  readonly settledThere: (id: number, node: NodeId, result: Result<Settlement>) => void;
  /** Something was spent or given here on behalf of another node. */
  readonly changed: (now: Instant) => void;
  readonly returned: (purse: PurseKey, now: Instant) => void;
}

export interface ExchangeOptions {
  /** Whether this node may become orchestrator. */
  readonly isCandidate: boolean;
  readonly rng: Rng;
  readonly now: Instant;
}

export class Exchange {
  readonly #office: Office;
  readonly #hooks: ExchangeHooks;
  readonly #gathering: Gathering;
  readonly #orchestrator: Orchestrator;
  readonly #settlingAt = new Map<number, NodeId>();

  constructor(office: Office, hooks: ExchangeHooks, { isCandidate, rng, now }: ExchangeOptions) {
    this.#office = office;
    this.#hooks = hooks;
    this.#gathering = new Gathering({
      self: office.self,
      ledger: office.ledger,
      paces: office.paces,
      lead: () => this.lead,
      limitOf: (purse) => this.#limitOf(purse),
      now,
    });
    this.#orchestrator = new Orchestrator({
      self: office.self,
      isCandidate,
      ledger: office.ledger,
      mirror: registerMirrorOf(office.mirror, office.heardAt),
      paces: office.paces,
      rng,
      now,
    });
  }

  get lead(): Lead | undefined {
    return this.#orchestrator.lead;
  }

  /** Who leads, where this node can tell that it still does: the mirror of one that is cut off is old. */
  get orchestrator(): NodeId | undefined {
    const node = this.lead?.node;
    if (node === undefined) return undefined;
    const isThere =
      node === this.#office.self ? this.#orchestrator.isLeading : this.#office.stateOf(node) === 'alive';
    return isThere ? node : undefined;
  }

  handle(event: PeerUp | PeerDown | Received, now: Instant): void {
    this.#toGathering(event, now);
    if (event.kind !== 'received') this.#toOrchestrator(event, now);
  }

  /** Behind the mirror, which has taken it in. */
  storeTold(event: Extract<OrchestratorEvent, { kind: 'storeRead' | 'storeChanged' }>, now: Instant): void {
    this.#toOrchestrator(event, now);
  }

  rebalance(id: number, budget: BudgetName, now: Instant): void {
    this.#toOrchestrator({ kind: 'rebalanceRequested', id, budget }, now);
  }

  /** The node stops in order. */
  stopping(now: Instant): void {
    this.#toOrchestrator({ kind: 'stopping' }, now);
  }

  expire(now: Instant): void {
    if (isDue(this.#gathering.deadline(), now)) this.#carryOut(this.#gathering.expire(now), now);
    if (isDue(this.#orchestrator.deadline(), now)) this.#order(this.#orchestrator.expire(now), now);
  }

  deadline(): Deadline | undefined {
    return earliest([this.#gathering.deadline(), this.#orchestrator.deadline()]);
  }

  want(purse: PurseKey, need: Amount, waiting: Amount, now: Instant): void {
    this.#toGathering({ kind: 'wanted', purse, need, waiting }, now);
  }

  rightsChanged(purse: PurseKey, now: Instant): void {
    this.#toGathering({ kind: 'rightsChanged', purse }, now);
    this.#toOrchestrator({ kind: 'rowTaken', purse }, now);
  }

  rowTaken(purse: PurseKey, now: Instant): void {
    this.#toGathering({ kind: 'rowTaken', purse }, now);
    this.#toOrchestrator({ kind: 'rowTaken', purse }, now);
  }

  settleThere(id: number, node: NodeId, reservation: string, amount: Amount, now: Instant): void {
    this.#settlingAt.set(id, node);
    this.#toGathering({ kind: 'settleThere', id, node, reservation, amount }, now);
  }

  #toGathering(event: GatheringEvent, now: Instant): void {
    this.#carryOut(this.#gathering.handle(event, now), now);
  }

  #carryOut(effects: readonly GatheringEffect[], now: Instant): void {
    const { ledger } = this.#office;
    for (const effect of effects) {
      switch (effect.kind) {
        case 'moveRights': {
          const { id, call } = effect;
          const result = ledger.perform(call, now);
          this.#office.absorb(now);
          this.#toGathering({ kind: 'rightsMoved', id, result }, now);
          if (result.ok && call.op === 'return') this.#hooks.returned(call.purse, now);
          this.#hooks.changed(now);
          break;
        }
        case 'settleHere': {
          const { id, reservation, amount } = effect;
          const result = ledger.perform({ op: 'settle', id: reservation, amount }, now);
          this.#office.absorb(now);
          this.#toGathering({ kind: 'settledHere', id, result }, now);
          if (result.ok && result.value.overrun > 0) this.#hooks.owes(now);
          this.#hooks.changed(now);
          break;
        }
        case 'settledThere': {
          const node = this.#settlingAt.get(effect.id);
          this.#settlingAt.delete(effect.id);
          if (node !== undefined) this.#hooks.settledThere(effect.id, node, effect.result);
          break;
        }
        case 'exhausted':
          this.#hooks.exhausted(effect.purse, effect.reachable, effect.retryAfterMs, now);
          break;
        case 'send':
        case 'penalise':
        case 'mark':
          this.#office.order(effect);
          break;
        case 'orderAnswered':
        case 'rebalanceAsked':
        case 'rebalanceAnswered':
          this.#toOrchestrator(effect, now);
          break;
      }
    }
  }

  #toOrchestrator(event: OrchestratorEvent, now: Instant): void {
    this.#order(this.#orchestrator.handle(event, now), now);
  }

  #order(effects: readonly OrchestratorEffect[], now: Instant): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case 'askStore': {
          const { id, call } = effect;
          this.#office.errands.ask(call, (result, at) =>
            this.#toOrchestrator({ kind: 'storeAnswered', id, result }, at),
          );
          break;
        }
        case 'orderHere':
          this.#toGathering(effect, now);
          break;
        case 'rebalanced':
          this.#office.answer(effect.id, effect.result);
          break;
        case 'leadChanged':
          break;
        case 'send':
        case 'mark':
          this.#office.order(effect);
      }
    }
  }

  #limitOf(purse: PurseKey): Amount | undefined {
    const budget = parsePurseKey(purse)?.budget;
    const { mirror } = this.#office;
    return (
      mirror.reserve(purse)?.limit ??
      (budget === undefined ? undefined : mirror.definitions.get(budget)?.limit)
    );
  }
}
