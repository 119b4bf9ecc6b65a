import { access, constants, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { bytes } from '../bytes.ts';
import { declaredBytes, type MemoryNeed, memoryNeed } from '../compare/index.ts';
import { InputError, messageOf } from '../errors.ts';
import { settleInputs } from '../inputs/index.ts';
import { declaredInputs, declaredOutputs, type Model, readModel } from '../model/index.ts';
import { type Plan, plan, readOverrides, refusedWeights, settingsOf } from '../quantize/index.ts';
import {
  availableMemory,
  type Feeds,
  loadSamples,
  type RuntimeLocation,
  SessionError,
  valueInfoOf,
} from '../runtime/index.ts';
import { defaultOutput } from '../tune/index.ts';
import type { Inputs } from './inputs.ts';
import type { TerminalHost } from './terminal.ts';

export interface Finding {
  subject: string;
  /** `missing` stops the chain; `note` does not. */
  state: 'ok' | 'note' | 'missing';
  text: string;
}

export type Options = Partial<Inputs<'pipeline'>>;

/** What is known of the model by the time later checks ask. */
interface Known {
  model: Model;
  planned: Plan;
  options: Options;
}

/** Everything that the model itself can make the chain stop for. `runtime` is absent where none was found. */
export async function checkModel(
  options: Options,
  runtime: RuntimeLocation | undefined,
  host: TerminalHost,
): Promise<Finding[]> {
  const { model: file } = options;
  if (!file) {
    const text = 'No model is named; say which, as in preflight model.onnx.';
    return [{ subject: 'model', state: 'missing', text }, await checkDisk(options, undefined)];
  }
  const findings: Finding[] = [];
  const known = await attempt('model', findings, async (): Promise<Known> => {
    const model = await readModel(file);
    const planned = plan(model, await quantizeOptions(options));
    const text = `${file}: ${bytes(sizeOf(model))}, ${planned.nodesQuantized} nodes to quantize`;
    findings.push({ subject: 'model', state: 'ok', text });
    return { model, planned, options };
  });
  findings.push(await checkDisk(options, known?.planned));
  if (!known) return findings;
  findings.push(checkSize(known));
  findings.push(...(await checkValues(known, host)));
  const feeds = runtime ? await checkInputs(known, runtime, host, findings) : undefined;
  findings.push(...(await checkMemory(known, feeds)));
  return findings;
}

/** A user's mistake becomes a finding. */
async function attempt<Result>(
  subject: string,
  findings: Finding[],
  work: () => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof InputError) && !(error instanceof SessionError)) throw error;
    const text = error instanceof SessionError ? `${error.message}.` : error.message;
    findings.push({ subject, state: 'missing', text });
    return undefined;
  }
}

/**
 * The options of quantize as the chain passes them on: `min-similarity` is compare's there. What `auto` makes takes about
 * what `dynamic` takes.
 */
async function quantizeOptions({ minSimilarity: _, report: __, threads: ___, overrides, ...options }: Options) {
  const { method, calibrationData, calibrationCount, calibrationMethod, ...rest } = options;
  const { calibrationPercentile, activationType, fold, ...others } = rest;
  const said = overrides ? await readOverrides(overrides) : undefined;
  if (method === 'auto') return { ...others, method: 'dynamic' as const, overrides: said };
  return { ...options, method, overrides: said };
}

/** Where the chain would put its result. */
export async function resultPath(options: Options & { model: string }): Promise<string> {
  const { model, output, method } = options;
  if (output || method !== 'auto') return settingsOf({ ...(await quantizeOptions(options)), model }).output;
  return defaultOutput(path.resolve(model));
}

async function checkDisk({ model = '.', output }: Options, planned: Plan | undefined): Promise<Finding> {
  const subject = 'disk';
  const folder = path.dirname(path.resolve(output ?? model));
  try {
    await access(folder, constants.W_OK);
    const free = await freeBytes(folder);
    const needed = planned?.disk ?? 0;
    const where = `${bytes(free)} free in ${folder}`;
    if (free >= needed) {
      return { subject, state: 'ok', text: planned ? `${where}, about ${bytes(needed)} needed` : where };
    }
    const text = `${where}, but the result needs about ${bytes(needed)}; make room or choose another --output.`;
    return { subject, state: 'missing', text };
  } catch (error) {
    const text = `${folder} cannot be written to (${messageOf(error)}); choose another --output.`;
    return { subject, state: 'missing', text };
  }
}

/** A result that is no smaller is no reason to stop, and none to go on either. */
function checkSize({ model, planned }: Known): Finding {
  const source = sizeOf(model);
  const result = planned.disk;
  const text = `about ${bytes(result)} after, ${bytes(source)} before`;
  return result < source
    ? { subject: 'result', state: 'ok', text }
    : {
        subject: 'result',
        state: 'note',
        text: `${text}: quantizing makes this model no smaller; see inspect for other methods.`,
      };
}

