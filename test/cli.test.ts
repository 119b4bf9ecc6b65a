import { chmodSync, copyFileSync, mkdirSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { DataType } from '../src/model/index.ts';
import { unguessable } from './inputs/models.ts';
import {
  external,
  floats,
  graph,
  model,
  node,
  saveExternalModel,
  saveModel,
  tensor,
  value,
} from './support/onnx-builder.ts';
import { runCli } from './support/program.ts';
import { realModels } from './support/real-models.ts';
import { smallModel } from './support/small-model.ts';
import { useTemp } from './support/temp.ts';

const temp = useTemp();

describe('the command line', () => {
  it('says its version, its commands and the flags of each', async () => {
    const folder = temp();
    expect((await runCli(['--version'], folder)).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const overview = await runCli(['--help'], folder);
    const commands = [
      'quantize',
      'checksum',
      'validate',
      'compare',
      'promote-config',
      'pipeline',
      'preflight',
      'inspect',
    ];
    for (const command of commands) {
      expect(overview.stdout).toContain(`\n  ${command} `);
    }
    const help = await runCli(['compare', '--help'], folder);
    expect(help).toMatchObject({ code: 0 });
    expect(help.stdout).toContain('--min-similarity <0 to 1> (0.98)');
    expect((await runCli([], folder)).stdout).toBe(overview.stdout);
    const preflight = await runCli(['preflight', '--help'], folder);
    expect(preflight.stdout).toMatch(/^onnx-quantize-actions preflight: Say what is missing/);
    expect(preflight.stdout).not.toContain('Outputs:');
    expect((await runCli(['help', 'preflight'], folder)).stdout).toBe(preflight.stdout);
  });

  it.each([
    [['quantise'], 'Unknown command "quantise"; did you mean "quantize"?'],
    [['quantize', '--modle', 'm'], 'Unknown flag "--modle" for quantize; did you mean "--model"?'],
    [['quantize'], 'Input "model" is missing'],
    [['quantize', '--model', 'm.onnx', '--method', 'dynamicc'], 'use one of: dynamic, weight-only, static, fp16, auto'],
    [['checksum', '--mode', 'create'], 'Input "path" is empty'],
    [['promote-config', '--mode', 'promote', '--config', 'c.yaml'], 'Input "model" is missing'],
  ])('answers %o in one sentence', async (args, sentence) => {
    const { code, stderr, stdout } = await runCli(args, temp());
    expect(code).toBe(1);
    expect(stderr).toContain(`error: `);
    expect(stderr).toContain(sentence);
    expect(stderr + stdout).not.toMatch(/\n\s+at /);
  });

  it('prints results on stdout and everything else on stderr', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    const { code, stdout, stderr } = await runCli(['quantize', '--model', 'model.onnx'], folder);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^model {2,}.*model_int8\.onnx$/m);
    expect(stdout).toMatch(/^nodes-quantized {2,}2$/m);
    expect(stderr).toMatch(/^onnx-quantize-actions quantize\n/);
    expect(readdirSync(folder).sort()).toEqual(['model.onnx', 'model_int8.onnx', 'model_int8.quantize.json']);
  });

  it('plans without writing anything', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    const { code, stderr } = await runCli(['quantize', '--model', 'model.onnx', '--dry-run'], folder);
    expect(code).toBe(0);
    expect(stderr).toContain('first');
    expect(readdirSync(folder)).toEqual(['model.onnx']);
  });
});

