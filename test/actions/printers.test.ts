import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FP32, INT8, makeSite, type Site } from '../config/support/site.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { runAction, runCli } from '../support/program.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const HOSTILE = 'bad\n::add-mask::shown\r::error::mine\u001b[2J\u009b\u007f##[add-mask]also\u202e';

/** Names that try to speak to the runner and to the terminal, in a model whose INT8 form is poor. */
function hostileModel() {
  const weights = seeded(3).floats(64 * 64, 0.1);
  weights[5] = 4000;
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', `W${HOSTILE}`], [`h${HOSTILE}`], {}, { name: `first${HOSTILE}` }),
        node('Tanh', [`h${HOSTILE}`], ['r'], {}, { name: `tanh${HOSTILE}` }),
        node('MatMul', ['r', 'W2'], ['y'], {}, { name: `second${HOSTILE}` }),
      ],
      inputs: [value('x', [1, 64])],
      outputs: [value('y', [1, 64])],
      initializers: [floats(`W${HOSTILE}`, [64, 64], weights), floats('W2', [64, 64], seeded(4).floats(64 * 64, 0.1))],
    }),
    { metadata: { [`key${HOSTILE}`]: `value${HOSTILE}` } },
  );
}

/** Nothing that the model, the config or the service said begins a line, is a command or moves a cursor. */
function expectTame({ stdout, stderr }: { stdout: string; stderr: string }): void {
  for (const line of `${stdout}\n${stderr}`.split('\n')) {
    // What the runner's own commands hold is escaped by the client: %0A is no line.
    expect(line).not.toMatch(/[\p{Cc}\p{Cs}\u202e\u2028]/u);
    expect(line.trim()).not.toMatch(/^(::add-mask|::error::mine|##\[)/);
    expect(line).not.toContain('##[');
    expect(line.replace(/^::\w+[^:]*::/, '')).not.toMatch(/%0A|%0D/);
  }
}

describe('names from a model', () => {
  it.each(['dry-run', 'run'])('are tame in the %s of quantize, on a terminal and on a runner', async (kind) => {
    const folder = temp();
    saveModel(folder, hostileModel());
    const dry = kind === 'dry-run';
    const terminal = await runCli(['quantize', '--model', 'model.onnx', ...(dry ? ['--dry-run'] : [])], folder);
    expect(terminal.code, terminal.stderr).toBe(0);
    if (dry) expect(terminal.stderr).toContain('\\n::add-mask::shown');
    expectTame(terminal);
    const runner = await runAction('quantize', { model: 'model.onnx', 'dry-run': String(dry) }, folder);
    expect(runner.code, runner.stdout).toBe(0);
    expectTame(runner);
    expect(runner.summary.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
    expect(runner.summary).not.toMatch(/^\s*::/m);
  });

  it("are tame in compare's layers and in validate", async () => {
    const folder = temp();
    saveModel(folder, hostileModel());
    await runCli(['quantize', '--model', 'model.onnx'], folder);
    const flags = { model: 'model_int8.onnx', 'max-seconds': '1', 'allow-inconclusive': 'true' };
    const compared = { ...flags, reference: 'model.onnx', count: '2', 'min-similarity': '0.999999999' };
    const asFlags = (inputs: Record<string, string>) => Object.entries(inputs).flatMap(([k, v]) => [`--${k}`, v]);
    const terminal = await runCli(['compare', ...asFlags(compared)], folder);
    expect(terminal.code).toBe(1);
    expect(terminal.stderr).toContain('bad\\n::add-mask::shown');
    expectTame(terminal);
    for (const [name, inputs] of [
      ['compare', compared],
      ['validate', flags],
    ] as const) {
      const runner = await runAction(name, inputs, folder);
      expectTame(runner);
      expect(runner.summary.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
    }
  });

  it.each([
    ['inspect', []],
    ['preflight', []],
    ['quantize', ['--dry-run']],
    ['quantize', ['--output', `out${HOSTILE.replaceAll(/[/:]/g, '')}.onnx`]],
  ])('are tame on the standard output of %s %j, as text and as JSON', async (command, flags) => {
    const folder = temp();
    saveModel(folder, hostileModel());
    for (const json of [[], ['--json']]) {
      const { code, stdout } = await runCli([command, 'model.onnx', ...flags, ...json], folder);
      expect(code).toBe(0);
      expectTame({ stdout, stderr: '' });
      if (json.length === 0) continue;
      expect(stdout).toMatch(/^[^\n]*\n$/);
      const { result } = JSON.parse(stdout);
      if (command === 'inspect') expect(result.metadata).toEqual({ [`key${HOSTILE}`]: `value${HOSTILE}` });
    }
  });

  it('are tame where they are the reason for a refusal', async () => {
    const folder = temp();
    const weights = new Float32Array(64 * 64).fill(Number.NaN);
    saveModel(
      folder,
      model(
        graph({
          nodes: [node('MatMul', ['x', HOSTILE], ['y'], {}, { name: HOSTILE })],
          inputs: [value('x', [1, 64])],
          outputs: [value('y', [1, 64])],
          initializers: [floats(HOSTILE, [64, 64], weights)],
        }),
      ),
    );
    for (const run of [
      await runCli(['quantize', '--model', 'model.onnx'], folder),
      await runAction('quantize', { model: 'model.onnx' }, folder),
    ]) {
      expect(run.code).toBe(1);
      expectTame(run);
    }
  });
});

describe("a service's answer and a config", () => {
  let server: Server;
  let site: Site;
  let answer = '';
  beforeAll(async () => {
    server = createServer((_, response) => response.writeHead(200).end(answer));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    site = await makeSite();
  });
  afterAll(async () => {
    server.close();
    await site.close();
  });

  it.each([
    ['no JSON', `no json ${HOSTILE}`],
    ['another value', JSON.stringify({ model: `m${HOSTILE}` })],
  ])('are tame where health gives %s', async (_, text) => {
    answer = text;
    await site.receipts();
    const inputs = {
      mode: 'promote',
      'project-root': site.root,
      config: 'config/sarai.yaml',
      model: INT8,
      'config-memory-mb': '1200',
      'health-url': `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
      'health-json-path': 'model',
      'health-timeout': '1',
    };
    const folder = temp();
    const runner = await runAction('promote-config', inputs, folder);
    expect(runner.code, runner.stdout).toBe(1);
    expect(runner.stdout).toMatch(/is no JSON|is expected/);
    expectTame(runner);
    const terminal = await runCli(
      ['promote-config', ...Object.entries(inputs).flatMap(([k, v]) => [`--${k}`, v])],
      folder,
    );
    expect(terminal.code).toBe(1);
    expectTame(terminal);
  });

  it('are tame where a pull request names models', async () => {
    const folder = temp();
    mkdirSync(path.join(folder, 'config'));
    copyFileSync(path.join(site.root, FP32), path.join(folder, 'm.onnx'));
    const name = JSON.stringify(`models/${HOSTILE}.onnx`);
    writeFileSync(path.join(folder, 'config/c.yaml'), `audio_omni:\n  model_path: ${name}\n  ${name}: 1\n`);
    const inputs = { mode: 'check', 'project-root': folder, config: 'config/c.yaml' };
    expectTame(await runAction('promote-config', inputs, folder));
    expectTame(await runCli(['promote-config', ...Object.entries(inputs).flatMap(([k, v]) => [`--${k}`, v])], folder));
  });
});
