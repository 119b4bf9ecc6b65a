import path from 'node:path';
import { InputError } from '../errors.ts';
import { inputName, type Receipt, readReceipt, type Verdict } from '../receipt/index.ts';
import { pipelineSummary } from '../report/index.ts';
import { checksum } from './checksum.ts';
import { compare } from './compare.ts';
import { definitions } from './definitions.generated.ts';
import type { Action, ActionContext, ActionResult } from './host.ts';
import type { Inputs, OutputName } from './inputs.ts';
import { promoteConfig } from './promote-config.ts';
import { quantize } from './quantize.ts';
import { writeHtmlReport } from './report-page.ts';
import { settleFor } from './settle.ts';
import { validate } from './validate.ts';

type Outputs = ActionResult<'pipeline'>['outputs'];

/**
 * The whole chain on one machine: quantize → checksum (create, verify) → validate → compare → promote, if a config is
 * given. validate and compare both run, so that one report shows all figures; promotion needs all of them to pass; an
 * inconclusive one that is allowed fails nothing and is promoted, loudly.
 */
export const pipeline: Action<'pipeline'> = async (inputs, given) => {
  const chain = new Chain(given);
  // What the model is fed is found out on the FP32 model, before anything takes long, and kept for all steps.
  const settled = await chain.attempt('inputs', () => settleFor(inputs, given));
  const context = settled ? { ...given, settled } : given;
  // Each step resolves to undefined where it failed; its failures and figures are kept.
  const quantized =
    chain.failures.length > 0
      ? undefined
      : await chain.step('quantize', () => quantize(quantizeInputs(inputs), context));
  const model = quantized?.outputs.model;
  if (typeof model === 'string') {
    const manifest = inputs.manifest ?? path.join(path.dirname(model), 'SHA256SUMS');
    await chain.step('checksum create', () => checksum(checksumInputs(inputs, 'create', model, manifest), context));
    await chain.step('checksum verify', () => checksum(checksumInputs(inputs, 'verify', model, manifest), context));
    if (chain.failures.length === 0) {
      const { minSimilarity, model: reference, config, ...rest } = inputs;
      await chain.step('validate', () => validate({ ...rest, model, manifest }, context));
      const gate = minSimilarity === undefined ? {} : { minSimilarity };
      await chain.step('compare', () => compare({ ...rest, ...gate, reference, model }, context));
      if (config && chain.failures.length > 0) {
        context.log.warning(`${model} is not promoted: ${config} stays as it is.`);
      } else if (config) {
        await chain.step('promote', () => promoteConfig(promoteInputs(inputs, config, model), context));
      }
    }
  }
  await writeHtmlReport(inputs.report, chain.receipts, chain.failures);
  return {
    outputs: { ...chain.outputs, verdict: chain.verdict(), report: inputs.report },
    summary: chain.receipts.length > 0 ? pipelineSummary(chain.receipts, chain.failures) : '',
    failures: chain.failures,
  };
};

/** What the steps have brought so far. A user's mistake in a later step must not lose the figures of the earlier ones. */
class Chain {
  readonly outputs: Outputs = {};
  readonly failures: string[] = [];
  readonly receipts: Receipt[] = [];
  readonly #context: ActionContext;
  readonly #verdicts: Verdict[] = [];

  constructor(context: ActionContext) {
    this.#context = context;
  }

  async step<A extends 'quantize' | 'checksum' | 'validate' | 'compare' | 'promote-config'>(
    title: string,
    run: () => Promise<ActionResult<A>>,
  ): Promise<ActionResult<A> | undefined> {
    return this.attempt(title, async () => {
      const result = await run();
      await this.#take(result);
      return result;
    });
  }

  /** Work whose failure ends the chain like that of a step. */
  async attempt<Result>(title: string, run: () => Promise<Result>): Promise<Result | undefined> {
    this.#context.signal.throwIfAborted();
    this.#context.step(title);
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof InputError) || this.#context.signal.aborted) throw error;
      this.failures.push(`${title}: ${error.message}`);
      this.#verdicts.push('fail');
      return undefined;
    }
  }

  verdict(): Verdict {
    if (this.#verdicts.includes('fail')) return 'fail';
    return this.#verdicts.includes('inconclusive') ? 'inconclusive' : 'pass';
  }

  async #take({ outputs, failures }: ActionResult<never>): Promise<void> {
    const { report, verdict, ...figures } = outputs as Partial<Record<string, Outputs[OutputName<'pipeline'>]>>;
    for (const [name, value] of Object.entries(figures)) if (isOutput(name)) this.outputs[name] = value;
    this.failures.push(...failures);
    // An inconclusive step fails the chain without saying that the model is bad.
    if (verdict) this.#verdicts.push(verdict as Verdict);
    else if (failures.length > 0) this.#verdicts.push('fail');
    for (const file of [report].flat()) {
      if (typeof file === 'string' && file !== '') this.receipts.push(await readReceipt(file));
    }
  }
}

function isOutput(name: string): name is OutputName<'pipeline'> {
  return Object.hasOwn(definitions.pipeline.outputs, name);
}

function quantizeInputs({ model, report, ...inputs }: Inputs<'pipeline'>): Inputs<'quantize'> {
  // In the chain these are of validate and compare; only `auto` also chooses by them.
  const { minSimilarity, minChannelSimilarity, metricCommand, minMetric, seed, maxSeconds: _, ...rest } = inputs;
  const { maxSlowdown, maxSizeRatio, prefer, searchSeconds, threads, ...options } = rest;
  const same = { ...options, model, report, sourceDigest: true, dryRun: false };
  if (options.method !== 'auto') {
    refuseAutoOnly({ maxSlowdown, maxSizeRatio, prefer, searchSeconds }, options.method);
    return same;
  }
  // An action cannot tell its default from the same value given: where an output has no channels, it is no gate.
  const channels = minChannelSimilarity === DEFAULT_CHANNEL_SIMILARITY ? undefined : minChannelSimilarity;
  const gates = { minSimilarity, minChannelSimilarity: channels, metricCommand, minMetric, maxSlowdown, maxSizeRatio };
  const given = Object.entries({ ...gates, prefer, maxSeconds: searchSeconds, threads, seed });
  return { ...same, ...Object.fromEntries(given.filter(([, value]) => value !== undefined)) };
}

const DEFAULT_CHANNEL_SIMILARITY = Number(definitions.pipeline.inputs['min-channel-similarity'].default);

/** @throws InputError where an input is given that only `auto` takes */
function refuseAutoOnly(given: Record<string, unknown>, method: string): void {
  const [name] = Object.entries(given).find(([, value]) => value !== undefined) ?? [];
  if (name === undefined) return;
  throw new InputError(
    `Input \`${inputName(name)}\` belongs to method \`auto\`, not to \`${method}\`: leave it empty.`,
  );
}

function checksumInputs(
  { report }: Inputs<'pipeline'>,
  mode: 'create' | 'verify',
  model: string,
  manifest: string,
): Inputs<'checksum'> {
  return { mode, path: [model], manifest, ifExists: 'refuse', receipts: [report], report };
}

function promoteInputs(inputs: Inputs<'pipeline'>, config: string, model: string): Inputs<'promote-config'> {
  const report = path.resolve(inputs.report);
  const receipts = [report];
  return {
    ...inputs,
    mode: 'promote',
    config,
    model: path.resolve(model),
    receipts,
    report,
    fullVerify: false,
    dryRun: false,
  };
}
