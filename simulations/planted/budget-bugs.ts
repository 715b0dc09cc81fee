/** Known ways to break the budgets, as edits of their source under `src/budget/`: the world of money must find every one. */
import type { PlantedBug } from './bugs.ts';

const bugs: readonly PlantedBug[] = [
  {
    name: 'spend-before-disk',
    about: 'a reservation is answered before it is on disk (I3)',
    edits: [
      {
        file: 'outbox.ts',
        find: "const records = [changesRecord(this.#sequence, this.#changes)];\n    this.#changes = [];\n    this.#effects.push({ kind: 'persist', stream: STREAM, records, durable: true });",
        replace:
          "const records = [changesRecord(this.#sequence, this.#changes)];\n    this.#changes = [];\n    this.#effects.push({ kind: 'persist', stream: STREAM, records, durable: false });",
      },
    ],
  },
  {
    name: 'shown-by-a-failing-disk',
    about: 'rows are published that the failing disk does not have (B29)',
    edits: [
      {
        file: 'publishing.ts',
        find: '    if (isDiskFailing()) return;\n    // Its number',
        replace: '    // Its number',
      },
    ],
  },
  {
    name: 'transfer-credited-again',
    about: 'what another has sent in all is added to what was taken in before (I4, B01)',
    edits: [
      {
        file: 'ledger.ts',
        find: "this.#commit([{ kind: 'received', purse, account, total }], now);",
        replace:
          "this.#commit([{ kind: 'received', purse, account, total: (total + (purseNow?.received.get(account) ?? 0)) as Amount }], now);",
      },
    ],
  },
  {
    name: 'transfer-not-debited',
    about: 'what was sent stays in the rights of the sender (I1, I4)',
    edits: [
      {
        file: 'purse.ts',
        find: "this.sent.set(to, grown(before, total, 'sent'));\n    this.#rights = amount(this.#rights - (total - before), 'rights');",
        replace: "this.sent.set(to, grown(before, total, 'sent'));",
      },
    ],
  },
  {
    name: 'hold-forgotten-at-restart',
    about: 'reservations that wait are given back when the node starts (B19)',
    edits: [
      {
        file: 'ledger.ts',
        find: 'for (const hold of state.holds.values()) this.#time(hold, now);',
        replace:
          "for (const hold of [...state.holds.values()]) {\n        const step = expired(state, { ...hold, expiry: 'free' });\n        if (step.ok) this.#commit(step.value.changes, now);\n      }",
      },
    ],
  },
  {
    name: 'expired-hold-freed',
    about: 'a reservation that nobody settled is given back where it should be charged (B19)',
    edits: [
      {
        file: 'spending.ts',
        find: "return hold.expiry === 'charge'",
        replace: "return hold.expiry !== 'charge'",
      },
    ],
  },
  {
    name: 'settled-twice',
    about: 'a settlement that comes again frees the reservation again (I9)',
    edits: [{ file: 'state.ts', find: '    this.holds.delete(change.id);\n', replace: '' }],
  },
  {
    name: 'overrun-hidden',
    about: 'what is spent beyond the rights is not counted (B20)',
    edits: [
      {
        file: 'spending.ts',
        find: 'const overrun = (amount - spent) as Amount;',
        replace: 'const overrun = ((amount - spent) * 0) as Amount;',
      },
    ],
  },
  {
    name: 'periods-mixed',
    about: 'a reservation is settled in the period that runs now (B28)',
    edits: [
      {
        file: 'spending.ts',
        find: 'const parts = partsOf(state, hold.purses, hold.amount, amount);',
        replace:
          "const purses = hold.purses.map((key) => [...state.purses.keys()].filter((other) => other.startsWith(key.slice(0, key.lastIndexOf('/') + 1))).sort().at(-1) ?? key);\n  const parts = partsOf(state, purses, hold.amount, amount);",
      },
    ],
  },
  {
    name: 'returned-credited-in-all',
    about: 'the reserve is given all that an account ever returned, each time it returns something',
    edits: [
      {
        file: 'reserve-register.ts',
        find: 'const more = minus(returned, known.returned);',
        replace: 'const more = returned > known.returned ? returned : ZERO;',
      },
    ],
  },
  {
    name: 'granted-without-comparing',
    about: 'a grant does not compare the reserve that it was planned on (B17)',
    edits: [
      {
        file: 'reserve-register.ts',
        find: "const plan = transact(view, ['definition', 'reserve', 'entry', 'account'], puts, {",
        replace: "const plan = transact(view, ['definition', 'entry', 'account'], puts, {",
      },
    ],
  },
  {
    name: 'believed-without-a-grant',
    about: 'rights are taken in from an account that was never granted any (B26, B27)',
    edits: [
      {
        file: 'rows.ts',
        find: '      if (row.granted > (others.get(writer)?.granted ?? ZERO)) return false;\n',
        replace: '',
      },
    ],
  },
  {
    name: 'any-start-opens',
    about: 'the register lets an older image of a disk take the place of a later start (B10)',
    edits: [
      {
        file: 'reserve-register.ts',
        find: '(value.fenced || !known.includes(value.nonce))',
        replace: '(value.fenced || known.length === 0)',
      },
    ],
  },
  {
    name: 'spends-before-confirmed',
    about: 'a node that was started again spends before the quorum store has confirmed its start (B10)',
    edits: [
      {
        file: 'ledger.ts',
        find: '      this.#ask(false);\n',
        replace: '      this.#ask(true);\n',
      },
    ],
  },
  {
    name: 'copy-in-another-place',
    about: 'a copy of the data directory goes on with the account of the original (B11)',
    edits: [
      {
        file: 'ledger.ts',
        find: 'else if (state.place !== this.#place)',
        replace: "else if (state.place === 'nowhere')",
      },
    ],
  },
  {
    name: 'sent-after-the-end',
    about:
      'what an account sent after the row on which it was written off is taken in: the reserve has it (I1, B13)',
    edits: [
      {
        file: 'rows.ts',
        find: 'if (this.#isQuarantined(account) || isLate(heard, other)) continue;',
        replace: 'if (this.#isQuarantined(account)) continue;',
      },
      {
        file: 'rows.ts',
        find: '    if (isLate(heard, other) && !isLate(known, other)) return hearLate(other, known.row, heard.row);\n',
        replace: '',
      },
    ],
  },
  {
    name: 'gap-overlooked',
    about:
      'a journal that lost a record goes on as if nothing had been there, though something of it was set aside (B09)',
    edits: [
      {
        file: 'journal.ts',
        find: 'const follows = sequence === this.#sequence + 1;',
        replace: 'const follows = sequence > this.#sequence;',
      },
      {
        file: 'ledger.ts',
        find: 'else if (reader.damaged || isSuspect || state === undefined)',
        replace: 'else if (reader.damaged || state === undefined)',
      },
    ],
  },
];