describe('preflight', () => {
  it('says what is missing before anything runs', async () => {
    const folder = temp();
    const { code, stdout } = await runCli(
      [
        'preflight',
        '--model',
        'absent.onnx',
        '--output',
        'no/such/folder/out.onnx',
        '--restart-command',
        'no-such-program x',
        '--config',
        'no.yaml',
        '--health-url',
        'http://127.0.0.1:9/health',
      ],
      folder,
    );
    expect(code).toBe(1);
    for (const subject of ['model', 'disk', 'no-such-program', 'config', 'service']) {
      expect(stdout).toMatch(new RegExp(`^missing +${subject} `, 'm'));
    }
    expect(stdout).toMatch(/^ok +node /m);
    expect(stdout).toMatch(/^ok +runtime .*onnxruntime-node \d/m);
    expect(readdirSync(folder)).toEqual([]);
    expect((await runCli(['preflight'], folder)).stdout).toContain('No model is named');
  });

  it('passes where everything is there', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    const { code, stdout } = await runCli(['preflight', 'model.onnx'], folder);
    expect(stdout).toContain('Everything that the chain needs is here.');
    expect(code).toBe(0);
  });
});

describe('preflight and the chain agree: what stops the one is missing in the other', () => {
  const chain = ['--runs', '2', '--max-seconds', '1', '--allow-inconclusive'];
  const cases: [string, string, (folder: string) => string[]][] = [
    [
      'values',
      'weight "W1" has 1 NaN value',
      (folder) => {
        saveModel(
          folder,
          smallModel((weights) => weights.fill(Number.NaN, 5, 6)),
        );
        return [];
      },
    ],
    [
      'inputs',
      'Say what it takes: --dims "width=<size>"',
      (folder) => {
        saveModel(folder, unguessable());
        return [];
      },
    ],
    [
      'samples',
      'x.json',
      (folder) => {
        saveModel(folder, smallModel());
        writeFileSync(path.join(folder, 'x.json'), '{"x": [[1, 2]]}');
        return ['--samples', 'x.json'];
      },
    ],
    [
      'inputs',
      'no input has a dimension seq',
      (folder) => {
        saveModel(folder, smallModel());
        return ['--dims', 'seq=3'];
      },
    ],
    [
      'way back',
      'the model in the config now, gone.onnx, is not whole',
      (folder) => {
        saveModel(folder, smallModel());
        writeFileSync(path.join(folder, 'c.yaml'), 'audio_omni:\n  model_path: gone.onnx\n');
        return ['--config', 'c.yaml'];
      },
    ],
    [
      'config',
      "say with 'model-path-key' which one is meant",
      (folder) => {
        saveModel(folder, smallModel());
        writeFileSync(path.join(folder, 'c.yaml'), 'a: { model_path: model.onnx }\nb: { model_path: model.onnx }\n');
        return ['--config', 'c.yaml'];
      },
    ],
    [
      'config',
      "'set' has the line 'threads'; write key=value",
      (folder) => {
        saveModel(folder, smallModel());
        writeFileSync(path.join(folder, 'c.yaml'), 'audio_omni:\n  model_path: model.onnx\n');
        return ['--config', 'c.yaml', '--set', 'threads'];
      },
    ],
  ];
  it.each(cases)('%s: %s', async (subject, sentence, prepare) => {
    const folder = temp();
    const flags = prepare(folder);
    const { code, stdout } = await runCli(['preflight', 'model.onnx', ...flags], folder);
    expect(code).toBe(1);
    expect(stdout).toMatch(new RegExp(`^missing +${subject} `, 'm'));
    expect(stdout).toContain(sentence);
    expect((await runCli(['pipeline', 'model.onnx', ...flags, ...chain], folder)).code).toBe(1);
  });

  it('takes the key that promotion would take, and forces what it would force', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    writeFileSync(path.join(folder, 'c.yaml'), 'serving:\n  model_path: gone.onnx\n');
    const { code, stdout } = await runCli(['preflight', 'model.onnx', '--config', 'c.yaml', '--force'], folder);
    expect(stdout).toContain('serving.model_path is gone.onnx, serving.max_memory_mb would be inserted');
    expect(code).toBe(0);
  });

  it('says of a result that is no smaller', async () => {
    const folder = temp();
    const tiny = model(
      graph({
        nodes: [node('MatMul', ['x', 'w'], ['y'])],
        inputs: [value('x', [1, 2])],
        outputs: [value('y', [1, 2])],
        initializers: [floats('w', [2, 2], [1, 2, 3, 4])],
      }),
    );
    saveModel(folder, tiny);
    const { stdout } = await runCli(['preflight', 'model.onnx'], folder);
    expect(stdout).toMatch(/^note +result +.*no smaller/m);
  });
});

