import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    // Hooks start nodes, one after the other, and the machine may be busy with other things.
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
