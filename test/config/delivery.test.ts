import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { editYaml, promote, rollback } from '../../src/config/index.ts';
import { hasGit, withoutGit } from '../support/git.ts';
import { INT8, makeSite, remember, runProcess, runVerb, type Site } from './support/site.ts';

let site: Site;
let folder: string;
let workspace: string;

/** A production tree, and beside it a bare remote with a checkout that has the same config. */
beforeEach(async () => {
  site = await makeSite();
  await site.receipts();
  folder = await mkdtemp(path.join(os.tmpdir(), 'delivery-'));
  workspace = path.join(folder, 'checkout');
  await git(folder, 'init', '-q', '--bare', '-b', 'main', 'remote.git');
  await git(folder, 'clone', '-q', path.join(folder, 'remote.git'), 'checkout');
  await writeTo('config/sarai.yaml', await site.text());
  await writeTo('README.md', 'SARAi\n');
  await git(workspace, 'add', '.');
  await git(workspace, 'commit', '-qm', 'First');
  await git(workspace, 'push', '-q', 'origin', 'HEAD:main');
});
afterEach(async () => {
  await site.close();
  await rm(folder, { recursive: true, force: true });
});

async function git(at: string, ...args: string[]): Promise<string> {
  const identity = ['-c', 'user.name=Lucia', '-c', 'user.email=lucia@example.com', '-c', 'init.defaultBranch=main'];
  const { code, output } = await runProcess('git', [...identity, ...args], at);
  expect(code, `git ${args.join(' ')}: ${output}`).toBe(0);
  return output;
}

async function writeTo(name: string, text: string): Promise<void> {
  const { mkdir } = await import('node:fs/promises');
  await mkdir(path.dirname(path.join(workspace, name)), { recursive: true });
  await writeFile(path.join(workspace, name), text);
}

const remote = (...args: string[]) => git(path.join(folder, 'remote.git'), ...args);
const context = (more: Record<string, string> = {}) => ({
  ...remember(),
  env: { PATH: process.env.PATH, HOME: folder, GITHUB_ACTOR: 'lucia', GITHUB_WORKSPACE: workspace, ...more },
});
const options = (more = {}) => ({
  config: 'config/sarai.yaml',
  projectRoot: site.root,
  model: INT8,
  configMemoryMb: 1200,
  ...more,
});

/** Somebody else pushes to main. */
async function pushElsewhere(name: string): Promise<void> {
  const other = path.join(folder, `other-${name}`);
  await git(folder, 'clone', '-q', path.join(folder, 'remote.git'), other);
  await writeFile(path.join(other, name), 'x\n');
  await git(other, 'add', '.');
  await git(other, 'commit', '-qm', `Add ${name}`);
  await git(other, 'push', '-q', 'origin', 'HEAD:main');
}