/** Each case prepares a folder and names the flags; the answer must be one sentence that holds `says`. */
const bad: { what: string; says: RegExp; prepare: (folder: string) => string[] | undefined }[] = [
  {
    what: 'a file that is not ONNX',
    says: /model\.onnx/,
    prepare: (folder) =>
      void writeFileSync(path.join(folder, 'model.onnx'), 'This is a text and no model.\n'.repeat(20)),
  },
  {
    what: 'an empty file',
    says: /model\.onnx.*empty|empty.*model\.onnx/,
    prepare: (folder) => void writeFileSync(path.join(folder, 'model.onnx'), ''),
  },
  {
    what: 'a truncated model',
    says: /model\.onnx/,
    prepare: (folder) => {
      copyFileSync(realModels.ocrDirection, path.join(folder, 'model.onnx'));
      truncateSync(path.join(folder, 'model.onnx'), 300_000);
      return undefined;
    },
  },
  { what: 'no file', says: /model\.onnx/, prepare: () => undefined },
  {
    what: 'a directory',
    says: /director|folder/,
    prepare: (folder) => void mkdirSync(path.join(folder, 'model.onnx')),
  },
  {
    what: 'external data that is missing',
    says: /model\.onnx\.data/,
    prepare: (folder) => {
      saveExternalModel(folder, smallModel());
      truncateSync(path.join(folder, 'model.onnx.data'), 0);
      return undefined;
    },
  },
  {
    what: 'external data that is too short',
    says: /model\.onnx\.data/,
    prepare: (folder) => {
      saveExternalModel(folder, smallModel());
      truncateSync(path.join(folder, 'model.onnx.data'), 40_000);
      return undefined;
    },
  },
  {
    what: 'external data outside the folder',
    says: /\.\./,
    prepare: (folder) => void saveModel(folder, withLocation('../secret.data')),
  },
  {
    what: 'external data behind an absolute path',
    says: /absolute|\/etc/,
    prepare: (folder) => void saveModel(folder, withLocation('/etc/passwd')),
  },
  {
    what: 'external data behind a link out of the folder',
    says: /link/,
    prepare: (folder) => {
      saveModel(folder, withLocation('weights.data'));
      symlinkSync('/etc/passwd', path.join(folder, 'weights.data'));
      return undefined;
    },
  },
  {
    what: 'weights with NaN',
    says: /NaN/,
    prepare: (folder) =>
      void saveModel(
        folder,
        smallModel((weights) => weights.fill(Number.NaN, 5, 6)),
      ),
  },
  {
    what: 'a name that two initializers have',
    says: /two initializers called "W1".*give each value a name of its own/,
    prepare: (folder) => {
      const proto = smallModel();
      proto.graph!.initializer.push(floats('W1', [64, 128], new Float32Array(64 * 128)));
      saveModel(folder, proto);
      return undefined;
    },
  },
  {
    what: 'FP16 weights',
    says: /FP16|float16/i,
    prepare: (folder) => void saveModel(folder, halfModel()),
  },
  {
    what: 'an output equal to the input',
    says: /output/,
    prepare: (folder) => {
      saveModel(folder, smallModel());
      return ['--output', './model.onnx'];
    },
  },
  {
    what: 'an unknown method',
    says: /use one of: dynamic/,
    prepare: (folder) => {
      saveModel(folder, smallModel());
      return ['--method', 'magic'];
    },
  },
  {
    what: 'static without calibration data',
    says: /calibration-data/,
    prepare: (folder) => {
      saveModel(folder, smallModel());
      return ['--method', 'static'];
    },
  },
  {
    what: 'an output folder that is a file',
    says: /out/,
    prepare: (folder) => {
      saveModel(folder, smallModel());
      writeFileSync(path.join(folder, 'out'), '');
      return ['--output', 'out/int8.onnx'];
    },
  },
  {
    what: 'a folder for receipts that is a file',
    says: /"report" is the folder for receipts, and out is a file/,
    prepare: (folder) => {
      saveModel(folder, smallModel());
      writeFileSync(path.join(folder, 'out'), '');
      return ['--report', 'out'];
    },
  },
];

