import { access, constants } from 'node:fs/promises';
import path from 'node:path';
import { foreseePromotion } from '../config/index.ts';
import { InputError, messageOf } from '../errors.ts';
import { logLine } from '../receipt/index.ts';
import { type RuntimeLocation, resolveRuntime } from '../runtime/index.ts';
import { getInputs } from './inputs.ts';
import { checkModel, type Finding, type Options, resultPath } from './preflight-model.ts';
import type { TerminalHost } from './terminal.ts';

const NODE_AT_LEAST = 20;
const HEALTH_TIMEOUT_MS = 3000;

/**
 * Says whether what the chain needs is there, before anything runs: a line per subject, with what to do about it. The
 * model is tried where its inputs have to be guessed, and its weights are read. Changes nothing; onnxruntime-node is
 * downloaded where it is missing, as the chain would. Resolves with the exit code: 1 if anything is missing, which is what the chain would stop for.
 */
export async function preflight(flags: ReadonlyMap<string, string>, host: TerminalHost): Promise<number> {
  // Without a model the rest can still be looked at, so that is a finding and no refusal.
  const options: Options = getInputs('pipeline', (name) => flags.get(name) ?? (name === 'model' ? '-' : undefined));
  if (!flags.has('model')) delete options.model;
  const { finding: runtime, location } = await checkRuntime(options, host);
  const findings = [
    checkNode(),
    runtime,
    ...(await checkModel(options, location, host)),
    ...(await checkTools(options)),
    ...(await checkConfig(options)),
    ...(await checkService(options)),
  ];
  const width = Math.max(...findings.map(({ subject }) => subject.length));
  const lines = findings.map(
    ({ subject, state, text }) => `${state.padEnd(8)}${subject.padEnd(width + 2)}${logLine(text)}\n`,
  );
  const missing = findings.filter(({ state }) => state === 'missing').length;
  lines.push(
    missing === 0 ? 'Everything that the chain needs is here.\n' : `${missing} missing: see above for what to do.\n`,
  );
  host.present(lines.join(''), { missing, findings });
  return missing === 0 ? 0 : 1;
}

function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return major >= NODE_AT_LEAST
    ? { subject: 'node', state: 'ok', text: process.version }
    : {
        subject: 'node',
        state: 'missing',
        text: `${process.version} is too old; install Node ${NODE_AT_LEAST} or newer.`,
      };
}

async function checkRuntime(
  { ortPath, registryUrl }: Options,
  { log }: TerminalHost,
): Promise<{ finding: Finding; location?: RuntimeLocation }> {
  const subject = 'runtime';
  try {
    const location = await resolveRuntime({ log, ortPath, registryUrl });
    const { version, directory, source } = location;
    const text = `onnxruntime-node ${version} (${source}: ${directory})`;
    return { finding: { subject, state: 'ok', text }, location };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { finding: { subject, state: 'missing', text: error.message } };
  }
}

async function checkTools({ delivery, token, restartCommand, healthCommand }: Options): Promise<Finding[]> {
  const findings: Finding[] = [];
  const wanted = new Map<string, string>();
  if (delivery && delivery !== 'file') wanted.set('git', `delivery ${delivery}`);
  if (restartCommand) wanted.set(programOf(restartCommand), 'restart-command');
  if (healthCommand) wanted.set(programOf(healthCommand), 'health-command');
  for (const [program, use] of wanted) {
    const found = await onPath(program);
    findings.push(
      found
        ? { subject: program, state: 'ok', text: `${found} (${use})` }
        : {
            subject: program,
            state: 'missing',
            text: `"${program}" of ${use} is not on PATH; install it or name its full path.`,
          },
    );
  }
  if (delivery && delivery !== 'file' && !token && !process.env.GITHUB_TOKEN) {
    findings.push({ subject: 'token', state: 'missing', text: `delivery ${delivery} needs --token or GITHUB_TOKEN.` });
  }
  return findings;
}

async function checkConfig(options: Options): Promise<Finding[]> {
  const subject = 'config';
  const { config, model } = options;
  if (!config) return [{ subject, state: 'note', text: 'No --config, so nothing will be promoted.' }];
  try {
    const result = model ? await resultPath({ ...options, model }) : path.resolve('model_int8.onnx');
    const { file, keys, problems } = await foreseePromotion({ ...options, config, model: result });
    const values = keys.map(({ key, value }) =>
      value === undefined ? `${key} would be inserted` : `${key} is ${String(value)}`,
    );
    return [
      { subject, state: 'ok', text: `${file}: ${values.join(', ')}` },
      ...problems.map((text): Finding => ({ subject: 'way back', state: 'missing', text })),
    ];
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return [{ subject, state: 'missing', text: error.message }];
  }
}

async function checkService({ healthUrl }: Options): Promise<Finding[]> {
  if (!healthUrl) return [];
  try {
    const { status, ok } = await fetch(healthUrl, { signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS) });
    const text = `${healthUrl} answers ${status}`;
    return [{ subject: 'service', state: ok ? 'ok' : 'note', text: ok ? text : `${text}; is the service healthy?` }];
  } catch (error) {
    return [
      {
        subject: 'service',
        state: 'missing',
        text: `${healthUrl} does not answer (${messageOf(error)}); start the service or mend --health-url.`,
      },
    ];
  }
}

function programOf(command: string): string {
  return command
    .trim()
    .split(/\s+/)[0]!
    .replace(/^["']|["']$/g, '');
}

/** Where a program is, as the system would find it; undefined where it is not. */
async function onPath(program: string): Promise<string | undefined> {
  const endings = process.platform === 'win32' ? ['', ...(process.env.PATHEXT ?? '.EXE').split(';')] : [''];
  const folders =
    program.includes('/') || path.isAbsolute(program) ? [''] : (process.env.PATH ?? '').split(path.delimiter);
  for (const folder of folders) {
    for (const ending of endings) {
      const file = path.join(folder, `${program}${ending}`);
      const there = await access(file, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (there) return file;
    }
  }
  return undefined;
}
