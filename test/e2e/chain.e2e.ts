import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ActRun, freePort, missingTool, node24, runAct } from './support/act.ts';
import { type GitHub, serveGitHub } from './support/github.ts';
import { saveLargeModel, saveSpeechModel } from './support/model.ts';
import { commitAll, makeSandbox, OUR_REPOSITORY, OUR_SHA, removeSandbox, type Sandbox } from './support/sandbox.ts';

const service = fileURLToPath(new URL('../fixtures/service', import.meta.url));
const bursts = new URL('../../bench/support/bursts.mjs', import.meta.url).href;
const FILES = ['agi_audio_core.onnx', 'agi_audio_core.onnx.data'];
const missing = missingTool();
const cramped = tooSmallForLargeModel();

/**
 * A user's repository, as the example has it, on a runner: a tag promotes, a pull request is checked, a button rolls
 * back. The service really loads what the config says.
 */
describe.skipIf(missing)(`the example consumer on a runner${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let sandbox: Sandbox;
  let port: number;
  let original: Buffer;
  let github: GitHub;

  beforeAll(async () => {
    port = await freePort();
    const state = '@STATE@';
    const restart = (root: string) =>
      [
        path.join(node24, 'node'),
        path.join(service, 'restart.mjs'),
        root,
        `${root}/config/sarai.yaml`,
        root,
        port,
      ].join(' ');
    sandbox = makeSandbox({
      'sudo systemctl restart sarai': state,
      '127.0.0.1:8080': `127.0.0.1:${port}`,
      // A small model on a shared machine says nothing about SARAi's latency; the other gates stay.
      'min-speedup: "2.0"': 'min-speedup: ""',
    });
    const workflows = path.join(sandbox.consumer, '.github', 'workflows');
    for (const name of ['quantize.yml', 'rollback.yml']) {
      const file = path.join(workflows, name);
      writeFileSync(file, readFileSync(file, 'utf8').replaceAll(state, restart(sandbox.production)));
    }
    attest(path.join(workflows, 'quantize.yml'));
    commitAll(sandbox, 'Point at this machine');
    github = await serveGitHub(sandbox.home);
    putModel(saveSpeechModel);
    const config = path.join(sandbox.production, 'config', 'sarai.yaml');
    mkdirSync(path.dirname(config), { recursive: true });
    copyFileSync(consumerConfigFile(), config);
    original = readFileSync(config);
    execFileSync(process.execPath, restart(sandbox.production).split(' ').slice(1));
    expect(await served()).toBe('models/onnx/agi_audio_core.onnx');
  });

  afterAll(() => {
    github?.close();
    if (!sandbox) return;
    execFileSync(process.execPath, [path.join(service, 'restart.mjs'), sandbox.production, 'stop']);
    removeSandbox(sandbox);
  });

  it('takes a pushed tag from the workstation to a promoted model that the service serves, beside bursts of other work', async () => {
    const { withBursts } = await import(bursts);
    await withBursts(() => promote('quantize-v1'));
    expect(await served()).toBe('models/onnx/agi_audio_core_int8.onnx');
    const changed = difference(original, readConfig());
    expect(changed).toHaveLength(2);
    expect(changed[0]).toContain('model_path: models/onnx/agi_audio_core_int8.onnx');
    expect(changed[1]).toContain('max_memory_mb: 1200');
  });

  it('annotates the lines of a pull request that breaks the config, and fails', async () => {
    const lines = consumerConfig().split('\n');
    const line = lines.findIndex((text) => text.includes('models/onnx/agi_audio_core.onnx'));
    lines[line] = lines[line]?.replace('model_path', 'model_pth') ?? '';
    const run = await openPullRequest(lines.join('\n'), { fork: true });
    expect(run.exitCode).toBe(1);
    expect(run.output).toMatch(new RegExp(`::error [^\\n]*file=[^\\n]*sarai\\.yaml[^\\n]*line=${line + 1}\\b`));
    expect(run.output).toContain('model_pth');
    expect(github.comments).toEqual([]);
  });

  it('keeps one comment with the budget on a pull request of the repository itself', async () => {
    const sound = consumerConfig();
    const marker = '<!-- onnx-quantize-actions: config check of config/sarai.yaml -->';
    github.comments.push({ id: 1, issue: 7, user: { login: 'somebody' }, body: `${marker}\nnot ours` });
    const first = await openPullRequest(sound.replace('max_memory_mb: 4400', 'max_memory_mb: 4300'), { fork: false });
    expect(first.exitCode, first.output).toBe(0);
    expect(github.comments).toHaveLength(2);
    expect(github.comments[1]?.body).toContain('| 4.3 GB \\(limit\\) |');
    const second = await openPullRequest(sound.replace('max_memory_mb: 4400', 'max_memory_mb: 4200'), { fork: false });
    expect(second.exitCode, second.output).toBe(0);
    expect(github.comments).toHaveLength(2);
    expect(github.comments[1]?.body).toContain('| 4.2 GB \\(limit\\) |');
    expect(github.comments[0]?.body).toContain('not ours');
  });

  it('rolls back at the press of a button, well within a minute', async () => {
    const started = performance.now();
    await rollBack();
    expect(performance.now() - started).toBeLessThan(60_000);
    expect(readConfig().equals(original)).toBe(true);
    expect(await served()).toBe('models/onnx/agi_audio_core.onnx');
  });

  it('rolls back while a promotion is watched: that one gives way, and the service restarts once', async () => {
    editWorkflow('    with:\n', '    with:\n      watch-seconds: "600"\n');
    const promotion = pushTag('quantize-v1.1');
    try {
      await until(async () => (await served()) === 'models/onnx/agi_audio_core_int8.onnx');
      const started = performance.now();
      const output = await rollBack();
      expect(performance.now() - started).toBeLessThan(60_000);
      expect(output).toMatch(/A promote \(process \d+ on \S+\) is at work; asking it to give way/);
      expect(output.match(/Restarting: /g)).toHaveLength(1);
      expect(readConfig().equals(original)).toBe(true);
      expect(await served()).toBe('models/onnx/agi_audio_core.onnx');
    } finally {
      editWorkflow('      watch-seconds: "600"\n', '');
    }
    const gaveWay = await promotion;
    expect(gaveWay.exitCode).toBe(1);
    expect(gaveWay.output).toMatch(/The promotion gave way: a rollback was asked for by/);
    // Pressed again, it says so and changes nothing.
    expect(await rollBack()).toMatch(/Nothing is undone, because the last promotion was not proved/);
    expect(readConfig().equals(original)).toBe(true);
  });

  it('promotes the same model again with another tag, after a download that arrived damaged', async () => {
    const run = await promote('quantize-v2', { DAMAGE_FIRST_DOWNLOAD_OF: 'verify' });
    expect(run.output).toContain('Artifact digest mismatch');
    expect(await served()).toBe('models/onnx/agi_audio_core_int8.onnx');
  });

  it('refuses another model of the same name, and leaves production as it is', async () => {
    const before = productionFiles();
    putModel((file) => saveSpeechModel(file, 2));
    const run = await pushTag('quantize-v3');
    expect(run.exitCode).toBe(1);
    expect(run.output).toMatch(/::error::\S+agi_audio_core_int8\.onnx is another model/);
    expect(run.output).not.toContain('Promote agi_audio_core_int8');
    expect(productionFiles()).toEqual(before);
    expect(await served()).toBe('models/onnx/agi_audio_core_int8.onnx');
  });

  it.skipIf(cramped)(
    `takes 4.6 GB of weights through the same chain, as an artifact of 1.15 GB, and back${cramped ? ` (skipped: ${cramped})` : ''}`,
    async () => {
      editWorkflow('name: agi_audio_core_int8\n', 'name: agi_audio_core_int8_v2\n');
      // A few runs will do for a model that takes its time.
      editWorkflow('    with:\n', '    with:\n      max-seconds: "1"\n');
      putModel(saveLargeModel);
      await promote('quantize-v4');
      expect(await served()).toBe('models/onnx/agi_audio_core_int8_v2.onnx');
      const models = path.join(sandbox.production, 'models', 'onnx');
      expect(statSync(path.join(models, 'agi_audio_core_int8_v2.onnx.data')).size).toBeGreaterThan(1.1e9);
      expect(spawnSync('sha256sum', ['--check', 'SHA256SUMS'], { cwd: models }).status).toBe(0);

      await rollBack();
      expect(await served()).toBe('models/onnx/agi_audio_core_int8.onnx');
    },
  );

  async function rollBack(): Promise<string> {
    const inputs = { mode: 'rollback', to: '', reason: 'answers sound wrong', 'dry-run': 'false' };
    const run = await runAct(sandbox, { event: 'workflow_dispatch', workflow: 'rollback.yml', payload: { inputs } });
    expect(run.exitCode, run.output).toBe(0);
    return run.output;
  }

  /** Waits for a condition for as long as the test may take. */
  async function until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 250));
  }

  /** Names and digests of all that lies where the service looks. */
  function productionFiles(): string[] {
    return ['config', 'models/onnx'].flatMap((folder) => {
      const at = path.join(sandbox.production, folder);
      return readdirSync(at, { withFileTypes: true })
        .filter((entry) => entry.isFile() && !FILES.includes(entry.name))
        .map(
          ({ name }) =>
            `${name} ${createHash('sha256')
              .update(readFileSync(path.join(at, name)))
              .digest('hex')}`,
        );
    });
  }

  function editWorkflow(from: string, to: string): void {
    const file = path.join(sandbox.consumer, '.github', 'workflows', 'quantize.yml');
    const text = readFileSync(file, 'utf8');
    expect(text).toContain(from);
    writeFileSync(file, text.replace(from, to));
  }

  /** The config check of a pull request whose only change is the config. */
  async function openPullRequest(config: string, { fork }: { fork: boolean }): Promise<ActRun> {
    const base = commitAll(sandbox, 'Base');
    const sound = consumerConfig();
    writeFileSync(consumerConfigFile(), config);
    const head = commitAll(sandbox, 'Change the config');
    const repository = { full_name: 'example/sarai' };
    const payload = {
      action: 'opened',
      number: 7,
      repository,
      pull_request: {
        number: 7,
        base: { ref: 'main', sha: base, repo: repository },
        head: { ref: 'change', sha: head, repo: fork ? { full_name: 'somebody/sarai' } : repository },
      },
    };
    const run = await runAct(sandbox, { event: 'pull_request', workflow: 'config-check.yml', payload });
    writeFileSync(consumerConfigFile(), sound);
    commitAll(sandbox, 'Close the pull request');
    return run;
  }

  function consumerConfig(): string {
    return readFileSync(consumerConfigFile(), 'utf8');
  }

  function consumerConfigFile(): string {
    return path.join(sandbox.consumer, 'config', 'sarai.yaml');
  }

  /** Puts a model on the workstation, and on the production host the same one to compare with. */
  function putModel(save: (file: string) => void): void {
    const folders = [sandbox.workstation, sandbox.production].map((machine) => path.join(machine, 'models', 'onnx'));
    for (const folder of folders) {
      for (const name of FILES) rmSync(path.join(folder, name), { force: true });
    }
    save(path.join(folders[0]!, 'agi_audio_core.onnx'));
    for (const name of FILES) linkSync(path.join(folders[0]!, name), path.join(folders[1]!, name));
  }

  function pushTag(tag: string, env: Record<string, string> = {}): Promise<ActRun> {
    const after = commitAll(sandbox, 'Release');
    const payload = { ref: `refs/tags/${tag}`, after, repository: { full_name: 'example/sarai' } };
    return runAct(sandbox, { event: 'push', workflow: 'quantize.yml', payload, env });
  }

  async function promote(tag: string, env: Record<string, string> = {}): Promise<ActRun> {
    const run = await pushTag(tag, env);
    expectPromotion(run);
    return run;
  }

  function readConfig(): Buffer {
    return readFileSync(path.join(sandbox.production, 'config', 'sarai.yaml'));
  }

  /** The model path that the service says it has loaded, once it answers. */
  async function served(): Promise<string> {
    for (let attempt = 0; attempt < 100; attempt++) {
      try {
        const answer = await fetch(`http://127.0.0.1:${port}/health`);
        const health = (await answer.json()) as { models: { audio_omni: { model_path: string } } };
        return health.models.audio_omni.model_path;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    throw new Error('the service does not answer');
  }
});

