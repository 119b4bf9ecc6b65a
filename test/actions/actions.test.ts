import { appendFileSync, cpSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/actions/host.ts';
import { perform } from '../../src/actions/perform.ts';
import { InputError } from '../../src/errors.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { saveModel } from '../support/onnx-builder.ts';
import { runAction } from '../support/program.ts';
import { smallModel } from '../support/small-model.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const example = fileURLToPath(new URL('../../examples/sarai/config/sarai.yaml', import.meta.url));

describe('actions as the runner starts them', () => {
  it('quantize, checksum, validate and compare hand over outputs, summary and receipts', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    const quantized = await runAction('quantize', { model: 'model.onnx' }, folder);
    expect(quantized.code, quantized.stdout).toBe(0);
    expect(quantized.outputs).toMatchObject({ data: '', 'nodes-quantized': '2' });
    expect(quantized.outputs.model).toMatch(/model_int8\.onnx$/);
    expect(quantized.outputs.root).toMatch(/^[0-9a-f]{64}$/);
    expect(Number(quantized.outputs['compression-ratio'])).toBeGreaterThan(3);
    expect(quantized.summary).toContain('| `first` | MatMul | dynamic |');
    const receipt = JSON.parse(readFileSync(path.join(folder, 'model_int8.quantize.json'), 'utf8'));
    expect(receipt).toMatchObject({ action: 'quantize', verdict: 'pass', modelRoot: quantized.outputs.root });

    const created = await runAction('checksum', { mode: 'create', path: 'model_int8.onnx' }, folder);
    expect(created.outputs).toMatchObject({ files: '1', verified: 'true', mismatched: '' });

    const validated = await runAction(
      'validate',
      { model: 'model_int8.onnx', dims: 'batch=2', runs: '20', manifest: 'SHA256SUMS', 'allow-inconclusive': 'true' },
      folder,
    );
    expect(validated.code, validated.stdout).toBe(0);
    expect(Number(validated.outputs['latency-p50-ms'])).toBeGreaterThan(0);
    expect(Number(validated.outputs['memory-mb'])).toBeGreaterThan(10);
    expect(validated.summary).toContain('## Validate');

    const compared = await runAction(
      'compare',
      { reference: 'model.onnx', model: 'model_int8.onnx', dims: 'batch=2', 'max-seconds': '3', report: '.' },
      folder,
    );
    const page = readFileSync(path.join(folder, 'report.html'), 'utf8');
    for (const step of ['Quantize', 'Validate', 'Compare']) expect(page).toMatch(new RegExp(`<h2[^>]*>${step}`));
    expect(compared.code, compared.stdout).toBe(0);
    expect(compared.outputs.verdict).toBe('pass');
    expect(Number(compared.outputs.similarity)).toBeGreaterThan(0.98);
    expect(Number(compared.outputs.similarity)).toBeLessThan(1);
  });

  it('write outputs and receipts before they fail, and name figure, limit and what to do', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    const { code, stdout, outputs } = await runAction(
      'validate',
      { model: 'model.onnx', dims: 'batch=1', runs: '10', 'max-size-mb': '0.001' },
      folder,
    );
    expect(code).toBe(1);
    expect(outputs).toMatchObject({ verdict: 'fail', passed: 'false' });
    expect(stdout).toMatch(/^::error::.*0\.001/m);
    expect(readdirSync(folder)).toContain('model.validate.json');

    await runAction('checksum', { mode: 'create', path: 'model.onnx' }, folder);
    appendFileSync(path.join(folder, 'model.onnx'), 'x');
    const verified = await runAction('checksum', { mode: 'verify' }, folder);
    expect(verified.code).toBe(1);
    expect(verified.outputs).toMatchObject({ verified: 'false', mismatched: 'model.onnx' });
    expect(verified.stdout).toMatch(/^::error::.*model\.onnx/m);
  });

  it.each([
    ['quantize', {}, 'Input "model" is missing'],
    ['quantize', { model: 'm', method: 'int8' }, 'use one of: dynamic, weight-only, static, fp16, auto'],
    ['quantize', { model: 'm', 'min-similarity': '0.9' }, 'min-similarity'],
    ['validate', { model: 'absent.onnx' }, 'absent.onnx'],
    ['compare', { model: 'm', reference: 'r', 'min-similarity': '1.5' }, 'use a number from 0 to 1'],
    ['checksum', { mode: 'verify' }, 'SHA256SUMS'],
    ['promote-config', { mode: 'undo', config: 'c' }, 'use one of: check, promote, rollback'],
  ])('%s answers %o with one sentence and no stack', async (action, inputs, sentence) => {
    const { code, stdout, stderr } = await runAction(action, inputs as Record<string, string>, temp());
    expect(code).toBe(1);
    const errors = stdout.split('\n').filter((line) => line.startsWith('::error::'));
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain(sentence);
    expect(stdout + stderr).not.toMatch(/\n\s+at |This is a bug/);
  });

  it('keep a token out of the log', async () => {
    const { stdout } = await runAction('promote-config', { config: 'c.yaml', token: 'ghp_secret' }, temp());
    expect(stdout).toMatch(/^::add-mask::ghp_secret$/m);
    expect(stdout.replace('::add-mask::ghp_secret', '')).not.toContain('ghp_secret');
  });
});

