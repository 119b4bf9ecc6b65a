import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkModels, type ModelCheckOptions, modelCheckComment } from '../../src/model-check/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { hasGit, withoutGit } from '../support/git.ts';
import { saveExternalModel, saveModel } from '../support/onnx-builder.ts';
import { runAction } from '../support/program.ts';
import { smallModel } from '../support/small-model.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const hasLfs = hasGit && spawnSync('git', ['lfs', 'version']).status === 0;

/** A repository with a base branch, and what a pull request makes of it. */
class Repo {
  readonly folder = temp();

  constructor(base: (repo: Repo) => void) {
    this.git('init', '--quiet', '--initial-branch=main');
    base(this);
    this.commit('Base');
    this.git('switch', '--quiet', '--create', 'change');
  }

  git(...args: string[]): string {
    const options = ['-c', 'user.name=t', '-c', 'user.email=t@example.invalid', '-c', 'protocol.file.allow=always'];
    return execFileSync('git', [...options, ...args], { cwd: this.folder, encoding: 'utf8', stdio: 'pipe' });
  }

  commit(message: string): void {
    this.git('add', '--all');
    this.git('commit', '--quiet', '--allow-empty', '--message', message);
  }

  path(...names: string[]): string {
    return path.join(this.folder, ...names);
  }

  write(name: string, text: string): void {
    mkdirSync(path.dirname(this.path(name)), { recursive: true });
    writeFileSync(this.path(name), text);
  }

  model(name: string, spoil?: (weights: Float32Array) => unknown): void {
    mkdirSync(path.dirname(this.path(name)), { recursive: true });
    saveModel(path.dirname(this.path(name)), smallModel(spoil), path.basename(name));
  }

  async check(options: Partial<ModelCheckOptions> = {}) {
    const result = await checkModels(
      { baseRef: 'main', repository: this.folder, dims: 'batch=2', maxSeconds: 2, count: 2, ...options },
      { log: silentLog, temporaryFolder: temp() },
    );
    return { ...result, comment: modelCheckComment(result, 'main') };
  }
}

const WORSE = (weights: Float32Array) => weights.fill(0.3, 0, weights.length / 2);

