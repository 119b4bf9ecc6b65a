import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DataType } from '../src/model/index.ts';
import { floats, graph, int64s, model, node, saveModel, value } from './support/onnx-builder.ts';
import { cleanEnvironment } from './support/program.ts';
import { smallModel } from './support/small-model.ts';
import { useTemp } from './support/temp.ts';

const temp = useTemp();
const cli = fileURLToPath(new URL('../lib/cli.js', import.meta.url));
const WIDTH = 64;

/** One operator from x [1, 64] to y. */
function single(opType: string, inputs: string[], parts: Partial<Parameters<typeof graph>[0]> = {}, output = 'y') {
  return model(
    graph({
      nodes: [node(opType, inputs, [output])],
      inputs: [value('x', [1, WIDTH])],
      outputs: [value(output, [1, WIDTH])],
      ...parts,
    }),
  );
}

/** A loop that ends in years. */
function hanging() {
  const body = graph({
    nodes: [node('Identity', ['more'], ['again']), node('Sin', ['v'], ['w'])],
    inputs: [value('i', [], DataType.INT64), value('more', [], DataType.BOOL), value('v', [1, WIDTH])],
    outputs: [value('again', [], DataType.BOOL), value('w', [1, WIDTH])],
  });
  return single('Loop', ['trips', '', 'x'], {
    nodes: [node('Loop', ['trips', '', 'x'], ['y'], { body })],
    initializers: [int64s('trips', [], [2 ** 50])],
  });
}

/** Sums 6.4 GB of zeros: small on disk, small outputs. */
function hungry() {
  return single('Add', [], {
    nodes: [
      node('ConstantOfShape', ['shape'], ['zeros']),
      node('ReduceSum', ['zeros'], ['sum'], { keepdims: 0 }),
      node('Add', ['x', 'sum'], ['y']),
    ],
    initializers: [int64s('shape', [2], [40_000, 40_000])],
  });
}

function wavModel() {
  return model(
    graph({
      nodes: [node('MatMul', ['audio', 'W'], ['y'])],
      inputs: [value('audio', [1, 16_000])],
      outputs: [value('y', [1, 2])],
      initializers: [floats('W', [16_000, 2], new Float32Array(32_000).fill(1e-3))],
    }),
  );
}

/** A header that promises sound and holds none. */
function silentWav(): Buffer {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.write('WAVEfmt ', 8);
  header.write('data', 36);
  for (const [at, number] of [
    [4, 36],
    [16, 16],
    [24, 16_000],
    [28, 32_000],
    [40, 100],
  ] as const) {
    header.writeUInt32LE(number, at);
  }
  for (const [at, number] of [
    [20, 1],
    [22, 1],
    [32, 2],
    [34, 16],
  ] as const) {
    header.writeUInt16LE(number, at);
  }
  return header;
}

interface Case {
  name: string;
  model?: () => ReturnType<typeof model>;
  /** Of compare; default the model itself. */
  reference?: () => ReturnType<typeof model>;
  samples?: [name: string, content: string | Uint8Array | null];
  flags?: string[];
  /** Address space in bytes. */
  memory?: number;
  says: RegExp;
  only?: 'compare';
}

