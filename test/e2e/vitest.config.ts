import { defineConfig } from 'vitest/config';

/** End to end, with a real runner (nektos/act in host mode): slow, and it needs the tools of scripts/ci. */
export default defineConfig({
  logLevel: 'error',
  test: {
    include: ['test/e2e/**/*.e2e.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 600_000,
    hookTimeout: 300_000,
    // One runner at a time: they share the machine's ports and cores.
    fileParallelism: false,
    pool: 'forks',
  },
});
