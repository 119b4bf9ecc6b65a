import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const lib = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'lib');

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface FinishedAction extends Finished {
  outputs: Record<string, string>;
  summary: string;
}

/** Environment without what a runner or an earlier test put there. */
export function cleanEnvironment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(INPUT_|GITHUB_|RUNNER_|ACTIONS_|CI$|VITEST)/.test(name),
  );
  return { ...Object.fromEntries(kept), ...extra };
}

/** Runs the command line in a process of its own. `onStart` may signal it. */
export function runCli(
  args: string[],
  cwd: string,
  onStart?: (kill: (signal: NodeJS.Signals) => void) => void,
): Promise<Finished> {
  return run([path.join(lib, 'cli.js'), ...args], cwd, cleanEnvironment(), onStart);
}

/** Runs an action as the runner does: inputs as `INPUT_*`, outputs and summary in the files that it names. */
export async function runAction(
  name: string,
  inputs: Record<string, string>,
  cwd: string,
  env: Record<string, string> = {},
): Promise<FinishedAction> {
  const folder = path.join(cwd, '.runner');
  mkdirSync(folder, { recursive: true });
  const [output, summary] = [path.join(folder, 'output'), path.join(folder, 'summary')];
  for (const file of [output, summary]) writeFileSync(file, '');
  const given = Object.entries(inputs).map(([key, value]) => [`INPUT_${key.toUpperCase()}`, value]);
  // A file and no `-e`, whose Node.js options workers would inherit.
  const entry = path.join(folder, 'entry.mjs');
  const bundle = JSON.stringify(pathToFileURL(path.join(lib, 'actions/main.js')).href);
  writeFileSync(entry, `import { runAction } from ${bundle};\nawait runAction(${JSON.stringify(name)});\n`);
  const finished = await run(
    [entry],
    cwd,
    cleanEnvironment({ GITHUB_OUTPUT: output, GITHUB_STEP_SUMMARY: summary, ...Object.fromEntries(given), ...env }),
  );
  return { ...finished, outputs: parseOutputs(readFileSync(output, 'utf8')), summary: readFileSync(summary, 'utf8') };
}

function run(
  args: string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
  onStart?: (kill: (signal: NodeJS.Signals) => void) => void,
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (part: string) => {
        text[stream] += part;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...text }));
    onStart?.((signal) => child.kill(signal));
  });
}

/** `name<<delimiter`, the value's lines, `delimiter`: the form of the runner's output file. */
function parseOutputs(text: string): Record<string, string> {
  const outputs: Record<string, string> = {};
  for (const [, name, , value] of text.matchAll(/^(.+?)<<(.+)\n([\s\S]*?)\n?\2$/gm)) outputs[name!] = value!;
  return outputs;
}
