import { defineConfig } from 'vitest/config';

export default defineConfig({
  logLevel: 'error',
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/e2e/**', 'node_modules/**'],
    globalSetup: ['test/support/global-setup.ts'],
    // Some tests load the runtime themselves.
    env: { ORT_DISABLE_TELEMETRY: '1' },
    // Against what hangs, not against a busy machine, on which a test that takes seconds may take minutes.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    pool: 'forks',
    // GitHub's parser imports JSON without the attribute that Node asks for; bundling it in helps.
    server: { deps: { inline: ['@actions/workflow-parser'] } },
  },
});
