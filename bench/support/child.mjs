import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const hook = new URL('./peak-hook.mjs', import.meta.url).href;

/** Runs a program to its end and returns what it printed; throws with its own words if it fails. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const out = [];
    const err = [];
    child.stdout.on('data', (data) => out.push(data));
    child.stderr.on('data', (data) => err.push(data));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(Buffer.concat(out).toString());
      else
        reject(
          new Error(
            `${path.basename(command)} ${args[0]} ended with ${code ?? signal}:\n${Buffer.concat([...out, ...err])}`,
          ),
        );
    });
  });
}

/**
 * Runs one of bench/children in a Node process of its own, which is timed from start to end.
 * Returns ms, the peak of its resident memory (VmHWM, bytes; undefined where there is no /proc) and its last line as JSON.
 */
export async function measured(name, args) {
  const script = fileURLToPath(new URL(`../children/${name}.mjs`, import.meta.url));
  return measuredNode(script, args, (text) => JSON.parse(text.trim().split('\n').at(-1) || 'null'));
}

/** The same for any script. */
export async function measuredNode(script, args, parse = (text) => text) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'onnx-quantize-bench-peak-'));
  const file = path.join(folder, 'peak');
  try {
    const start = performance.now();
    const text = await run(process.execPath, ['--import', hook, script, ...args.map(String)], {
      env: { ...process.env, BENCH_PEAK_FILE: file },
    });
    const ms = performance.now() - start;
    const kib = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(file, 'utf8'))?.[1]);
    return { ms, peakBytes: Number.isNaN(kib) ? undefined : kib * 1024, result: parse(text) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Runs a command of `dist/cli.js` about `options.model`, as users do. `options` become flags. Returns ms, the peak of its
 * resident memory and its receipt, which it puts beside the model.
 */
export async function measuredCommand(root, command, options) {
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const { ms, peakBytes } = await measuredNode(path.join(root, 'dist', 'cli.js'), [command, ...flags]);
  const { dir, name } = path.parse(options.model);
  return { ms, peakBytes, receipt: JSON.parse(readFileSync(path.join(dir, `${name}.${command}.json`), 'utf8')) };
}

/** The Python to compare with, or undefined. */
export async function findPython() {
  const candidate = process.env.BENCH_PYTHON ?? 'python3';
  const probe = spawnSync(candidate, ['-c', 'import onnxruntime.quantization, onnx; print(onnxruntime.__version__)'], {
    encoding: 'utf8',
  });
  return probe.status === 0 ? { path: candidate, version: probe.stdout.trim() } : undefined;
}
