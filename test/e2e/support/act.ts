import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { OUR_REPOSITORY, OUR_SHA, type Sandbox, STAND_INS } from './sandbox.ts';

const tools = fileURLToPath(new URL('../../../.tools', import.meta.url));

/** The runner and the Node 24 it has on GitHub; `scripts/ci/install-tools.sh` puts both there. */
export const actBinary = path.join(tools, 'bin', 'act');
export const node24 = path.join(tools, 'node24', 'bin');

export interface ActRun {
  exitCode: number | null;
  /** What the jobs printed, workflow commands (`::error …`) included. */
  output: string;
}

/** An event as GitHub would send it, given to the consumer's workflow. */
export interface Trigger {
  event: 'push' | 'pull_request' | 'workflow_dispatch';
  workflow: string;
  payload: Record<string, unknown>;
  /** What else the jobs' environment has. */
  env?: Record<string, string>;
}

/** Runs one workflow of the consumer in act's host mode, with artifact and cache servers on loopback. */
export async function runAct(sandbox: Sandbox, trigger: Trigger): Promise<ActRun> {
  sandbox.runs++;
  const eventFile = path.join(sandbox.root, 'event.json');
  writeFileSync(eventFile, JSON.stringify(trigger.payload));
  const artifacts = path.join(sandbox.root, 'artifacts');
  mkdirSync(artifacts, { recursive: true });
  const ours = `${OUR_REPOSITORY}@${OUR_SHA}=${sandbox.actions}`;
  const standIns = Object.entries(STAND_INS).map(([ref, name]) => `${ref}=${path.join(sandbox.standIns, name)}`);
  const jobEnvironment = {
    GITHUB_RUN_ID: String(sandbox.runs),
    GITHUB_RUN_NUMBER: String(sandbox.runs),
    // act's artifact server puts an artifact together in the order in which its blocks arrive.
    ACTIONS_ARTIFACT_UPLOAD_CONCURRENCY: '1',
    ...trigger.env,
  };
  const args = [
    trigger.event,
    ...['--workflows', `.github/workflows/${trigger.workflow}`],
    ...['--eventpath', eventFile],
    ...['--platform', 'self-hosted=-self-hosted', '--platform', 'ubuntu-latest=-self-hosted'],
    ...['--use-new-action-cache', '--action-offline-mode'],
    ...[ours, ...standIns].flatMap((replacement) => ['--local-repository', replacement]),
    ...['--artifact-server-path', artifacts, '--artifact-server-addr', '127.0.0.1'],
    ...['--artifact-server-port', String(await freePort())],
    ...['--cache-server-path', path.join(sandbox.root, 'cache'), '--cache-server-addr', '127.0.0.1'],
    ...['--cache-server-port', String(await freePort())],
    ...['--secret', 'GITHUB_TOKEN=local', '--no-skip-checkout=false', '--json=false'],
    ...Object.entries(jobEnvironment).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
  ];
  const env = {
    ...process.env,
    PATH: [node24, path.join(tools, 'bin'), process.env.PATH].join(path.delimiter),
    XDG_CACHE_HOME: path.join(sandbox.root, 'xdg'),
    HOME: sandbox.home,
  };
  const child = spawn(actBinary, args, { cwd: sandbox.consumer, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes;
  });
  child.stderr.on('data', (bytes: Buffer) => {
    output += bytes;
  });
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  return { exitCode, output };
}

/** Why the end-to-end tests cannot run here, or undefined where they can. */
export function missingTool(): string | undefined {
  if (!existsSync(actBinary)) return 'act is not installed (it needs Go): run scripts/ci/install-tools.sh';
  const folders = [path.join(tools, 'bin'), ...(process.env.PATH ?? '').split(path.delimiter)];
  if (!folders.some((folder) => existsSync(path.join(folder, 'gh')))) {
    return 'the GitHub CLI is not installed: run scripts/ci/install-tools.sh';
  }
  if (!existsSync(node24)) return 'Node 24 is not installed: run scripts/ci/install-tools.sh';
  return undefined;
}

/** A port of loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
