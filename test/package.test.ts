import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runScript } from './support/child.ts';

const { exports: doors, version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

describe('the package as a library', () => {
  it('opens every door by its own name', () => {
    const names = Object.keys(doors).filter((door) => door !== './package.json');
    const found = runScript<Record<string, string[]>>(
      `const found = {};
       for (const name of args) found[name] = Object.keys(await import(name.replace('.', 'onnx-quantize-actions')));
       process.stdout.write(JSON.stringify(found));`,
      names,
    );
    expect(found['.']).toEqual(
      expect.arrayContaining(['readModel', 'plan', 'quantize', 'validate', 'compare', 'promote', 'InputError']),
    );
    expect(found['./model']).toContain('readModel');
    expect(found['./receipt']).toContain('readReceipt');
    for (const [name, exported] of Object.entries(found)) expect(exported, name).not.toHaveLength(0);
  });

  it('has types where it says it has', () => {
    for (const { types } of Object.values<{ types?: string }>(doors)) {
      if (types) expect(readFileSync(new URL(`../${types}`, import.meta.url), 'utf8')).toContain('export');
    }
  });

  it('knows its version', async () => {
    expect((await import('../src/index.ts')).VERSION).toBe(version);
  });
});
