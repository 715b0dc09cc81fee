import { describe, expect, it } from 'vitest';
import { AGENT, worldWith } from './world.ts';

const HOUR_MS = 3_600_000;

describe('budgets: a refused reservation says when to try again', () => {
  it('at the end of the period, where the next one has as much', () => {
    const { one } = worldWith(1, { window: 'hour' });
    expect(one.reserve(600)).toMatchObject({ ok: true });
    expect(one.reserve(1_000)).toMatchObject({
      ok: false,
      error: { code: 'BUDGET_EXHAUSTED', retryable: true, hint: expect.stringContaining('600 is held') },
    });
    one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 100 });
    const refused = one.reserve(950);
    expect(refused).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED', retryable: true } });
    expect(refused.ok ? 0 : refused.error.retryAfterMs).toBeGreaterThan(0);
    expect(refused.ok ? 0 : refused.error.retryAfterMs).toBeLessThanOrEqual(HOUR_MS);
  });

  it.each(['hour', 'none'] as const)(
    'never, where it is more than the limit itself (window %s)',
    (window) => {
      const { one } = worldWith(1, { window });
      expect(one.reserve(600)).toMatchObject({ ok: true });
      const refused = one.reserve(1_001);
      expect(refused).toMatchObject({
        ok: false,
        error: {
          code: 'BUDGET_EXHAUSTED',
          retryable: false,
          hint: expect.stringContaining('raise the limit'),
        },
      });
      expect(refused).not.toHaveProperty('error.retryAfterMs');
    },
  );
});