describe('bad input', () => {
  it.each(bad)('$what', async ({ says, prepare }) => {
    const folder = temp();
    const flags = prepare(folder) ?? [];
    const before = listing(folder);
    await expectOneSentence(await runCli(['quantize', '--model', 'model.onnx', ...flags], folder), says);
    expect(listing(folder)).toEqual(before);
  });

  it('a model that is quantized already', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    expect(await runCli(['quantize', '--model', 'model.onnx', '--report', 'report'], folder)).toMatchObject({
      code: 0,
    });
    const before = listing(folder);
    await expectOneSentence(
      await runCli(['quantize', '--model', 'model_int8.onnx', '--report', 'report'], folder),
      /already quantized|quantized already/,
    );
    expect(listing(folder)).toEqual(before);
  });

  it.skipIf(process.getuid?.() === 0)('a file that may not be read', async () => {
    const folder = temp();
    chmodSync(saveModel(folder, smallModel()), 0o000);
    await expectOneSentence(await runCli(['quantize', '--model', 'model.onnx'], folder), /permission/);
    expect(readdirSync(folder)).toEqual(['model.onnx']);
  });

  it('ends cleanly when it is stopped, with nothing left behind', async () => {
    const folder = temp();
    saveExternalModel(folder, largeModel());
    const before = listing(folder);
    const { code, stderr } = await runCli(['quantize', '--model', 'model.onnx', '--threads', '1'], folder, (kill) => {
      // It is at work once the first temporary file stands beside the model.
      const watch = setInterval(() => {
        if (listing(folder).length === before.length) return;
        clearInterval(watch);
        kill('SIGTERM');
      }, 2);
    });
    expect(code, stderr).toBe(130);
    expect(stderr).toContain('Cancelled');
    expect(listing(folder)).toEqual(before);
  });
});

async function expectOneSentence(
  { code, stdout, stderr }: { code: number | null; stdout: string; stderr: string },
  says: RegExp,
) {
  const errors = stderr.split('\n').filter((line) => line.startsWith('error: '));
  expect(errors, stderr).toHaveLength(1);
  expect(errors[0]).toMatch(says);
  expect(stderr).not.toMatch(/\n\s+at |This is a bug/);
  expect(stdout).toBe('');
  expect(code).toBe(1);
}

function halfModel() {
  const weights = tensor('W', DataType.FLOAT16, [64, 64], { rawData: new Uint8Array(64 * 64 * 2) });
  return model(
    graph({
      nodes: [node('MatMul', ['x', 'W'], ['y'])],
      inputs: [value('x', [1, 64], DataType.FLOAT16)],
      outputs: [value('y', [1, 64], DataType.FLOAT16)],
      initializers: [weights],
    }),
  );
}

function withLocation(location: string) {
  return model(
    graph({
      nodes: [node('MatMul', ['x', 'W'], ['y'])],
      inputs: [value('x', [1, 64])],
      outputs: [value('y', [1, 64])],
      initializers: [external('W', DataType.FLOAT, [64, 64], { location, offset: 0, length: 64 * 64 * 4 })],
    }),
  );
}

function largeModel() {
  const side = 8000;
  return model(
    graph({
      nodes: [node('MatMul', ['x', 'W'], ['y'])],
      inputs: [value('x', [1, side])],
      outputs: [value('y', [1, side])],
      initializers: [floats('W', [side, side], new Float32Array(side * side).fill(0.5))],
    }),
  );
}

function listing(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[]).sort();
}