async function checkValues({ model, options }: Known, host: TerminalHost): Promise<Finding[]> {
  const refused = await refusedWeights(model, await quantizeOptions(options), { log: host.log });
  if (refused.length === 0) return [{ subject: 'values', state: 'ok', text: 'every weight can take its new form' }];
  return refused.slice(0, 5).map(({ name, why, fatal }) => {
    const what = `weight "${name}" ${why}`;
    return fatal
      ? {
          subject: 'values',
          state: 'missing',
          text: `${what}: export the model again, or keep it FP32 with --allow-non-finite.`,
        }
      : { subject: 'values', state: 'note', text: `${what}: it stays FP32` };
  });
}

/** Samples as the chain would load them, or inputs settled on the model as the chain would. The first of them. */
async function checkInputs(
  { model, options }: Known,
  runtime: RuntimeLocation,
  host: TerminalHost,
  findings: Finding[],
): Promise<Feeds | undefined> {
  const subject = options.samples ? 'samples' : 'inputs';
  return attempt(subject, findings, async () => {
    const { samples: spec, dims, ranges, seed, count } = options;
    const settled = spec
      ? undefined
      : await settleInputs(model, options, {
          runtime: async () => runtime,
          temporaryFolder: tmpdir(),
          spell: host.spell,
        });
    const samples = await loadSamples(spec, declaredInputs(model).map(valueInfoOf), {
      ...(dims ? { dims } : {}),
      ...(ranges ? { ranges } : {}),
      ...(seed === undefined ? {} : { seed }),
      ...(count === undefined ? {} : { count }),
      ...(settled ? { settled } : {}),
    });
    const first = await samples.get(0);
    // A file late in the list may be the broken one.
    for (let index = 1; spec && index < samples.length; index++) await samples.get(index);
    const tried = settled ? ', tried on the model' : '';
    const text = [`${samples.length} from ${spec ?? 'the signature'}${tried}.`, ...samples.notes].join(' ');
    findings.push({ subject, state: 'ok', text });
    return first;
  });
}

/** For each step what it takes at its highest; a step that cannot fit is one that the chain would stop at. */
async function checkMemory({ model, planned }: Known, feeds: Feeds | undefined): Promise<Finding[]> {
  const available = availableMemory();
  const sizes = symbolicSizes(model, feeds);
  const outputs = declaredBytes(declaredOutputs(model), sizes);
  const reference = memoryNeed(model, outputs, sizes);
  const saved = sizeOf(model) - planned.loadedWeights;
  const result = { least: outputs * 2, expected: Math.max(0, reference.expected - Math.max(0, saved)) };
  const steps: { step: string; least: number; expected: number; instead: string }[] = [
    { step: 'quantize', least: planned.quantizeMemory, expected: planned.quantizeMemory, instead: 'stop something' },
    { step: 'validate', ...result, instead: 'use a larger machine or smaller --dims' },
    { step: 'compare', ...largest(reference, result), instead: 'compare on a larger machine, or with smaller --dims' },
  ];
  const findings = steps.map(({ step, least, expected, instead }): Finding => {
    const subject = `memory, ${step}`;
    const has = `${bytes(available)} available`;
    if (least > available) {
      return { subject, state: 'missing', text: `${has}, at least ${bytes(least)} needed; ${instead}.` };
    }
    return expected > available
      ? { subject, state: 'note', text: `${has}, about ${bytes(expected)} wanted: it may be slow, or too much` }
      : { subject, state: 'ok', text: `${has}, about ${bytes(expected)} needed` };
  });
  return [...findings, await checkSpool(outputs)];
}

/** compare loads both at once only where both fit. */
function largest(a: MemoryNeed, b: Pick<MemoryNeed, 'least' | 'expected'>) {
  return { least: Math.max(a.least, b.least), expected: Math.max(a.expected, b.expected) };
}

/** compare writes the outputs of both models to the temporary folder. */
async function checkSpool(outputs: number): Promise<Finding> {
  const subject = 'temporary folder';
  const free = await freeBytes(tmpdir());
  const text = `${bytes(free)} free in ${tmpdir()}, ${bytes(2 * outputs)} of outputs to compare at a time`;
  return 2 * outputs <= free
    ? { subject, state: 'ok', text }
    : { subject, state: 'missing', text: `${text}: make room there or point TMPDIR to a larger disk.` };
}

function symbolicSizes(model: Model, feeds: Feeds | undefined): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const { name, dims } of declaredInputs(model)) {
    for (const [axis, size] of dims.entries()) {
      const actual = feeds?.[name]?.dims[axis];
      if (typeof size === 'string' && size !== '' && actual !== undefined) sizes.set(size, actual);
    }
  }
  return sizes;
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

const sizeOf = ({ stamps }: Model): number => stamps.reduce((sum, { size }) => sum + size, 0);