/** Quantize, verify, promote, and attest what was quantized. */
function expectPromotion(run: ActRun): void {
  expect(run.exitCode, run.output).toBe(0);
  expect(run.output.match(/Job succeeded/g)).toHaveLength(4);
  expect(run.output.match(/Subject agi_audio_core_int8\S*\.onnx\S* sha256:/g)).toHaveLength(2);
}

/** Why the large model cannot go through here, or undefined where it can. */
function tooSmallForLargeModel(): string | undefined {
  const { bavail, bsize } = statfsSync(tmpdir());
  if (bavail * bsize < 15e9) return 'it needs 15 GB of free disk';
  return totalmem() < 15e9 ? 'it needs 16 GB of memory' : undefined;
}

/** Adds the job that docs/workflow.md shows, with this run's pins. */
function attest(workflow: string): void {
  const page = readFileSync(new URL('../../docs/workflow.md', import.meta.url), 'utf8');
  const job = /```yaml\n( {2}attest:\n.*?)```/s.exec(page)?.[1] ?? '';
  appendFileSync(workflow, job.replace('OWNER/onnx-quantize-actions', OUR_REPOSITORY).replace('<sha>', OUR_SHA));
}

/** Lines of `after` that are not those of `before`, in order. */
function difference(before: Buffer, after: Buffer): string[] {
  const old = before.toString().split('\n');
  return after
    .toString()
    .split('\n')
    .filter((line, index) => line !== old[index]);
}