describe('the whole chain', () => {
  it('promotes a model that passes, in one report, and rolls it back', async () => {
    const { folder, inputs, config } = project();
    const before = readFileSync(config, 'utf8');
    const { code, stdout, outputs, summary } = await runAction('pipeline', inputs, folder);
    expect(code, stdout).toBe(0);
    expect(outputs).toMatchObject({
      verdict: 'pass',
      changed: 'true',
      'nodes-quantized': '2',
      'previous-model-path': 'models/onnx/agi_audio_core.onnx',
      'previous-memory-mb': '4400',
      report: 'report',
    });
    expect(readFileSync(config, 'utf8')).toContain('model_path: models/onnx/agi_audio_core_int8.onnx');
    const reports = readdirSync(path.join(folder, 'report'));
    for (const action of ['quantize', 'checksum', 'validate', 'compare', 'promote-config']) {
      expect(reports).toContain(`agi_audio_core_int8.${action}.json`);
      expect(stdout).toContain(`::group::${action.replace('promote-config', 'promote')}`);
    }
    expect(stdout.split('::group::').length).toBe(stdout.split('::endgroup::').length);
    const page = readFileSync(path.join(folder, 'report', 'report.html'), 'utf8');
    expect(page).toContain('agi_audio_core_int8.onnx');
    expect(page).toContain('<svg');
    expect(summary.match(/^## /gm) ?? []).toHaveLength(1);

    const back = await runAction(
      'promote-config',
      { mode: 'rollback', 'project-root': 'sarai', config: 'config/sarai.yaml' },
      folder,
    );
    expect(back.code, back.stdout).toBe(0);
    expect(readFileSync(config, 'utf8')).toBe(before);
  });

  it('leaves the config alone when a gate fails, and still shows every figure', async () => {
    const { folder, inputs, config } = project();
    const before = readFileSync(config, 'utf8');
    const { code, stdout, outputs } = await runAction('pipeline', { ...inputs, 'min-similarity': '0.9999999' }, folder);
    expect(code).toBe(1);
    expect(outputs.verdict).toBe('fail');
    expect(Number(outputs.similarity)).toBeGreaterThan(0.9);
    expect(Number(outputs['size-mb'])).toBeGreaterThan(0);
    expect(stdout).toMatch(/^::error::The similarity .* is below the limit/m);
    expect(readFileSync(config, 'utf8')).toBe(before);
    expect(readdirSync(path.join(folder, 'report'))).toContain('report.html');
  });

  it('promotes nothing on an inconclusive verdict, unless it is allowed: then loudly', async () => {
    const { folder, inputs, config } = project();
    const before = readFileSync(config, 'utf8');
    // One pair of runs is too few for any speed-up.
    const short = { ...inputs, 'min-speedup': '0.001', 'max-seconds': '0.001' };
    const refused = await runAction('pipeline', short, folder);
    expect(refused.code, refused.stdout).toBe(1);
    expect(refused.outputs.verdict).toBe('inconclusive');
    expect(refused.stdout).toMatch(/^::error::.*cannot be held against/m);
    expect(readFileSync(config, 'utf8')).toBe(before);

    const allowed = await runAction('pipeline', { ...short, 'allow-inconclusive': 'true' }, folder);
    expect(allowed.code, allowed.stdout).toBe(0);
    expect(allowed.outputs.verdict).toBe('inconclusive');
    expect(allowed.outputs.changed).toBe('true');
    expect(allowed.stdout).toMatch(/^::warning::.*compare\.json says 'inconclusive'/m);
    expect(allowed.stdout).not.toContain('::error::');
    expect(allowed.summary).toContain("says 'inconclusive'");
    expect(readFileSync(config, 'utf8')).toContain('model_path: models/onnx/agi_audio_core_int8.onnx');
  });
});

it.each(['validate', 'compare'])('%s keeps what is temporary in the folder that the runner names', async (name) => {
  const folder = temp();
  saveModel(folder, smallModel());
  const absent = path.join(folder, 'absent');
  const inputs = { model: 'model.onnx', ...(name === 'compare' ? { reference: 'model.onnx' } : {}) };
  const finished = await runAction(name, inputs, folder, { RUNNER_TEMP: absent });
  expect(finished.code).toBe(1);
  expect(finished.stdout).toContain(`::error::The temporary folder ${absent} cannot be written`);
});

describe('perform', () => {
  const host = (fields: Partial<Host> = {}) => {
    const said: string[] = [];
    const failed: string[] = [];
    const full: Host = {
      log: { ...silentLog, error: (message) => said.push(message) },
      debug: false,
      temporaryFolder: tmpdir(),
      step: () => undefined,
      endSteps: () => undefined,
      input: (name) => ({ model: 'm.onnx' })[name],
      spell: (input, value) => `${input}: ${value}`,
      output: (name, value) => said.push(`${name}=${value}`),
      secret: () => undefined,
      summary: async (markdown) => void said.push(markdown),
      fail: (message) => failed.push(message),
      ...fields,
    };
    return { full, said, failed };
  };
  const never = new AbortController().signal;

  it('hands out outputs and summary before it says any failure', async () => {
    const { full, said, failed } = host();
    const code = await perform(
      'quantize',
      async () => ({ outputs: { model: 'out' }, summary: '# it', failures: ['one', 'two'] }),
      full,
      never,
    );
    expect(code).toBe(1);
    expect(said).toEqual(['model=out', '# it', 'one']);
    expect(failed).toEqual(['two']);
  });

  it('calls anything but a user mistake a bug, with its causes; stacks only in debug', async () => {
    const broken = async (): Promise<never> => {
      throw new Error('outer', { cause: new Error('inner') });
    };
    const quiet = host();
    expect(await perform('quantize', broken, quiet.full, never)).toBe(1);
    expect(quiet.failed[0]).toMatch(/This is a bug .*: outer: inner\. .*RUNNER_DEBUG=1/);
    expect(quiet.failed[0]).not.toMatch(/\n\s+at /);
    const lines: string[] = [];
    const loud = host({ debug: true, log: { ...silentLog, info: (message) => lines.push(message) } });
    await perform('quantize', broken, loud.full, never);
    expect(loud.failed[0]).toMatch(/This is a bug .*: outer: inner\.$/);
    expect(lines.join('\n')).toMatch(/^Error: outer\n\s+at [\s\S]*caused by: Error: inner\n\s+at /);
  });

  it('says a mistake in its own words, and nothing more', async () => {
    const { full, failed } = host({ debug: true });
    await perform('quantize', async () => Promise.reject(new InputError('Do this.')), full, never);
    expect(failed).toEqual(['Do this.']);
  });

  it('says that it was cancelled, whatever the work threw', async () => {
    const { full, failed } = host();
    const controller = new AbortController();
    const code = await perform(
      'quantize',
      async () => {
        controller.abort();
        throw new Error('a worker went away');
      },
      full,
      controller.signal,
    );
    expect(code).toBe(130);
    expect(failed[0]).toMatch(/^Cancelled/);
  });
});

/** A workspace with a project root in it: an FP32 model and the example's config. */
function project() {
  const folder = temp();
  mkdirSync(path.join(folder, 'sarai/models/onnx'), { recursive: true });
  mkdirSync(path.join(folder, 'sarai/config'));
  saveModel(path.join(folder, 'sarai/models/onnx'), smallModel(), 'agi_audio_core.onnx');
  const config = path.join(folder, 'sarai/config/sarai.yaml');
  cpSync(example, config);
  const inputs = {
    model: 'sarai/models/onnx/agi_audio_core.onnx',
    'project-root': 'sarai',
    config: 'config/sarai.yaml',
    'config-memory-mb': '1200',
    dims: 'batch=512',
    runs: '30',
    'max-seconds': '4',
    report: 'report',
  };
  return { folder, inputs, config };
}
