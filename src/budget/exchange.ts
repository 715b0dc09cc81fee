/** What passes between nodes: asking each other for rights, settling where a reservation was made, and the orchestrator's orders. */
import type { PeerDown, PeerUp, Received } from '../kernel/effects.ts';
import type { Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import type { Amount } from './amount.ts';
import { Gathering } from './gathering/gathering.ts';
import type { GatheringEffect, GatheringEvent } from './gathering/messages.ts';
import { type PurseKey, parsePurseKey } from './names.ts';
import type { Office } from './office.ts';
import type { Lead } from './orchestrator/messages.ts';
import type { Settlement } from './spending.ts';

export interface ExchangeHooks {
  readonly exhausted: (purse: PurseKey, reachable: number, retryAfterMs: number, now: Instant) => void;
  readonly settledThere: (id: number, node: NodeId, result: Result<Settlement>) => void;
  /** Something was spent or given here on behalf of another node. */
  readonly changed: (now: Instant) => void;
  readonly returned: (purse: PurseKey, now: Instant) => void;
}

export class Exchange {
  readonly #office: Office;
  readonly #hooks: ExchangeHooks;
  readonly #gathering: Gathering;
  readonly #settlingAt = new Map<number, NodeId>();

  constructor(office: Office, hooks: ExchangeHooks, now: Instant) {
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
  }

  get lead(): Lead | undefined {
    return undefined;
  }

  handle(event: PeerUp | PeerDown | Received, now: Instant): void {
    this.#toGathering(event, now);
  }

  expire(now: Instant): void {
    if (isDue(this.#gathering.deadline(), now)) this.#carryOut(this.#gathering.expire(now), now);
  }

  deadline(): Deadline | undefined {
    return earliest([this.#gathering.deadline()]);
  }

  want(purse: PurseKey, need: Amount, waiting: Amount, now: Instant): void {
    this.#toGathering({ kind: 'wanted', purse, need, waiting }, now);
  }

  rightsChanged(purse: PurseKey, now: Instant): void {
    this.#toGathering({ kind: 'rightsChanged', purse }, now);
  }

  rowTaken(purse: PurseKey, now: Instant): void {
    this.#toGathering({ kind: 'rowTaken', purse }, now);
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
        default:
          break;
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
