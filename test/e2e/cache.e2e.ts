import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { missingTool, runAct } from './support/act.ts';
import { saveSpeechModel } from './support/model.ts';
import { commitAll, makeSandbox, OUR_REPOSITORY, OUR_SHA, removeSandbox, type Sandbox } from './support/sandbox.ts';

const missing = missingTool();

/** The runtime through the runner's cache service, which speaks the first version of its protocol. */
describe.skipIf(missing)(`the cache service of a runner${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let sandbox: Sandbox;
  let broken: Server | undefined;
  let models: string;

  beforeAll(() => {
    sandbox = makeSandbox({});
    models = path.join(sandbox.workstation, 'models', 'onnx');
    saveSpeechModel(path.join(models, 'model.onnx'));
    // The temporary folder of a real runner is the same in every run; act makes a new one.
    const temp = path.join(sandbox.root, 'temp');
    mkdirSync(temp);
    writeFileSync(
      path.join(sandbox.consumer, '.github', 'workflows', 'cache.yml'),
      `on: workflow_dispatch
jobs:
  quantize:
    runs-on: self-hosted
    steps:
      - uses: ${OUR_REPOSITORY}/actions/quantize@${OUR_SHA}
        with:
          model: ${models}/model.onnx
          cache: true
        env: { RUNNER_TEMP: ${temp} }
      - uses: ${OUR_REPOSITORY}/actions/validate@${OUR_SHA}
        with:
          model: ${models}/model_int8.onnx
          ranges: audio_codes=0..1023
          max-seconds: 1
          allow-inconclusive: true
        env: { RUNNER_TEMP: ${temp} }
`,
    );
    commitAll(sandbox, 'Quantize with the cache');
  });
  afterEach(() => broken?.close());
  afterAll(() => {
    if (sandbox) removeSandbox(sandbox);
  });

  it('gives the second run the runtime of the first, and never a model', async () => {
    const first = await run();
    expect(first.receipts.validate.results.runtime.source).toBe('download');
    const second = await run();
    expect(second.receipts.validate.results.runtime.source).toBe('cache');
    for (const { output } of [first, second]) expect(output).toContain('Input "cache" does nothing for method dynamic');
  });

  it('that is broken costs warnings and nothing else', async () => {
    const asked: string[] = [];
    broken = createServer((request, response) => {
      asked.push(request.method ?? '');
      response.writeHead(500).end('out of order');
    });
    const { port } = await new Promise<{ port: number }>((resolve) => {
      broken?.listen(0, '127.0.0.1', () => resolve(broken?.address() as { port: number }));
    });
    const { output, receipts } = await run({ ACTIONS_CACHE_URL: `http://127.0.0.1:${port}/` });
    expect(new Set(asked)).toEqual(new Set(['GET', 'POST']));
    expect(output).toMatch(/::warning::.*(restore|save).*500/i);
    expect(output).not.toContain('::error');
    expect(receipts.validate.results.runtime.source).toBe('download');
  });

  /** One run on a runner that has nothing but its cache service: no result and no runtime of an earlier run. */
  async function run(env: Record<string, string> = {}) {
    for (const name of readdirSync(models)) {
      if (name.startsWith('model_int8')) rmSync(path.join(models, name), { recursive: true });
    }
    rmSync(path.join(sandbox.root, 'xdg', 'act', 'tool_cache'), { recursive: true, force: true });
    const finished = await runAct(sandbox, {
      event: 'workflow_dispatch',
      workflow: 'cache.yml',
      payload: {},
      env,
    });
    expect(finished.exitCode, finished.output).toBe(0);
    const receipt = (action: string) =>
      JSON.parse(readFileSync(path.join(models, `model_int8.${action}.json`), 'utf8'));
    return { output: finished.output, receipts: { quantize: receipt('quantize'), validate: receipt('validate') } };
  }
});
