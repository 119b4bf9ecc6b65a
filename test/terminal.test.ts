import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { terminalHost } from '../src/actions/terminal.ts';
import { saveModel } from './support/onnx-builder.ts';
import { cleanEnvironment, runCli } from './support/program.ts';
import { smallModel } from './support/small-model.ts';
import { useTemp } from './support/temp.ts';

const temp = useTemp();
const cli = fileURLToPath(new URL('../lib/cli.js', import.meta.url));

/** A folder with the small model, quantized, and a config that names it. */
async function project(): Promise<string> {
  const folder = temp();
  saveModel(folder, smallModel());
  await runCli(['quantize', 'model.onnx'], folder);
  writeFileSync(path.join(folder, 'config.yaml'), 'audio_omni:\n  model_path: model.onnx\n  max_memory_mb: 100\n');
  return folder;
}

describe('--json', () => {
  const quick = ['--runs', '3', '--warmup', '1', '--max-seconds', '1', '--allow-inconclusive'];
  it.each([
    ['quantize', ['model.onnx', '--dry-run']],
    ['checksum', ['--mode', 'create', 'model.onnx']],
    ['validate', ['model_int8.onnx', ...quick]],
    ['compare', ['model.onnx', 'model_int8.onnx', '--max-seconds', '1', '--allow-inconclusive']],
    ['promote-config', ['--mode', 'check', '--config', 'config.yaml']],
    ['pipeline', ['model.onnx', ...quick]],
    ['preflight', ['model.onnx']],
    ['inspect', ['model.onnx']],
  ])('%s prints one value on stdout and all else on stderr', async (command, args) => {
    const { code, stdout, stderr } = await runCli([command, ...args, '--json'], await project());
    expect(stdout.trimEnd().split('\n'), stderr).toHaveLength(1);
    const value = JSON.parse(stdout);
    expect(value).toMatchObject({ command, exitCode: code, failures: [] });
    expect(value.outputs ?? value.result).toBeTypeOf('object');
    expect(stderr).toContain(`onnx-quantize-actions ${command}`);
  });

  it('keeps numbers numbers, and says a mistake in the same form', async () => {
    const folder = await project();
    const { stdout } = await runCli(['quantize', 'model.onnx', '--json'], folder);
    expect(JSON.parse(stdout).outputs['nodes-quantized']).toBe(2);
    const wrong = await runCli(['quantize', '--json', '--modle', 'm'], folder);
    expect(wrong.code).toBe(1);
    expect(JSON.parse(wrong.stdout)).toMatchObject({
      command: 'quantize',
      exitCode: 1,
      failures: ['Unknown flag "--modle" for quantize; did you mean "--model"?'],
    });
    const absent = await runCli(['inspect', 'absent.onnx', '--json'], folder);
    expect(JSON.parse(absent.stdout).failures[0]).toContain('absent.onnx');
  });
});

describe('--quiet', () => {
  it('leaves results on stdout and nothing on stderr', async () => {
    const folder = await project();
    const { stdout, stderr } = await runCli(['quantize', 'model.onnx', '--quiet'], folder);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^nodes-quantized {2,}2$/m);
  });

  it('still says what went wrong', async () => {
    const { stderr } = await runCli(['quantize', 'absent.onnx', '--quiet'], temp());
    expect(stderr).toMatch(/^error: .*absent\.onnx.*\n$/);
  });
});

describe('a reader that stops reading', () => {
  it.each([
    ['stdout', ['inspect', 'model.onnx'], 0],
    ['both', ['quantize', 'model.onnx', '--output', 'late.onnx'], 0],
    ['both', ['compare', 'model.onnx', 'model_int8.onnx', '--max-seconds', '1', '--allow-inconclusive'], 0],
  ])('of %s leaves the work done and no trace (%o)', async (which, args, wanted) => {
    const folder = await project();
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder, env: cleanEnvironment() });
    let heard = '';
    child.stderr.on('data', (part) => {
      heard += part;
      if (which === 'both') child.stderr.destroy();
    });
    child.stdout.destroy();
    const [code] = await new Promise<[number | null]>((resolve) => child.once('exit', (exit) => resolve([exit])));
    expect(code).toBe(wanted);
    expect(heard).not.toMatch(/EPIPE|\n\s+at /);
    if (args.includes('late.onnx')) expect(existsSync(path.join(folder, 'late.onnx'))).toBe(true);
  });
});

describe('promote-config --mode check', () => {
  it('reads like a report: checks, findings with their lines, no Markdown', async () => {
    const folder = await project();
    writeFileSync(path.join(folder, 'config.yaml'), 'audio_omni:\n  model_path: gone.onnx\n  max_memory_mb: 100\n');
    mkdirSync(path.join(folder, 'models'));
    const { code, stdout } = await runCli(['promote-config', '--mode', 'check', '--config', 'config.yaml'], folder);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Check config: fail\n\ncheck +figure +limit +verdict\n/);
    expect(stdout).toMatch(/^- config\.yaml:2: .*gone\.onnx/m);
    expect(stdout).not.toMatch(/\*\*|^#|<details>|\|---/m);
    expect(stdout).toMatch(/^changed {2,}false$/m);
  });
});

describe('promote-config --mode history', () => {
  it('tells the states line by line, and as JSON where JSON is asked for', async () => {
    const folder = await project();
    const history = ['promote-config', '--mode', 'history', '--config', 'config.yaml'];
    const { code, stdout, stderr } = await runCli(history, folder);
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/^Live: model\.onnx \(memory limit 100 MB/m);
    expect(stdout).toBe('changed  false\n');
    const { outputs } = JSON.parse((await runCli([...history, '--json'], folder)).stdout);
    expect(JSON.parse(outputs.states).states).toMatchObject([{ live: true, model: 'model.onnx', memoryMb: 100 }]);
  });
});

describe('figures that stand side by side', () => {
  it('say which of them is paired', async () => {
    const folder = await project();
    const { stderr } = await runCli(
      ['compare', 'model.onnx', 'model_int8.onnx', '--max-seconds', '1', '--allow-inconclusive'],
      folder,
    );
    expect(stderr).toMatch(
      /Speed-up [\d.]+ × by pairs of blocks .*; P50 over all runs [\d.]+ ms for the reference and [\d.]+ ms/,
    );
  });
});

describe('progress while measuring', () => {
  it('is said now and then, with how many runs there were', async () => {
    const folder = await project();
    // Runs enough to last longer than the five seconds between two lines where nobody watches a bar.
    const args = ['validate', 'model.onnx', '--runs', '100000000', '--max-seconds', '7', '--allow-inconclusive'];
    const { stderr } = await runCli(args, folder);
    expect(stderr).toMatch(/^Measuring \d+ % \(\d+ of 100000003 runs\)$/m);
  });

  it('is a bar where somebody watches, and gone at the end', () => {
    const written: string[] = [];
    const stream = { isTTY: true, columns: 80, write: (text: string) => void written.push(text) };
    let now = 0;
    const host = terminalHost({
      command: 'validate',
      flags: new Map(),
      json: false,
      quiet: false,
      stderr: stream,
      stdout: { write: () => undefined },
      env: {},
      now: () => now,
    });
    for (const done of [0, 5, 10]) {
      now += 200;
      host.log.progress({ label: 'Measuring', done, total: 10, unit: 'runs' });
    }
    expect(written.join('')).toContain('Measuring 50 % (5 of 10 runs)');
    expect(written.at(-1)).toBe('\r\u001b[K');
  });
});