/** Of periods that are over: found in a world in which many hours pass. */
const ofHours: readonly PlantedBug[] = [
  {
    name: 'removed-before-closed',
    about: 'entries of a period are taken out as soon as one node says that it is over (B28)',
    edits: [
      {
        file: 'orchestrator/closing.ts',
        find: 'const { name: budget, epoch, closed } = definition;\n      if (closed === undefined) continue;',
        replace:
          'const { name: budget, epoch } = definition;\n      const closed = definition.over?.period ?? definition.closed;\n      if (closed === undefined) continue;',
      },
    ],
  },
  {
    name: 'granted-in-a-closed-period',
    about: 'a grant does not look whether its period is closed, nor does the machine that asks for it (B28)',
    edits: [
      {
        file: 'reserve-register.ts',
        find: '  if (definition.value.epoch !== epoch) return missing(view);\n  if (isOver(view)) return closedPeriod();\n',
        replace: '  if (definition.value.epoch !== epoch) return missing(view);\n',
      },
      {
        file: 'ledger.ts',
        find: 'if (closed !== undefined) this.#close(purseKey({ budget: name, epoch, period: closed }), now);',
        replace: 'if (closed === name) this.#close(purseKey({ budget: name, epoch, period: closed }), now);',
      },
    ],
  },
  {
    name: 'closed-by-one-clock',
    about: 'a node agrees with itself that a period is over (B28)',
    edits: [
      {
        file: 'closing-plans.ts',
        find: 'if (over === undefined || over.by === self || over.period !== found.period)',
        replace: 'if (over === undefined || over.period !== found.period)',
      },
      {
        file: 'orchestrator/closing.ts',
        find: 'if (over === undefined || over.by === self || this.#running >= AT_ONCE) continue;',
        replace: 'if (over === undefined || this.#running >= AT_ONCE) continue;',
      },
    ],
  },
  {
    name: 'removed-counts-as-lost',
    about: 'what was taken out of the store is told to it again, as grants that it has forgotten (B28)',
    edits: [
      {
        file: 'recovery.ts',
        find: 'each !== undefined && isClosedIn(each, purse)',
        replace: 'each !== undefined && isClosedIn(each, purse) && purse.length === 0',
      },
      {
        file: 'reserve-register.ts',
        find: '  if (isOver(view)) return closedPeriod();\n  const before = reserve',
        replace: '  const before = reserve',
      },
    ],
  },
];

export const plantedBudgetBugs: readonly PlantedBug[] = [
  ...bugs.map((bug) => ({ ...bug, world: 'budget' as const })),
  ...ofHours.map((bug) => ({ ...bug, world: 'hours' as const })),
];