describe.skipIf(!hasGit)(`delivery: commit${withoutGit}`, () => {
  it('pushes the same edit and the receipts, and touches neither index nor work tree', async () => {
    const result = await promote(options({ delivery: 'commit' }), context());
    expect(result.failures).toEqual([]);
    expect(result.commit).toBe((await remote('rev-parse', 'main')).trim());
    expect(await remote('show', 'main:config/sarai.yaml')).toBe(await site.text());
    expect((await remote('diff', '--name-status', 'main^', 'main')).trim().split('\n')).toEqual(
      [
        'M\tconfig/sarai.yaml',
        'A\tconfig/receipts/agi_audio_core_int8.checksum.json',
        'A\tconfig/receipts/agi_audio_core_int8.compare.json',
        'A\tconfig/receipts/agi_audio_core_int8.validate.json',
      ].sort((a, b) => a.slice(2).localeCompare(b.slice(2))),
    );
    expect(await remote('log', '-1', '--format=%an|%s', 'main')).toBe(
      'github-actions[bot]|Promote models/onnx/agi_audio_core_int8.onnx\n',
    );
    expect(await git(workspace, 'status', '--porcelain')).toBe('');
    const [entry] = await site.history();
    expect(entry?.commit).toBe(result.commit);

    const back = await rollback(
      options({ model: undefined, configMemoryMb: undefined, delivery: 'commit' }),
      context(),
    );
    expect(back.failures).toEqual([]);
    expect(await remote('show', 'main:config/sarai.yaml')).toBe(await site.text());
    expect(await remote('rev-list', '--count', 'main')).toBe('3\n');
  });

  it('keeps what others pushed meanwhile, also while it pushes', async () => {
    await pushElsewhere('one.txt');
    // A hook on the remote's side moves the branch between fetch and push, once.
    const racer = path.join(folder, 'racer');
    await git(folder, 'clone', '-q', path.join(folder, 'remote.git'), 'racer');
    await writeFile(path.join(racer, 'two.txt'), 'x\n');
    await git(racer, 'add', '.');
    await git(racer, 'commit', '-qm', 'Add two.txt');
    const hook = path.join(workspace, '.git/hooks/pre-push');
    await writeFile(hook, `#!/bin/sh\nrm -f "$0"\ngit -C "${racer}" push -q origin HEAD:main\n`, { mode: 0o755 });
    const run = context();
    const result = await promote(options({ delivery: 'commit' }), run);
    expect(result.failures).toEqual([]);
    expect(run.lines.join('\n')).toMatch(/'main' has moved; trying again/);
    expect((await remote('log', '--format=%s', 'main')).trim().split('\n')).toEqual([
      'Promote models/onnx/agi_audio_core_int8.onnx',
      'Add two.txt',
      'Add one.txt',
      'First',
    ]);
  });

  it("edits the branch's own text, and commits nothing twice", async () => {
    const other = editYaml(Buffer.from(await site.text()), [{ key: 'server.port', value: 9999 }]).bytes.toString();
    await writeTo('config/sarai.yaml', other);
    await git(workspace, 'commit', '-qam', 'Port');
    await git(workspace, 'push', '-q', 'origin', 'HEAD:main');
    await promote(options({ delivery: 'commit' }), context());
    const pushed = await remote('show', 'main:config/sarai.yaml');
    expect(pushed).toContain('port: 9999');
    expect(pushed).toContain(INT8);
    expect(await site.text()).toContain('port: 8080');
    const again = await promote(options({ delivery: 'commit' }), context());
    expect(again.failures).toEqual([]);
    expect(await remote('rev-list', '--count', 'main')).toBe('3\n');
  });

  it('says so where the live config is in place and the push is refused', async () => {
    const hook = path.join(folder, 'remote.git/hooks/pre-receive');
    await writeFile(hook, '#!/bin/sh\necho "GH006: Protected branch update failed" >&2\nexit 1\n', { mode: 0o755 });
    const result = await promote(options({ delivery: 'commit' }), context());
    expect(result.verdict).toBe('fail');
    expect(result.changed).toBe(true);
    expect(result.failures[0]).toMatch(
      /live config is in place.*branch is protected, so use 'delivery: pull-request'/s,
    );
    expect(await site.text()).toContain(INT8);
    expect(await site.history()).toHaveLength(1);
  });

  it('sends its token once, in place of the one that a checkout left', async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      const { rawHeaders } = request;
      rawHeaders.forEach((name, index) => {
        if (name.toLowerCase() === 'authorization') seen.push(rawHeaders[index + 1] ?? '');
      });
      response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const origin = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
    await git(workspace, 'remote', 'set-url', 'origin', `${origin}/sarai/sarai.git`);
    await git(workspace, 'config', `http.${origin}/.extraheader`, 'AUTHORIZATION: basic stale');
    const result = await promote(options({ delivery: 'commit', token: 'fresh' }), context());
    server.close();
    expect(result.failures[0]).toMatch(/the repository does not have it/);
    expect(seen).toEqual([`basic ${Buffer.from('x-access-token:fresh').toString('base64')}`]);
  });

  it('a rollback does not wait for a push: it is ended, and the promotion that was proved is on record', async () => {
    const pushing = path.join(folder, 'pushing');
    const hook = path.join(folder, 'remote.git/hooks/pre-receive');
    await writeFile(hook, `#!/bin/sh\necho > "${pushing}"\nsleep 120\n`, { mode: 0o755 });
    const before = await site.text();
    const promotion = runVerb('promote', options({ delivery: 'commit' }), undefined, context().env);
    await vi.waitFor(() => stat(pushing), { timeout: 300_000 });
    const run = context();
    const back = await rollback({ config: 'config/sarai.yaml', projectRoot: site.root }, run);
    const { code, output } = await promotion;
    expect(run.lines.join('\n')).toMatch(/asking it to give way/);
    expect(run.lines.join('\n')).not.toMatch(/was killed/);
    expect(code, output).toBe(1);
    expect(output).toMatch(
      /whether the repository has it is not known: git push was ended \(a rollback was asked for by lucia\)/,
    );
    expect(back).toMatchObject({ failures: [], changed: true });
    expect(await site.text()).toBe(before);
    expect((await site.history()).map(({ action }) => action)).toEqual(['promote', 'rollback']);
    expect(await remote('rev-list', '--count', 'main')).toBe('1\n');
  });

  it('needs a checkout', async () => {
    await expect(promote(options({ delivery: 'commit' }), context({ GITHUB_WORKSPACE: site.root }))).rejects.toThrow(
      /no git checkout with a remote 'origin'/,
    );
    expect(await site.text()).not.toContain(INT8);
  });
});

