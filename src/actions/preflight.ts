import { access, constants, readFile, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { readKey } from '../config/index.ts';
import { InputError, messageOf } from '../errors.ts';
import { modelFiles, readModel } from '../model/index.ts';
import { type Plan, plan, readOverrides } from '../quantize/index.ts';
import { logLine } from '../receipt/index.ts';
import { availableMemory, resolveRuntime } from '../runtime/index.ts';
import { getInputs, type Inputs } from './inputs.ts';
import { bytes } from './progress.ts';

const NODE_AT_LEAST = 20;
const HEALTH_TIMEOUT_MS = 3000;

interface Finding {
  subject: string;
  /** `missing` stops the chain; `note` does not. */
  state: 'ok' | 'note' | 'missing';
  text: string;
}

type Options = Partial<Inputs<'pipeline'>>;

/**
 * Says whether what the chain needs is there, before anything runs: a line per subject, with what to do about it.
 * Changes nothing and downloads nothing. Resolves with the exit code: 1 if anything is missing.
 */
export async function preflight(
  flags: ReadonlyMap<string, string>,
  out: { write(text: string): unknown },
): Promise<number> {
  // Without a model the rest can still be looked at, so that is a finding and no refusal.
  const options: Options = getInputs('pipeline', (name) => flags.get(name) ?? (name === 'model' ? '-' : undefined));
  if (!flags.has('model')) delete options.model;
  const findings = [checkNode()];
  const { finding: model, plan: planned } = await checkModel(options);
  findings.push(model);
  findings.push(await checkDisk(options, planned));
  findings.push(await checkMemory(options, planned));
  findings.push(await checkRuntime(options));
  findings.push(...(await checkTools(options)));
  findings.push(...(await checkConfig(options)));
  findings.push(...(await checkService(options)));

  const width = Math.max(...findings.map(({ subject }) => subject.length));
  for (const { subject, state, text } of findings) {
    out.write(`${state.padEnd(8)}${subject.padEnd(width + 2)}${logLine(text)}\n`);
  }
  const missing = findings.filter(({ state }) => state === 'missing').length;
  out.write(
    missing === 0 ? 'Everything that the chain needs is here.\n' : `${missing} missing: see above for what to do.\n`,
  );
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

async function checkModel({ model: file, ...options }: Options): Promise<{ finding: Finding; plan?: Plan }> {
  const subject = 'model';
  if (!file)
    return {
      finding: { subject, state: 'missing', text: 'No model is named; pass --model <path of the FP32 model>.' },
    };
  try {
    const model = await readModel(file);
    const { minSimilarity: _, report: __, overrides: said, ...rest } = options;
    const planned = plan(model, { ...rest, overrides: said ? await readOverrides(said) : undefined });
    const text = `${file}: ${bytes(await sizeOf(await modelFiles(file)))}, ${planned.nodesQuantized} nodes to quantize`;
    return { finding: { subject, state: 'ok', text }, plan: planned };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { finding: { subject, state: 'missing', text: error.message } };
  }
}

async function checkDisk({ model = '.', output }: Options, planned: Plan | undefined): Promise<Finding> {
  const subject = 'disk';
  const folder = path.dirname(path.resolve(output ?? model));
  try {
    await access(folder, constants.W_OK);
    const { bavail, bsize } = await statfs(folder);
    const free = bavail * bsize;
    const needed = planned?.disk ?? 0;
    const where = `${bytes(free)} free in ${folder}`;
    return free >= needed
      ? { subject, state: 'ok', text: planned ? `${where}, about ${bytes(needed)} needed` : where }
      : {
          subject,
          state: 'missing',
          text: `${where}, but the result needs about ${bytes(needed)}; make room or choose another --output.`,
        };
  } catch (error) {
    return {
      subject,
      state: 'missing',
      text: `${folder} cannot be written to (${messageOf(error)}); choose another --output.`,
    };
  }
}

async function checkMemory({ model }: Options, planned: Plan | undefined): Promise<Finding> {
  const subject = 'memory';
  const available = availableMemory();
  const quantizing = planned?.quantizeMemory ?? 128 * 2 ** 20;
  if (available < quantizing) {
    const text = `${bytes(available)} available, but quantizing takes ${bytes(quantizing)}; stop something.`;
    return { subject, state: 'missing', text };
  }
  const source = model && planned ? await sizeOf(await modelFiles(model)) : 0;
  // ONNX Runtime holds a model's weights once, and a prepacked copy of some for a while.
  return available < source
    ? {
        subject,
        state: 'note',
        text: `${bytes(available)} available: enough to quantize, too little for compare to load the FP32 model (${bytes(source)}).`,
      }
    : {
        subject,
        state: 'ok',
        text: `${bytes(available)} available; quantizing takes ${bytes(quantizing)}, comparing about ${bytes(source)} and the outputs`,
      };
}

async function checkRuntime({ ortPath }: Options): Promise<Finding> {
  const subject = 'runtime';
  try {
    const { version, directory, source } = await resolveRuntime(ortPath ? { ortPath } : {});
    return { subject, state: 'ok', text: `onnxruntime-node ${version} (${source}: ${directory})` };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { subject, state: 'missing', text: error.message };
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

async function checkConfig({
  config,
  projectRoot = '.',
  modelPathKey = '',
  memoryKey = '',
}: Options): Promise<Finding[]> {
  if (!config) return [{ subject: 'config', state: 'note', text: 'No --config, so nothing will be promoted.' }];
  const file = path.resolve(projectRoot, config);
  const text = await readFile(file).catch((error: unknown) => error);
  if (!Buffer.isBuffer(text)) {
    return [
      {
        subject: 'config',
        state: 'missing',
        text: `${file} cannot be read (${messageOf(text)}); see --config and --project-root.`,
      },
    ];
  }
  try {
    const found = [modelPathKey, memoryKey].map((key) => ({ key, site: readKey(text, key, file) }));
    const absent = found.filter(({ site }) => site === undefined).map(({ key }) => key);
    if (absent.length > 0) {
      return [
        {
          subject: 'config',
          state: 'note',
          text: `${file} has no ${absent.join(' and no ')}; promotion would insert it.`,
        },
      ];
    }
    const values = found.map(({ key, site }) => `${key} is ${String(site?.value)}`);
    return [{ subject: 'config', state: 'ok', text: `${file}: ${values.join(', ')}` }];
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return [{ subject: 'config', state: 'missing', text: error.message }];
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

async function sizeOf(files: readonly string[]): Promise<number> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  return sizes.reduce((sum, size) => sum + size, 0);
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
