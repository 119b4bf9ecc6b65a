import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { missingTool, runAct } from './support/act.ts';
import { type GitHub, serveGitHub } from './support/github.ts';
import { saveSpeechModel } from './support/model.ts';
import { makeSandbox, removeSandbox, type Sandbox } from './support/sandbox.ts';

const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const missing = missingTool();

/** The monthly benchmark of the example consumer, several months in a row. */
describe.skipIf(missing)(`the benchmark workflow${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let sandbox: Sandbox;
  let github: GitHub;

  beforeAll(async () => {
    sandbox = makeSandbox({});
    github = await serveGitHub(sandbox.home);
    const model = path.join(sandbox.production, 'models', 'onnx', 'agi_audio_core.onnx');
    saveSpeechModel(model);
    execFileSync(process.execPath, [cli, 'quantize', '--model', model], { stdio: 'ignore' });
    // What is benchmarked is what is live.
    const config = path.join('config', 'sarai.yaml');
    const text = readFileSync(path.join(sandbox.consumer, config), 'utf8');
    mkdirSync(path.join(sandbox.production, 'config'), { recursive: true });
    writeFileSync(
      path.join(sandbox.production, config),
      text.replace('onnx/agi_audio_core.onnx', 'onnx/agi_audio_core_int8.onnx'),
    );
  });
  afterAll(() => {
    github?.close();
    if (sandbox) removeSandbox(sandbox);
  });

  it('keeps a history and draws it', async () => {
    const first = await month();
    expect(first.exitCode, first.output).toBe(0);
    // Times taken on a machine that others use are no measure; the other figures are the same every time.
    editHistory((figures) => delete figures.speedup);
    const { exitCode, output } = await month();
    expect(exitCode, output).toBe(0);
    expect(history()).toHaveLength(2);
    expect(output).toContain('over past runs');
    expect(github.issues).toEqual([]);
  });

  it('opens one issue where a figure gets worse, and adds to it the next time', async () => {
    editHistory((figures) => {
      delete figures.speedup;
      figures.mse! /= 100;
    });
    // More issues than a page holds.
    for (let i = 0; i < 150; i++) {
      github.issues.push({ number: github.issues.length + 1, state: 'open', title: `Other ${i}`, body: '' });
    }
    const first = await month();
    expect(first.exitCode, first.output).toBe(1);
    const opened = github.issues.slice(150);
    expect(opened).toHaveLength(1);
    expect(opened[0]).toMatchObject({
      number: 151,
      title: 'Benchmark: models/onnx/agi_audio_core_int8.onnx got worse',
    });
    expect(opened[0]?.body).toMatch(
      /^The mse \S+ is above .*\n\nRun: https:\/\/github\.com\/example\/sarai\/actions\/runs\/3$/s,
    );

    for (let i = 0; i < 150; i++) {
      github.issues.push({ number: github.issues.length + 1, state: 'open', title: `Later ${i}`, body: '' });
    }
    const second = await month();
    expect(second.exitCode, second.output).toBe(1);
    expect(github.issues).toHaveLength(301);
    expect(github.comments).toEqual([
      expect.objectContaining({ issue: 151, body: expect.stringContaining('The mse') }),
    ]);
  });

  function month() {
    return runAct(sandbox, { event: 'workflow_dispatch', workflow: 'benchmark.yml', payload: {} });
  }

  function history(): { figures: Record<string, number> }[] {
    const lines = readFileSync(historyFile(), 'utf8').trimEnd().split('\n');
    return lines.map((line) => JSON.parse(line));
  }

  function editHistory(edit: (figures: Record<string, number>) => void): void {
    const entries = history();
    for (const { figures } of entries) edit(figures);
    writeFileSync(historyFile(), entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  }

  function historyFile(): string {
    return path.join(sandbox.production, 'benchmarks', 'history.jsonl');
  }
});