describe.skipIf(!hasGit)(`delivery: pull-request${withoutGit}`, () => {
  interface Call {
    method: string;
    url: string;
    auth: string | undefined;
    body: Record<string, string>;
  }
  let server: Server;
  let calls: Call[];
  let pulls: { number: number; html_url: string; state: string; head: { ref: string } }[];
  let api: Record<string, string>;

  beforeEach(async () => {
    calls = [];
    pulls = [];
    server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk) => {
        text += chunk;
      });
      request.on('end', () => {
        const { method = '', url = '' } = request;
        const body = text === '' ? {} : JSON.parse(text);
        calls.push({ method, url, auth: request.headers.authorization, body });
        const answer = (status: number, value: unknown) => {
          response.writeHead(status, { 'content-type': 'application/json' });
          response.end(JSON.stringify(value));
        };
        if (method === 'GET') return answer(200, pulls);
        if (method === 'PATCH') return answer(200, pulls[0]);
        pulls.push({
          number: 7,
          html_url: 'https://github.com/sarai/sarai/pull/7',
          state: 'open',
          head: { ref: String(body.head) },
        });
        return answer(201, pulls[0]);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    api = { GITHUB_API_URL: `http://127.0.0.1:${port}`, GITHUB_REPOSITORY: 'sarai/sarai' };
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  const propose = (more = {}) =>
    promote(options({ delivery: 'pull-request', token: 'secret-token', ...more }), context(api));

  it('opens one with diff, figures and receipts, and touches nothing live', async () => {
    const before = await site.text();
    const result = await propose({ reason: 'quantize-v1' });
    expect(result.failures).toEqual([]);
    expect(result.pullRequest).toBe('https://github.com/sarai/sarai/pull/7');
    expect(await site.text()).toBe(before);
    expect(await site.leftovers()).toEqual(['sarai.yaml']);
    expect(await remote('rev-list', '--count', 'main')).toBe('1\n');
    expect(await remote('show', 'promote/agi_audio_core_int8:config/sarai.yaml')).toContain(INT8);
    const [list, create] = calls;
    expect(list).toMatchObject({ method: 'GET', auth: 'token secret-token' });
    expect(list?.url).toContain('/repos/sarai/sarai/pulls?state=open&base=main');
    expect(create).toMatchObject({
      method: 'POST',
      url: '/repos/sarai/sarai/pulls',
      body: { head: 'promote/agi_audio_core_int8', base: 'main', title: `Promote ${INT8}` },
    });
    expect(create?.body.body).toContain('+    max_memory_mb: 1200');
    expect(create?.body.body).toContain('| memoryMb | 1085 | agi_audio_core_int8.validate.json |');
    expect(create?.body.body).toMatch(/- compare: \*\*pass\*\*/);
    expect(create?.body.body).not.toContain('secret-token');
    expect(JSON.stringify(result.receipt)).not.toContain('secret-token');
  });

  it('updates an open one, moving its branch forward past a moved base, without force', async () => {
    await remote('config', 'receive.denyNonFastForwards', 'true');
    await propose();
    const first = (await remote('rev-parse', 'promote/agi_audio_core_int8')).trim();
    await pushElsewhere('three.txt');
    const result = await propose({ configMemoryMb: 1300 });
    expect(result.failures).toEqual([]);
    expect(calls.at(-1)).toMatchObject({ method: 'PATCH', url: '/repos/sarai/sarai/pulls/7' });
    await remote('merge-base', '--is-ancestor', first, 'promote/agi_audio_core_int8');
    const names = await remote('diff', '--name-only', 'main...promote/agi_audio_core_int8');
    expect(names).not.toContain('three.txt');
    expect(await remote('show', 'promote/agi_audio_core_int8:config/sarai.yaml')).toContain('max_memory_mb: 1300');
    const tip = await remote('rev-parse', 'promote/agi_audio_core_int8');
    await propose({ configMemoryMb: 1300 });
    expect(await remote('rev-parse', 'promote/agi_audio_core_int8')).toBe(tip);
  });

  it('refuses without a token, without receipts, or onto its own base', async () => {
    await expect(propose({ token: undefined })).rejects.toThrow(/needs a 'token'/);
    await expect(propose({ branch: 'main' })).rejects.toThrow(/the branch to merge into/);
    await rm(path.join(site.root, 'models/onnx/agi_audio_core_int8.compare.json'));
    expect((await propose()).failures.join()).toMatch(/No compare receipt/);
    expect(calls).toEqual([]);
  });
});
