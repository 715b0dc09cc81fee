/** What the commands of budgets send, print and refuse, against a control interface that the test plays. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlServer, send } from './control-server.ts';
import { skein } from './terminal.ts';

let node: ControlServer;
beforeEach(async () => {
  node = await ControlServer.start();
});
afterEach(() => node[Symbol.asyncDispose]());

const at = (...argv: string[]) => ['budget', ...argv, '--data', node.data];

const MACHINE = {
  machine_id: 'node-b',
  name: 'b',
  state: 'dead',
  allocated: 5_000,
  rights: 0,
  held: 300,
  spent: 3_500,
  overrun: 0,
  burnPerSecond: 1.25,
  stranded: 1_500,
  accounts: ['node-b/1'],
};
const BUDGET = {
  task_id: 'plan',
  unit: 'tokens',
  window: 'day',
  parent: 'team',
  expiry: 'charge',
  limit: 10_000,
  owed: 0,
  reserve: 5_000,
  allocated: 5_000,
  held: 300,
  spent: 3_500,
  overrun: 0,
  remaining: 5_000,
  stranded: 1_500,
  onTheWay: 20,
  burnPerSecond: 1.25,
  projectedEnd: '2026-11-21T12:00:00.000Z',
  periodEnd: '2026-11-22T00:00:00.000Z',
  asOf: '2026-11-21T11:00:00.000Z',
  thresholds: [30, 80],
  thresholdsPassed: [30],
  machines: [MACHINE],
  debts: [],
  problems: ['5 more than the limit'],
};

describe('amounts', () => {
  const PLACES: readonly (readonly string[])[] = [
    ['create', 't', '--limit', '*'],
    ['limit', 't', '*'],
    ['request', 't', '*'],
    ['request', 't', '--tokens', '*'],
    ['reserve', 't', '*'],
    ['reserve', 't', '--tokens', '*'],
    ['reserve', 't', '--model', 'm', '--input', '*'],
    ['settle', 'r', '*'],
    ['settle', 'r', '--tokens', '*'],
    ['settle', 'r', '--model', 'm', '--output', '*'],
    ['report', 't', '*'],
    ['report', 't', '--tokens', '*'],
    ['report', 't', '--model', 'm', '--cached', '*'],
    ['transfer', 't', 'b', '*'],
    ['transfer', 't', 'b', '--tokens', '*'],
  ];
  const HOSTILE = [
    '-1',
    'NaN',
    'Infinity',
    '1.5',
    '9007199254740992',
    '1e9',
    '-0',
    '0x10',
    '',
    ' 5',
    '1_000',
  ];

  it.each(PLACES.map((argv) => [argv.join(' '), argv] as const))(
    '%s takes no hostile amount and asks nothing of the node (B25)',
    async (_, argv) => {
      for (const amount of HOSTILE) {
        const { code, out } = await skein(at(...argv.map((word) => (word === '*' ? amount : word))));
        expect([amount, code, out]).toEqual([amount, 2, '']);
      }
      expect(node.asked).toEqual([]);
    },
  );

  it.each([
    ['create', 't', '--limit', '0'],
    ['limit', 't', '0'],
    ['request', 't', '0'],
    ['reserve', 't', '0'],
    ['report', 't', '0'],
    ['transfer', 't', 'b', '0'],
  ])('%s %s %s %s: nothing is no amount', async (...argv) => {
    expect((await skein(at(...argv))).code).toBe(2);
    expect(node.asked).toEqual([]);
  });
});

describe('requests', () => {
  it.each([
    [
      [
        'create',
        'plan',
        '--limit',
        '9007199254740991',
        '--window',
        'day',
        '--threshold',
        '50',
        '--threshold',
        '90',
      ],
      'POST /v1/budgets',
      { task_id: 'plan', limit: 9007199254740991, window: 'day', thresholds: [50, 90] },
    ],
    [['request', 'plan', '5'], 'POST /v1/budgets/plan/requests', { tokens: 5 }],
    [
      ['reserve', 'a:b', '--tokens', '5', '--ttl', '60', '--agent', 'x', '--id', 'i'],
      'POST /v1/budgets/a%3Ab/reservations',
      { tokens: 5, ttl_seconds: 60, agent_id: 'x', reservation_id: 'i' },
    ],
    [
      ['reserve', 'plan', '--model', 'm', '--input', '5', '--cached', '0'],
      'POST /v1/budgets/plan/reservations',
      { usage: { model: 'm', input: 5, cached: 0 } },
    ],
    [['settle', 'r/1', '0'], 'POST /v1/reservations/r%2F1/settle', { tokens: 0 }],
    [['report', 'plan', '7', '--id', 'j'], 'POST /v1/budgets/plan/reports', { tokens: 7, report_id: 'j' }],
    [['limit', 'plan', '7'], 'PATCH /v1/budgets/plan', { limit: 7 }],
    [['transfer', 'plan', 'b', '7'], 'POST /v1/budgets/plan/transfers', { to: 'b', tokens: 7 }],
    [['rebalance', 'plan'], 'POST /v1/budgets/plan/rebalance', {}],
    [['write-off', 'plan', 'b', '--yes'], 'POST /v1/budgets/plan/write-offs', { account: 'b' }],
  ])('%j asks %s, and --json prints the answer as it came', async (argv, asked, body) => {
    node.answers({ ...BUDGET, reservation_id: 'r', tokens: 5, freed: 0, granted: 5, rights: 5 });
    const { code, json } = await skein(at(...argv, '--json'));
    expect(code).toBe(0);
    expect(`${node.last.method} ${node.last.url}`).toBe(asked);
    expect(node.last.body).toEqual(body);
    expect(json).toMatchObject({ task_id: 'plan', reservation_id: 'r' });
  });
});

describe('for people', () => {
  it('a status shows the machines, what was passed, when it ends, and what to do about what is stranded', async () => {
    node.answers(BUDGET);
    const { code, out, error } = await skein(at('status', 'plan'));
    expect(code).toBe(0);
    expect(out).toMatch(/plan: 3,500 of 10,000 tokens spent \(35 %\), 300 held, 5,000 left/);
    expect(out).toMatch(/parent +team/);
    expect(out).toMatch(/window +day, until 2026-11-22/);
    expect(out).toMatch(/reserve +5,000 not allocated, 20 on the way/);
    expect(out).toMatch(/burn +1.25 a second, at this pace gone 2026-11-21T12/);
    expect(out).toMatch(/passed +30 %/);
    expect(out).toMatch(/^b +dead +5,000 +0 +300 +3,500 +1.25 +1,500 +node-b$/m);
    expect(error).toMatch(/skein budget write-off plan b/);
    expect(error).toMatch(/Wrong: 5 more than the limit/);
  });

  it('all budgets are a table, and without any the command that makes one is named', async () => {
    node.answers({ budgets: [BUDGET], cursor: 'next' });
    const some = await skein(at('status', '--limit', '1'));
    expect(some.out).toMatch(/plan +10,000 +tokens +3,500 \(35 %\)/);
    expect(some.error).toMatch(/--cursor next/);
    expect(node.last.url).toBe('/v1/budgets?limit=1');
    node.answers({ budgets: [] });
    expect((await skein(at('status'))).error).toMatch(/skein budget create NAME --limit N/);
  });

  it('a reservation prints its id alone, and how to settle it', async () => {
    node.answers({ reservation_id: 'r-1', tokens: 1_000, expiresAt: 't' });
    const { out, error } = await skein(at('reserve', 'plan', '1000'));
    expect(out).toBe('r-1\n');
    expect(error).toMatch(/1,000 reserved until t; then settle: skein budget settle r-1 AMOUNT/);
  });

  it('a refusal for lack of money is exit code 1 with what is left and when to try again', async () => {
    const error = {
      code: 'BUDGET_EXHAUSTED',
      message: '3 of 10 tokens are left.',
      hint: 'Wait.',
      retryable: true,
      retryAfterMs: 1_200,
      details: { remaining: 3, reserve: 1, machines: [{ machine_id: 'n', name: 'b', rights: 2 }] },
    };
    node.answers({ error }, 402);
    const shown = await skein(at('reserve', 'plan', '5'));
    expect([shown.code, shown.out]).toEqual([1, '']);
    expect(shown.error.split('\n')).toEqual([
      '3 of 10 tokens are left.',
      'Wait.',
      'Left: 2 on b, 1 in the reserve.',
      'Worth another try in 2 s.',
      '',
    ]);
    expect((await skein(at('request', 'plan', '5'))).error).toBe(shown.error);
    expect((await skein(at('reserve', 'plan', '5', '--json'))).json).toEqual({ error });
  });

  it('who has nothing to rebalance is told that nobody needs it, and how to move rights all the same', async () => {
    node.answers({ moves: 0, amount: 0 });
    const none = await skein(at('rebalance', 'plan'));
    expect([none.code, none.out]).toEqual([0, '0 moves ordered, 0 in all\n']);
    expect(none.error).toMatch(/skein budget transfer plan MACHINE N/);
    node.answers({ moves: 1, amount: 2_000 });
    const some = await skein(at('rebalance', 'plan'));
    expect([some.out, some.error]).toEqual(['1 move ordered, 2,000 in all\n', '']);
  });

  it.each([
    ['QUORUM_UNAVAILABLE', 503, 4],
    ['DENIED', 403, 5],
    ['CONFLICT', 409, 1],
    ['NOT_FOUND', 404, 1],
  ])('%s (%i) is exit code %i', async (code, status, exit) => {
    node.answers({ error: { code, message: 'm', hint: 'h', retryable: false } }, status);
    expect((await skein(at('create', 'plan', '--limit', '5'))).code).toBe(exit);
  });

  it('a settlement after its time, and one beyond the rights, say so', async () => {
    node.answers({ reservation_id: 'r', tokens: 9, freed: 0, overrun: 4, ending: 'charged' });
    const { out, error } = await skein(at('settle', 'r', '9'));
    expect(out).toBe('9 spent, 0 freed\n');
    expect(error).toMatch(/Its time had run out before/);
    expect(error).toMatch(/4 of it exceeded the rights/);
  });

  it.each(['b', 'node-b', 'node-b/1'])(
    'a write-off of %s without --yes does nothing and says what would be lost',
    async (account) => {
      node.answers(BUDGET);
      const { code, out, error } = await skein(at('write-off', 'plan', account));
      expect([code, out]).toEqual([2, '']);
      expect(node.asked.map(({ method }) => method)).toEqual(['GET']);
      expect(error).toMatch(/1,200 tokens that go back to the reserve, and 300 in reservations/);
      expect(error).toMatch(/counted as spent/);
      expect(error).toContain(`skein budget write-off plan ${account} --yes`);
      const all = await skein(at('write-off', 'plan', account, '--all'));
      expect(all.error).toContain(`skein budget write-off plan ${account} --all --yes`);
    },
  );

  const STRANDED = { writtenOff: 5, lost: 0, account: 'node-b', alsoStranded: ['team', 'org'] };

  it('a write-off names the other budgets of which the machine has something that nobody can reach', async () => {
    node.answers(STRANDED);
    const { code, out, error } = await skein(at('write-off', 'plan', 'b', '--yes'));
    expect([code, out]).toEqual([0, '5 back in the reserve, 0 counted as spent\n']);
    expect(error).toMatch(/until that is written off too \(--all\): team, org\n/);
    expect(node.asked).toHaveLength(1);
  });

  it('with --all a write-off is one of all of them, by the id of the machine; what is refused is named, and the exit code tells', async () => {
    const refused = {
      error: { code: 'CONFLICT', message: 'It is alive.', hint: 'Stop it.', retryable: false },
    };
    node.reply = ({ url }, response) => {
      const of = (id: string) => url === `/v1/budgets/${id}/write-offs`;
      if (of('org')) send(response, 409, refused);
      else send(response, 200, of('plan') ? STRANDED : { ...STRANDED, writtenOff: 7, lost: 1 });
    };
    const { code, out, error } = await skein(at('write-off', 'plan', 'b', '--all', '--yes'));
    expect([code, out]).toEqual([
      1,
      '5 back in the reserve, 0 counted as spent\nteam: 7 back in the reserve, 1 counted as spent\n',
    ]);
    expect(error).toMatch(/written off too \(--all\): org\n/);
    expect(error).toMatch(/It is alive/);
    expect(node.asked.map(({ url, body }) => [url, body])).toEqual([
      ['/v1/budgets/plan/write-offs', { account: 'b' }],
      ['/v1/budgets/team/write-offs', { account: 'node-b' }],
      ['/v1/budgets/org/write-offs', { account: 'node-b' }],
    ]);
  });

  it('with --all and --json a write-off lists what was done, and what is left', async () => {
    node.reply = (_asked, response) => send(response, 200, STRANDED);
    const { code, json } = await skein(at('write-off', 'plan', 'b', '--all', '--yes', '--json'));
    const others = ['team', 'org'].map((task_id) => ({ task_id, writtenOff: 5, lost: 0 }));
    expect(code).toBe(0);
    expect(json).toEqual({ ...STRANDED, budgets: others, alsoStranded: [] });
  });

  it('a write-off of what is not there names the status', async () => {
    node.answers(BUDGET);
    const { code, error } = await skein(at('write-off', 'plan', 'c'));
    expect(code).toBe(1);
    expect(error).toMatch(/No machine or account c/);
  });

  it('a write-off of a name that two machines have is refused, and the status names such a machine by its id', async () => {
    node.answers({ ...BUDGET, machines: [MACHINE, { ...MACHINE, machine_id: 'node-c', stranded: 0 }] });
    const { code, out, error } = await skein(at('write-off', 'plan', 'b'));
    expect([code, out]).toEqual([1, '']);
    expect(error).toMatch(/More than one machine/);
    expect(error).not.toMatch(/--yes/);
    expect((await skein(at('status', 'plan'))).error).toMatch(/skein budget write-off plan node-b$/m);
  });

  it('a write-off of what is alive offers no --yes, but one of its former accounts does', async () => {
    const alive = { ...MACHINE, state: 'alive' };
    node.answers({ ...BUDGET, machines: [alive] });
    const refused = await skein(at('write-off', 'plan', 'b'));
    expect(refused.code).toBe(1);
    expect(refused.error).toMatch(/b is alive/);
    expect(refused.error).not.toMatch(/--yes/);
    node.answers({ ...BUDGET, machines: [{ ...alive, accounts: ['node-b/1', 'node-b/2'] }] });
    expect((await skein(at('write-off', 'plan', 'node-b/1'))).error).toMatch(/node-b\/1 --yes/);
    const named = (await skein(at('write-off', 'plan', 'b'))).error;
    expect(named).toMatch(/the former accounts of b for good; it goes on under another one/);
    expect(named).toMatch(/plan b --yes/);
    expect((await skein(at('status', 'plan'))).error).toMatch(/data that their machine had before/);
  });

  it('names of machines have no power over the terminal', async () => {
    node.answers({ ...BUDGET, task_id: 'plan\u001b[2J', machines: [{ ...MACHINE, name: 'b\u001b[31m' }] });
    const { out, error } = await skein(at('status', 'plan'));
    expect(out + error).not.toContain('\u001b');
  });
});