describe.skipIf(!hasGit)(`what a pull request does to its models${withoutGit}`, () => {
  it('is measured against the base, under limits of the base branch that the pull request cannot loosen', async () => {
    const repo = new Repo((base) => {
      base.model('models/a.onnx');
      base.write('model-gates.yaml', 'version: 1\nlimits:\n  max-size-mb: { error: 1, warn: 0.01 }\n');
    });
    repo.model('models/a.onnx', WORSE);
    repo.write('model-gates.yaml', 'version: 1\nchanges:\n  min-similarity: null\n');
    repo.commit('Worse');
    const { level, models, comment } = await repo.check();
    expect(level).toBe('fail');
    expect(models).toHaveLength(1);
    expect(models[0]).toMatchObject({ path: 'models/a.onnx', kind: 'changed', level: 'fail' });
    expect(models[0]?.failures).toContainEqual(
      expect.stringMatching(/^The similarity 0\.\d+ is below the limit 0\.98 \(min-similarity\)\.$/),
    );
    expect(models[0]?.warnings).toEqual([
      expect.stringMatching(/^Size on disk is 0\.0\d+ MB, over the warning limit of 0\.01 MB \(max-size-mb\)/),
    ]);
    const row = (name: string) => models[0]?.rows.find((each) => each.name === name);
    expect(row('Size')).toMatchObject({
      base: expect.stringMatching(/kB$/),
      delta: '0 %',
      level: 'warn',
      limit: '≤ 1 MB (warns at 0.01)',
    });
    expect(row('Nodes')).toMatchObject({ base: '3', head: '3' });
    expect(row('Method')).toMatchObject({ base: 'FP32', head: 'FP32' });
    expect(row('Similarity')).toMatchObject({ limit: '≥ 0.98', level: 'fail' });
    expect(row('P50')?.base).toMatch(/ ms$/);
    expect(row('Memory')?.head).toMatch(/ MB$/);
    expect(comment).toMatch(/^## ❌ Model check: 1 model, 1 fail\n\n### ❌ `models\/a\.onnx`\n\n- ❌ The similarity/);
    expect(comment).toContain('| Size | 49.3 kB | 49.3 kB | 0 % | ≤ 1 MB \\(warns at 0.01\\) | ⚠️ warning |');
  });

  it('says in a row each what is new, deleted, moved, a link or no model, names shown as text', async () => {
    const hostile = 'models/<b>|`@all`\n## x.onnx';
    const repo = new Repo((base) => {
      base.model('models/gone.onnx');
      base.model('models/moved.onnx', WORSE);
      base.model('models/same.onnx', (weights) => weights.fill(1));
      base.write('models/torn.onnx', 'rubbish');
    });
    rmSync(repo.path('models/gone.onnx'));
    renameSync(repo.path('models/moved.onnx'), repo.path('models/there.onnx'));
    repo.model(hostile, (weights) => weights.reverse());
    symlinkSync('same.onnx', repo.path('models/link.onnx'));
    repo.write('models/torn.onnx', 'other rubbish');
    repo.commit('All kinds');
    const { models, comment } = await repo.check();
    expect(models.map(({ path: name, kind, level, from }) => [name, kind, level, from])).toEqual([
      [hostile, 'new', 'pass', undefined],
      ['models/gone.onnx', 'deleted', 'pass', undefined],
      ['models/link.onnx', 'new', 'fail', undefined],
      ['models/there.onnx', 'unchanged', 'pass', 'models/moved.onnx'],
      ['models/torn.onnx', 'changed', 'fail', undefined],
    ]);
    expect(models[2]?.failures).toEqual(['models/link.onnx is a link in git: commit the file itself.']);
    expect(models[4]?.failures).toEqual([
      expect.stringMatching(/^The model "head\/models\/torn\.onnx" is not an ONNX model/),
    ]);
    expect(comment).toContain('### ✅ `` models/<b>\\|`@all` ## x.onnx ``: new');
    expect(comment).toContain('### ✅ `models/gone.onnx`: deleted');
    expect(comment).toContain('### ✅ `models/there.onnx`, was `models/moved.onnx`: same bytes');
    expect(comment.match(/^#+ /gm)).toHaveLength(6);
  });

  it('sees a change of weights that lie beside the graph, and weights that are missing', async () => {
    const repo = new Repo((base) => {
      mkdirSync(base.path('models'));
      for (const name of ['a.onnx', 'b.onnx']) saveExternalModel(base.path('models'), smallModel(), name);
      base.write('README.md', 'x');
    });
    writeFileSync(repo.path('models/a.onnx.data'), Buffer.alloc(49152, 0x3c));
    rmSync(repo.path('models/b.onnx.data'));
    repo.commit('Weights only');
    const { models } = await repo.check();
    expect(models.map(({ path: name, kind }) => [name, kind])).toEqual([
      ['models/a.onnx', 'changed'],
      ['models/b.onnx', 'changed'],
    ]);
    expect(models[0]?.rows.find(({ name }) => name === 'Similarity')).toMatchObject({ level: 'fail' });
    expect(models[1]?.failures).toEqual([
      expect.stringMatching(/"head\/models\/b\.onnx".*"b\.onnx\.data", which does not exist/),
    ]);
  });

  it('passes by what the base branch has changed since, and says where no model changes', async () => {
    const repo = new Repo((base) => base.model('a.onnx'));
    repo.write('README.md', 'words');
    repo.commit('Words');
    repo.git('switch', '--quiet', 'main');
    repo.model('a.onnx', WORSE);
    repo.commit('Meanwhile');
    repo.git('switch', '--quiet', 'change');
    const { level, models, comment } = await repo.check();
    expect([level, models]).toEqual(['pass', []]);
    expect(comment).toBe('## Model check\n\nNo ONNX model changes in this pull request.\n');
  });

  it('takes samples of the base branch, and refuses what that does not have', async () => {
    const repo = new Repo((base) => {
      base.model('a.onnx');
      base.write('samples/one.json', JSON.stringify({ x: [Array.from({ length: 64 }, () => 1)] }));
    });
    repo.model('a.onnx', (weights) => weights.map((_, index) => (weights[index] = -weights[index]!)));
    repo.write('samples/one.json', JSON.stringify({ x: [Array.from({ length: 64 }, () => 0)] }));
    repo.commit('A sample to please: all outputs are 0');
    const { models } = await repo.check({ samples: 'samples', dims: undefined });
    expect(models[0]).toMatchObject({ level: 'fail' });
    expect(models[0]?.rows.find(({ name }) => name === 'Similarity')?.level).toBe('fail');
    await expect(repo.check({ samples: 'other' })).rejects.toThrow(
      "'samples' names 'other', which the base branch does not have",
    );
    await expect(repo.check({ gates: 'other.yaml' })).rejects.toThrow(
      "'gates' names 'other.yaml', which the base branch",
    );
    await expect(repo.check({ baseRef: 'nowhere' })).rejects.toThrow(
      "'base-ref' is 'nowhere', which git does not know here",
    );
    await expect(repo.check({ baseRef: '--output=x' })).rejects.toThrow('which is no git ref');
  });

  it('hands over outputs and the comment as an action, and fails with a sentence per figure', async () => {
    const repo = new Repo((base) => {
      base.model('a.onnx');
      base.write(
        'model-gates.yaml',
        'version: 1\nchanges:\n  min-similarity: { warn: 0.9999999 }\nlimits:\n  max-size-mb: 0.01\n',
      );
    });
    repo.model('a.onnx', (weights) => (weights[0] = 0.2));
    repo.commit('Slightly');
    const inputs = {
      'base-ref': 'main',
      dims: 'batch=2',
      'max-seconds': '1',
      report: 'receipts',
      'allow-inconclusive': 'true',
    };
    const run = await runAction('model-check', inputs, repo.folder);
    expect(run.code, run.stdout).toBe(1);
    expect(run.outputs).toMatchObject({ verdict: 'fail', models: '1' });
    expect(run.outputs.summary?.trim()).toBe(run.summary.trim());
    expect(run.stdout).toMatch(
      /^::error::a\.onnx: Size on disk is 0\.04\d+ MB, over the limit of 0\.01 MB \(max-size-mb\)/m,
    );
    expect(run.stdout).toMatch(/^::warning::a\.onnx: The similarity 0\.99\d+ is below the warning limit 0\.9999999/m);
    expect(readdirSync(repo.path('receipts', '0-a.onnx')).sort()).toContain('a.compare.json');
  });
});

const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 49300\n`;

describe.skipIf(!hasGit)(`models in Git LFS${withoutGit}`, () => {
  it('that cannot be fetched fail with a sentence, and none is fetched from where the pull request says', async () => {
    const repo = new Repo((base) => base.write('a.onnx', POINTER));
    repo.write('a.onnx', POINTER.replace('aaa', 'bbb'));
    repo.commit('Not pushed');
    const { models } = await repo.check();
    expect(models[0]?.failures).toEqual([
      expect.stringMatching(
        /^a\.onnx is a Git LFS pointer to 49300 bytes, which could not be fetched \(git lfs failed: .*\): push the object/,
      ),
    ]);
    repo.write('.lfsconfig', '[lfs]\n\turl = https://evil.invalid/\n');
    repo.commit('Elsewhere');
    const elsewhere = await repo.check();
    expect(elsewhere.models[0]?.failures).toEqual([
      expect.stringContaining("not fetched, because .lfsconfig differs from the base's"),
    ]);
  });

  it.skipIf(!hasLfs)('are fetched, both sides, and only they', async () => {
    const store = temp();
    execFileSync('git', ['init', '--quiet', '--bare', store]);
    const repo = new Repo((base) => {
      base.git('lfs', 'install', '--local');
      base.git('remote', 'add', 'origin', `file://${store}`);
      base.write('.gitattributes', '*.onnx filter=lfs diff=lfs merge=lfs -text\n');
      base.model('a.onnx');
      base.model('b.onnx');
    });
    repo.model('a.onnx', WORSE);
    repo.commit('Worse');
    repo.git('push', '--quiet', 'origin', 'main', 'change');
    rmSync(repo.path('.git', 'lfs', 'objects'), { recursive: true });
    const { models } = await repo.check();
    expect(models).toHaveLength(1);
    expect(models[0]?.rows.find(({ name }) => name === 'Similarity')).toMatchObject({ level: 'fail' });
    expect(
      repo
        .git('lfs', 'ls-files', '--all')
        .split('\n')
        .filter((line) => line.includes(' * a.onnx')),
    ).toHaveLength(1);
  });
});
