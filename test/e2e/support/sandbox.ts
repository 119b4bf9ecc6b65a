import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** What the rendered example consumer pins; the runner serves this repository under that name. */
export const OUR_REPOSITORY = 'example/onnx-quantize-actions';
export const OUR_SHA = '1111111111111111111111111111111111111111';

/** GitHub's own actions that are out of reach offline, by the pins in our workflows, and what stands in for them. */
export const STAND_INS = Object.fromEntries(
  ['upload-artifact', 'download-artifact', 'attest'].map((name) => [`actions/${name}@${pinOf(name)}`, name]),
);

/** A user's world in one temporary folder. */
export interface Sandbox {
  root: string;
  /** Checkout of the example consumer, a git repository. */
  consumer: string;
  /** This repository as the runner would fetch it. */
  actions: string;
  standIns: string;
  /** HOME of the runner's user. */
  home: string;
  /** The production host's project root, in the place of /opt/sarai. */
  production: string;
  /** The Windows PC's drive, in the place of D:/sarai. */
  workstation: string;
  /** How many runs there were: what the next one has as its id, by one more. */
  runs: number;
}

/**
 * Renders the example consumer for local pins and lays out the machines it talks about. The workflows run as they
 * stand but for what the local runner does not know: the self-repository syntax `$/actions/…`, replaced by the pinned
 * reference it stands for, and `queue: max`; and but for the absolute paths of the two machines. `replacements` are further edits of
 * the consumer's workflows (a service's port and restart command, say). Bundling the stand-ins takes longer than a run that
 * needs none.
 */
export function makeSandbox(replacements: Record<string, string>, { standIns = true } = {}): Sandbox {
  const root = mkdtempSync(path.join(tmpdir(), 'oqa-e2e-'));
  const sandbox: Sandbox = {
    root,
    consumer: path.join(root, 'consumer'),
    actions: path.join(root, 'actions'),
    standIns: path.join(root, 'stand-ins'),
    home: path.join(root, 'home'),
    production: path.join(root, 'production'),
    workstation: path.join(root, 'workstation'),
    runs: 0,
  };
  for (const machine of [sandbox.production, sandbox.workstation]) {
    mkdirSync(path.join(machine, 'models', 'onnx'), { recursive: true });
  }
  mkdirSync(sandbox.home);
  for (const part of ['action.yml', 'actions', 'dist', '.github', 'package.json']) {
    cpSync(path.join(repository, part), path.join(sandbox.actions, part), { recursive: true });
  }
  replaceInWorkflows(path.join(sandbox.actions, '.github', 'workflows'), {
    'uses: $/': `uses: ${OUR_REPOSITORY}/`,
    '\n      queue: max': '',
    '\n  queue: max': '',
  });
  pinActions(path.join(sandbox.actions, '.github', 'workflows'));
  if (standIns) bundleStandIns(sandbox.standIns);
  const render = [
    '--repository',
    OUR_REPOSITORY,
    '--sha',
    OUR_SHA,
    '--version',
    'v0.0.0',
    '--output',
    sandbox.consumer,
  ];
  execFileSync(process.execPath, [path.join(repository, 'scripts', 'render-examples.mjs'), ...render]);
  replaceInWorkflows(path.join(sandbox.consumer, '.github', 'workflows'), {
    'D:/sarai': sandbox.workstation,
    '/opt/sarai': sandbox.production,
    ...replacements,
  });
  git(sandbox.consumer, 'init', '--quiet', '--initial-branch=main');
  git(sandbox.consumer, 'remote', 'add', 'origin', 'https://github.com/example/sarai.git');
  commitAll(sandbox, 'Start');
  return sandbox;
}

export function removeSandbox(sandbox: Sandbox): void {
  rmSync(sandbox.root, { recursive: true, force: true });
}

export function commitAll(sandbox: Sandbox, message: string): string {
  git(sandbox.consumer, 'add', '--all');
  git(sandbox.consumer, 'commit', '--quiet', '--allow-empty', '--message', message);
  return git(sandbox.consumer, 'rev-parse', 'HEAD').trim();
}

export function git(folder: string, ...args: string[]): string {
  const identity = ['-c', 'user.name=e2e', '-c', 'user.email=e2e@example.invalid'];
  return execFileSync('git', [...identity, ...args], { cwd: folder, encoding: 'utf8' });
}

function replaceInWorkflows(folder: string, replacements: Record<string, string>): void {
  for (const name of readdirSync(folder)) {
    const file = path.join(folder, name);
    let text = readFileSync(file, 'utf8');
    for (const [from, to] of Object.entries(replacements)) text = text.replaceAll(from, to);
    writeFileSync(file, text);
  }
}

/** `uses: owner/repo/actions/x` → `…@sha`, where the self-repository syntax had no ref. */
function pinActions(folder: string): void {
  for (const name of readdirSync(folder)) {
    const file = path.join(folder, name);
    const reference = new RegExp(`(uses: ${OUR_REPOSITORY}/actions/[a-z-]+)$`, 'gm');
    writeFileSync(file, readFileSync(file, 'utf8').replace(reference, `$1@${OUR_SHA}`));
  }
}

/** One file each, so that the runner has nothing to install. */
function bundleStandIns(output: string): void {
  const source = fileURLToPath(new URL('../stand-ins', import.meta.url));
  const ncc = path.join(repository, 'node_modules', '@vercel', 'ncc', 'dist', 'ncc', 'cli.js');
  for (const name of readdirSync(source)) {
    const folder = path.join(output, name);
    const build = [ncc, 'build', path.join(source, name, 'main.mjs'), '--out', folder, '--quiet'];
    execFileSync(process.execPath, build, { stdio: ['ignore', 'ignore', 'inherit'] });
    cpSync(path.join(source, name, 'action.yml'), path.join(folder, 'action.yml'));
  }
}

/** The commit that our workflows pin for `actions/<name>`. */
function pinOf(name: string): string {
  const folder = path.join(repository, '.github', 'workflows');
  const texts = readdirSync(folder).map((file) => readFileSync(path.join(folder, file), 'utf8'));
  const pin = new RegExp(`uses: actions/${name}@([0-9a-f]{40})`).exec(texts.join('\n'))?.[1];
  if (!pin) throw new Error(`no workflow pins actions/${name}`);
  return pin;
}
