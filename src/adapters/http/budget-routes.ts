/** Paths of budgets, and the tools and operations behind them. */

export interface BudgetRoute {
  readonly kind: 'tool' | 'operation';
  readonly name: string;
  /** Arguments that the path names. */
  readonly fixed: Readonly<Record<string, string>>;
}

/** By method; empty for a path that is none of budgets. `path` is decoded, and starts with `budgets` or `reservations`. */
export function budgetRoutes(path: readonly string[]): ReadonlyMap<string, BudgetRoute> {
  const [first, second, third] = path;
  if (first === 'reservations' && path.length === 3 && third === 'settle') {
    return only('POST', { kind: 'tool', name: 'budget_settle', fixed: { reservation_id: second ?? '' } });
  }
  if (first !== 'budgets' || path.length > 3) return new Map();
  if (second === undefined) {
    return new Map([
      ['GET', { kind: 'tool', name: 'budget_status', fixed: {} }],
      ['POST', { kind: 'tool', name: 'budget_create', fixed: {} }],
    ]);
  }
  const fixed = { task_id: second };
  if (third === undefined) {
    return new Map([
      ['GET', { kind: 'tool', name: 'budget_status', fixed }],
      ['PATCH', { kind: 'operation', name: 'budget_limit', fixed }],
    ]);
  }
  const below = BELOW.get(third);
  return below === undefined ? new Map() : only('POST', { ...below, fixed });
}

const BELOW: ReadonlyMap<string, Pick<BudgetRoute, 'kind' | 'name'>> = new Map([
  ['requests', { kind: 'tool', name: 'budget_request' }],
  ['reservations', { kind: 'tool', name: 'budget_reserve' }],
  ['reports', { kind: 'tool', name: 'budget_report' }],
  ['transfers', { kind: 'operation', name: 'budget_transfer' }],
  ['write-offs', { kind: 'operation', name: 'budget_write_off' }],
  ['rebalance', { kind: 'operation', name: 'budget_rebalance' }],
]);

function only(method: string, route: BudgetRoute): ReadonlyMap<string, BudgetRoute> {
  return new Map([[method, route]]);
}
