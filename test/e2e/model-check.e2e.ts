import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { saveModel } from '../support/onnx-builder.ts';
import { smallModel } from '../support/small-model.ts';
import { type ActRun, missingTool, runAct } from './support/act.ts';
import { type GitHub, serveGitHub } from './support/github.ts';
import { commitAll, makeSandbox, removeSandbox, type Sandbox } from './support/sandbox.ts';

const missing = missingTool();
const GATES = 'version: 1\nlimits: { max-size-mb: { error: 1, warn: 0.01 } }\n';

/** The example consumer's workflow on pull requests that change a model in its repository. */
describe.skipIf(missing)(`a pull request that changes a model${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let sandbox: Sandbox;
  let github: GitHub;
  let base: string;

  beforeAll(async () => {
    sandbox = makeSandbox({ 'gates: model-gates.yaml': 'max-seconds: "1"\n      dims: batch=2' }, { standIns: false });
    github = await serveGitHub(sandbox.home);
    mkdirSync(file('models'));
    save();
    writeFileSync(file('model-gates.yaml'), GATES);
    base = commitAll(sandbox, 'A model with limits');
  });

  afterAll(() => {
    github?.close();
    if (sandbox) removeSandbox(sandbox);
  });

  it('is measured against the base, whose limits it cannot loosen, and keeps one comment up to date', async () => {
    save((weights) => weights.fill(0.3, 0, weights.length / 2));
    // Half of the answers are others now, and the pull request brings limits along under which that would pass.
    writeFileSync(file('model-gates.yaml'), 'version: 1\nchanges: { min-similarity: null }\n');
    const worse = await openPullRequest();
    expect(worse.exitCode, worse.output).toBe(1);
    expect(worse.output).toMatch(
      /::error::models\/small\.onnx: The similarity 0\.\d+ is below the limit 0\.98 \(min-similarity\)\./,
    );
    expect(github.comments).toHaveLength(1);
    const [comment] = github.comments;
    expect(comment?.body).toContain(
      '<!-- onnx-quantize-actions: model check under model-gates.yaml -->\n## ❌ Model check: 1 model, 1 fail',
    );
    expect(comment?.body).toMatch(/\| Similarity \| {2}\| 0\.\d+ \| {2}\| ≥ 0\.98 \| ❌ fail \|/);
    expect(comment?.body).toMatch(/\| Size \| 49\.3 kB \| 49\.3 kB \| 0 % \| ≤ 1 MB .*\| ⚠️ warning \|/);
    for (const name of ['Nodes', 'Method', 'P50', 'Memory']) expect(comment?.body).toContain(`| ${name} | `);

    save((weights) => {
      weights[0] = 0.2;
    });
    writeFileSync(file('model-gates.yaml'), GATES);
    const mended = await openPullRequest();
    expect(mended.exitCode, mended.output).toBe(0);
    expect(github.comments).toHaveLength(1);
    expect(comment?.body).toContain('## ⚠️ Model check: 1 model, 1 warning');
  });

  function file(...names: string[]): string {
    return path.join(sandbox.consumer, ...names);
  }

  function save(spoil?: (weights: Float32Array) => unknown): void {
    saveModel(file('models'), smallModel(spoil), 'small.onnx');
  }

  function openPullRequest(): Promise<ActRun> {
    const head = commitAll(sandbox, 'Change the model');
    const repository = { full_name: 'example/sarai' };
    const payload = {
      action: 'opened',
      number: 8,
      repository,
      pull_request: {
        number: 8,
        base: { ref: 'main', sha: base, repo: repository },
        head: { ref: 'change', sha: head, repo: repository },
      },
    };
    return runAct(sandbox, { event: 'pull_request', workflow: 'model-check.yml', payload });
  }
});
