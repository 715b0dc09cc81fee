/** How a period of a budget is said to be over, and closed for good: changes of its definition, which has one step to gain from each. */
import { ok, type Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import { type Definition, isClosedIn, type Over } from './definition.ts';
import { type PurseKey, parsePurseKey } from './names.ts';
import type { Period } from './period.ts';
import { missing, type Plan, planDefinition, purseOf, type View } from './reserve-register.ts';

/** `before` is what was read of it; where that has changed, nothing is said. Errors of all these: NOT_FOUND. */
export function planSaying(view: View, by: NodeId, before: Over | undefined): Result<Plan<Definition>> {
  const found = foundIn(view);
  if (found === undefined) return missing(view);
  const { definition, purse, period } = found;
  const { over } = definition;
  const isAsRead = over?.period === before?.period && over?.by === before?.by;
  if (!isAsRead || isClosedIn(definition, purse)) return ok({ kind: 'done', value: definition });
  return ok(planDefinition(view, { ...definition, over: { period, by } }));
}

/** Where another node than this one has said that this very period is over. */
export function planAgreeing(view: View, self: NodeId): Result<Plan<Definition>> {
  const found = foundIn(view);
  if (found === undefined) return missing(view);
  const { over } = found.definition;
  if (over === undefined || over.by === self || over.period !== found.period)
    return ok({ kind: 'done', value: found.definition });
  return planClosing(view);
}

/** Closes the period that the view is of, and all before it, whoever has said so. */
export function planClosing(view: View): Result<Plan<Definition>> {
  const found = foundIn(view);
  if (found === undefined) return missing(view);
  const { definition, purse, period } = found;
  if (isClosedIn(definition, purse)) return ok({ kind: 'done', value: definition });
  const over = definition.over !== undefined && definition.over.period > period ? definition.over : undefined;
  return ok(planDefinition(view, { ...definition, closed: period, over }));
}

function foundIn(
  view: View,
): { readonly definition: Definition; readonly purse: PurseKey; readonly period: Period } | undefined {
  const definition = view.definition.value;
  const purse = purseOf(view);
  const id = parsePurseKey(purse);
  if (definition === undefined || purse === undefined || definition.epoch !== id?.epoch) return undefined;
  return { definition, purse, period: id.period };
}