const zeros = (count: number) => new Array<number>(count).fill(0);
const CASES: Case[] = [
  {
    name: 'samples of the wrong name',
    samples: ['s.json', JSON.stringify([{ z: [zeros(WIDTH)] }])],
    says: /feeds z, /,
  },
  {
    name: 'samples of the wrong shape',
    samples: ['s.json', JSON.stringify([{ x: [zeros(3)] }])],
    says: /shape \[1,3\]/,
  },
  { name: 'samples of the wrong type', samples: ['s.json', '[{"x": [["a"]]}]'], says: /x .*no number|of shape/ },
  { name: 'an empty list of samples', samples: ['s.json', '[]'], says: /is an empty list/ },
  { name: 'an empty file of samples', samples: ['s.npz', ''], says: /is no intact zip file/ },
  { name: 'an empty folder of samples', samples: ['s', null], says: /holds no sample/ },
  { name: 'a WAV with a broken header', model: wavModel, samples: ['s.wav', silentWav()], says: /broken WAV header/ },
  {
    name: 'an operator that the runtime lacks',
    model: () => single('NoSuchOperator', ['x']),
    says: /model\.onnx needs an operator that this onnxruntime-node lacks \(.*NoSuchOperator/,
  },
  {
    name: 'a model that hangs',
    model: hanging,
    flags: ['--timeout-seconds', '8'],
    says: /model\.onnx did not finish an inference within 8 s and was stopped/,
  },
  {
    name: 'too little memory to run',
    model: hungry,
    memory: 4e9,
    says: /model\.onnx ran out of memory \(ConstantOfShape.*size 6400000000\)/,
  },
  {
    name: 'references with other outputs',
    only: 'compare',
    reference: () => single('Sin', ['x'], {}, 'z'),
    model: () => single('Sin', ['x']),
    says: /outputs of the reference are z, those of the model y/,
  },
];

const hasPrlimit = existsSync('/usr/bin/prlimit');
describe.each(CASES)(
  '$name',
  ({ model: make = smallModel, reference = make, samples, flags = [], memory, says, only }) => {
    const quantizes = samples ? (['quantize'] as const) : [];
    const commands = only ? [only] : (['validate', 'compare', ...quantizes] as const);
    test.skipIf(memory !== undefined && !hasPrlimit).each(commands)('%s', async (command) => {
      const folder = temp();
      const scratch = path.join(folder, 'tmp');
      mkdirSync(scratch);
      saveModel(folder, make(), 'model.onnx');
      saveModel(folder, reference(), 'reference.onnx');
      const args = [command, '--model', 'model.onnx', '--threads', '1', '--report', 'report', ...flags];
      if (command === 'quantize') args.push('--method', 'static', '--output', 'made.onnx');
      else args.push('--max-seconds', '1');
      if (command === 'compare') args.push('--reference', 'reference.onnx');
      if (samples) {
        const [name, content] = samples;
        if (content === null) mkdirSync(path.join(folder, name));
        else writeFileSync(path.join(folder, name), content);
        args.push(command === 'quantize' ? '--calibration-data' : '--samples', name);
      }
      const node = [process.execPath, cli, ...args];
      const [program, ...rest] = memory === undefined ? node : ['/usr/bin/prlimit', `--as=${memory}`, ...node];
      const { code, stderr } = await run(program!, rest, folder, scratch);
      const errors = stderr.split('\n').filter((line) => line.startsWith('error: '));
      const said =
        command === 'compare' && reference === make ? says.source.replace('model\\.onnx', '\\w+\\.onnx') : says;
      expect(errors, stderr).toEqual([expect.stringMatching(said)]);
      expect(errors[0]).toMatch(/[^.]\.$/);
      expect(stderr).not.toMatch(/bug|\n {4}at /);
      expect(code).toBe(1);
      expect(readdirSync(scratch)).toEqual([]);
      expect(readdirSync(folder)).not.toContainEqual(expect.stringContaining('made'));
      expect(sessionsIn(folder)).toEqual([]);
    });
  },
);

function run(program: string, args: string[], cwd: string, scratch: string) {
  const env = cleanEnvironment({ TMPDIR: scratch });
  // As on a user's machine: the runtime's own quiet mode is not in force.
  delete env.ORT_DISABLE_TELEMETRY;
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise<{ code: number | null; stderr: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stderr }));
  });
}

/** Session processes that were started in a folder and still run. */
function sessionsIn(folder: string): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const variables = readFileSync(`/proc/${pid}/environ`, 'utf8');
      return command.includes('session-process') && variables.includes(folder);
    } catch {
      return false; // It ended meanwhile, or is somebody else's.
    }
  });
}
