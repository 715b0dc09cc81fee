/** Nothing that is promised of budgets is untested: each scenario and invariant stands in the title of a test of its own, not only of a range of seeds. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const number = (letter: string, digits: number) => (_: unknown, at: number) =>
  letter + String(at + 1).padStart(digits, '0');
const IDS = [...Array.from({ length: 31 }, number('B', 2)), ...Array.from({ length: 9 }, number('I', 1))];

/** Texts of one line that are, or end as, the first argument of a test or of a list of tests. */
const TITLE = /^\s*(?:(?:it|describe)(?:\.\w+)*\()?(['`])(?:(?!\1).)+\1,/gm;

it('each of B01 to B31 and I1 to I9 is in the title of a test', () => {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.test.ts') && name !== join('budget', 'cited.test.ts'),
  );
  const titles = files.flatMap((name) => readFileSync(join(root, name), 'utf8').match(TITLE) ?? []);
  // A range names none of those in between.
  const cited = new Set(
    titles
      .filter((title) => !/ to B\d/.test(title))
      .join(' ')
      .match(/\b(?:B\d\d|I\d)\b/g),
  );
  expect(IDS.filter((id) => !cited.has(id))).toEqual([]);
});
