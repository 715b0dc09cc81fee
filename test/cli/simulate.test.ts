import { expect, it } from 'vitest';
import { skein } from './terminal.ts';

interface Document {
  readonly reports: readonly {
    readonly scenario: string;
    readonly seed: number;
    readonly traceHash: string;
  }[];
  readonly failed: readonly unknown[];
}

it('simulate prints one document with --json, the same for the same seed; its exit code says whether all held', {
  timeout: 60_000,
}, async () => {
  const argv = ['simulate', 'calm', '--seed', '5', '--nodes', '2', '--json'];
  const { code, json } = await skein(argv);
  const { reports, failed } = json as Document;
  expect(reports).toMatchObject([
    { scenario: 'calm', seed: 5, traceHash: expect.stringMatching(/^[0-9a-f]+$/) },
  ]);
  expect(code).toBe(failed.length === 0 ? 0 : 1);
  const again = await skein(argv);
  expect([again.code, again.json]).toEqual([code, json]);
});
