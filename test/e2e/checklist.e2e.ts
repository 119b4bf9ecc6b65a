import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { saveSpeechModel } from './support/model.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));

/** The commands of the checklist's part A, as they stand there, in a folder that has what it asks for. */
describe.each(['docs/checklist.md', 'docs/checklist.es.md'])('%s', (page) => {
  it('leads from preflight to a promoted model and back', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'oqa-checklist-'));
    try {
      symlinkSync(path.join(repository, 'dist'), path.join(folder, 'dist'));
      const config = path.join(folder, 'scratch', 'config', 'sarai.yaml');
      mkdirSync(path.dirname(config), { recursive: true });
      mkdirSync(path.join(folder, 'scratch', 'models', 'onnx'), { recursive: true });
      copyFileSync(path.join(repository, 'examples', 'sarai', 'config', 'sarai.yaml'), config);
      saveSpeechModel(path.join(folder, 'scratch', 'models', 'onnx', 'agi_audio_core.onnx'));
      const before = readFileSync(config, 'utf8');

      const [preflight, plan, chain, rollback, ...others] = commands(page);
      expect(others).toEqual([]);
      for (const command of [preflight, plan, chain]) run(command, folder);
      const lines = before.split('\n');
      const changed = readFileSync(config, 'utf8')
        .split('\n')
        .filter((line, index) => line !== lines[index]);
      expect(changed).toEqual([expect.stringContaining('model_path'), expect.stringContaining('max_memory_mb')]);
      run(rollback, folder);
      expect(readFileSync(config, 'utf8')).toBe(before);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

function commands(page: string): string[] {
  const text = readFileSync(path.join(repository, page), 'utf8');
  const part = text.slice(text.indexOf('## A.'), text.indexOf('## B.'));
  return [...part.matchAll(/node dist\/cli\.js [^`]+/g)].map(([command]) => command.trim());
}

function run(command: string | undefined, cwd: string): void {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command ?? 'false'], { cwd, encoding: 'utf8' });
  expect(status, `${command}\n${stdout}${stderr}`).toBe(0);
}
