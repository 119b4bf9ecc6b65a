import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readSubject, type Subject, samplesFor, withScorer } from '../compare/index.ts';
import { InputError } from '../errors.ts';
import { assertOutputDiffers } from '../model/index.ts';
import { formatOverrides, GENERATED, type QuantizeContext, type QuantizeResult, quantize } from '../quantize/index.ts';
import { inputsOf, type Log, replaceFile } from '../receipt/index.ts';
import {
  type CacheService,
  digestSamples,
  environment,
  type RuntimeLocation,
  resolveRuntime,
  withScratch,
} from '../runtime/index.ts';
import { VERSION } from '../version.generated.ts';
import { Bench, DiskFull, OutOfTime, type Scorers } from './bench.ts';
import { candidatesOf, type Recipe } from './candidates.ts';
import { type Choice, choose, failing, passing } from './choose.ts';
import { lacksOf, preferred, undecided } from './gates.ts';
import { type Found, type GivenBack, giveBack } from './give-back.ts';
import { type Check, Journal, type Trial } from './journal.ts';
import { type AutoOptions, type Gates, gatesOf } from './options.ts';
import { GENERATED_COUNT, generatedParts, givenParts, type Parts } from './parts.ts';

type SampleContext = Parameters<typeof samplesFor>[2];

export interface AutoContext
  extends Pick<QuantizeContext, 'signal' | 'now' | 'environment'>,
    Pick<SampleContext, 'settled' | 'spell'> {
  log: Log;
  /** Where candidates and outputs lie for a while; default the system's temporary folder. */
  temporaryFolder?: string;
  /** Keeps a downloaded onnxruntime-node between runs. */
  cache?: CacheService;
}

/** What a receipt says of a search. */
export interface AutoFindings {
  /** `2.40 × faster, 3.8 × smaller, 0.991 alike; 3 of 64 layers kept in FP32` */
  sentence: string;
  /** The options that make the same bytes again, with the overrides file. */
  replay: Record<string, string>;
  /** Name of the overrides file, beside the model. */
  overrides: string;
  gates: Gates;
  /** What was tried, in order, with what each lacks. */
  trials: (Trial & { verdict: string })[];
  chosen: { form: string; name: string };
  /** What was given back, and why. */
  given: GivenBack[];
  /** The choice on the samples that did not choose it. */
  confirmed: Check;
  final: Check;
  /** Choices that were not confirmed. */
  retries: number;
  samples: { choose: number; confirm: number; final: number; generated: boolean };
  /** Seconds that trials took. */
  seconds: number;
}

export interface AutoResult extends QuantizeResult {
  findings: AutoFindings;
  /** Path of the overrides file. */
  overrides: string;
}

/**
 * Method `auto`: makes the model in several ways, measures each on this machine, and writes the one that passes all gates
 * and is preferred. Where the fastest is too unlike its source, the layers that do the most harm are given back one after
 * the other. Every step is decided by models that were made and run. What was found goes to a journal in the report
 * folder, so that an interrupted search goes on; the overrides file beside the model makes the same bytes without one.
 *
 * @throws InputError, in one sentence, for what a user can mend, and where nothing passes; no model is written then.
 */
export async function auto(options: AutoOptions, context: AutoContext): Promise<AutoResult> {
  const gates = gatesOf(options);
  const source = await readSubject(options.model);
  const output = path.resolve(options.output || defaultOutput(source.model.path));
  assertOutputDiffers(source.model, output);
  const search = await prepare(options, source, context);
  for (const warning of search.parts.warnings) context.log.warning(warning);
  const report = path.resolve(options.report || path.dirname(output));
  const journal = await Journal.open(
    path.join(report, `${path.parse(output).name}.auto.jsonl`),
    await keyOf(options, source, search),
    context.log,
  );
  try {
    return await withScratch(context.temporaryFolder ?? tmpdir(), 'onnx-auto', async (folder) =>
      withScorers(options, source, search, folder, context, async (scorers) => {
        await scorers.choose.start();
        const bench = new Bench({
          source,
          fileName: path.basename(output),
          scorers,
          journal,
          folder,
          maxSeconds: gates.maxSeconds,
          threads: options.threads,
          seed: options.seed ?? 0,
          log: context.log,
          signal: context.signal,
        });
        const found = await candidates(options, source, search, bench, gates);
        const choice = await choose(found, bench, gates, context.log);
        return write(choice, { options, gates, source, search, bench, output }, context);
      }),
    );
  } catch (error) {
    if (error instanceof DiskFull) throw new InputError(error.message, { cause: error });
    throw error;
  }
}

/** What a search works with. */
interface Search {
  runtime: RuntimeLocation;
  parts: Parts;
  generated: boolean;
}

async function prepare(options: AutoOptions, source: Subject, context: AutoContext): Promise<Search> {
  const { log, signal, cache, temporaryFolder = tmpdir(), settled, spell } = context;
  const { arch, isa } = (context.environment ?? environment)();
  const { ortPath, registryUrl, calibrationData, dims, ranges, seed, threads } = options;
  const runtime = await resolveRuntime({ log, signal, cache, ortPath, registryUrl });
  const generated = !calibrationData || calibrationData === GENERATED;
  const samples = await samplesFor(
    source.model,
    {
      reference: source.model.path,
      model: source.model.path,
      ...(generated ? { count: GENERATED_COUNT } : { samples: calibrationData }),
      ...(dims ? { dims: [dims] } : {}),
      ...(ranges ? { ranges: [ranges] } : {}),
      ...(seed === undefined ? {} : { seed }),
      ...(threads === undefined ? {} : { threads }),
    },
    {
      runtime: async () => runtime,
      temporaryFolder,
      log,
      signal,
      settled,
      spell,
    },
  );
  const parts = generated ? generatedParts(samples) : givenParts(samples);
  if (generated) {
    log.warning(
      'There is no `calibration-data`, so `auto` chooses on made-up inputs, by which nobody can tell what becomes of real ones, and leaves out what needs to see some: give 12 samples or more that are like those of production.',
    );
  } else {
    for (const note of samples.notes) log.info(note);
  }
  if (arch === 'x64' && !isa.some((name) => name.includes('vnni'))) {
    log.warning(
      'This processor has no VNNI: products of 8 bits are slower than where it is, and may saturate (`reduce-range`); what is chosen here is chosen for such machines.',
    );
  }
  return { runtime, parts, generated };
}

async function withScorers<T>(
  { threads, metricCommand }: AutoOptions,
  source: Subject,
  { runtime, parts }: Search,
  temporaryFolder: string,
  { log, signal }: AutoContext,
  body: (scorers: Scorers) => Promise<T>,
): Promise<T> {
  const same = {
    reference: source.model,
    runtime,
    provider: 'cpu' as const,
    temporaryFolder,
    log,
    ...(threads === undefined ? {} : { threads }),
    ...(metricCommand ? { metricCommand } : {}),
    ...(signal ? { signal } : {}),
  };
  return withScorer({ ...same, samples: parts.choose }, (choose) =>
    withScorer({ ...same, samples: parts.confirm }, (confirm) =>
      withScorer({ ...same, samples: parts.final }, (final) => body({ choose, confirm, final })),
    ),
  );
}

/** All that the figures of a search depend on, but not what is demanded of them. */
async function keyOf(options: AutoOptions, source: Subject, { runtime, parts }: Search): Promise<string> {
  const { choose, confirm, final } = parts;
  const samples = [await digestSamples(choose), await digestSamples(confirm), await digestSamples(final)];
  const { cpu, cores, isa } = environment();
  const { threads, metricCommand, seed } = options;
  const identity = [VERSION, source.root, samples, runtime.version, cpu, cores, isa, threads, metricCommand, seed];
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex');
}

/** Tries whole candidates, and gives layers back of those that would be preferred if they were more alike. */
async function candidates(
  options: AutoOptions,
  source: Subject,
  { parts }: Search,
  bench: Bench,
  gates: Gates,
): Promise<Found[]> {
  const limit = options.calibrationCount ?? Number.POSITIVE_INFINITY;
  const count = parts.calibrationCount === undefined ? undefined : Math.min(parts.calibrationCount, limit);
  const found: Found[] = [];
  try {
    for (const candidate of candidatesOf(options, source.model, count)) {
      found.push({ ...candidate, given: [], trial: await bench.trial(candidate, true) });
    }
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
    if (found.length === 0) {
      throw new InputError(
        `Input \`max-seconds\` is ${gates.maxSeconds}, too short to make and measure one model: give more, such as 600.`,
      );
    }
  }
  const refused = found.filter(({ trial }) => trial.refused !== null);
  if (refused.length === found.length) throw new InputError(refused[0]!.trial.refused!);
  const promising = true;
  for (const trial of preferred(failing(found, gates), gates, { promising })) {
    const base = found.find((each) => each.trial === trial)!;
    const best = preferred(passing(found, gates, true), gates)[0];
    if (best && preferred([best, trial], gates, { promising })[0] === best) continue;
    const mended = await giveBack(base, bench, gates);
    if (mended) found.push(mended);
  }
  if (gates.prefer === 'speed') await settleTimes(found, bench, gates);
  return found;
}

/** Of those that pass, times those again that only noise makes as good as the best. */
async function settleTimes(found: Found[], bench: Bench, gates: Gates): Promise<void> {
  for (const { trial, slowdown } of undecided(passing(found, gates, false))) {
    const own = found.find((each) => each.trial === trial)!;
    own.trial = await bench.retime(own, trial, slowdown);
  }
}

interface Writing {
  options: AutoOptions;
  gates: Gates;
  source: Subject;
  search: Search;
  bench: Bench;
  output: string;
}

/** Writes the choice by an ordinary run, with all that the search has found in its receipt. */
async function write(choice: Choice, writing: Writing, context: AutoContext): Promise<AutoResult> {
  const { options, gates, source, search, bench, output } = writing;
  const { recipe, trial, given, confirmed, final, retries } = choice;
  const overrides = path.join(path.dirname(output), `${path.parse(output).name}.overrides.yaml`);
  const { overrides: nodes = {}, ...rest } = recipe;
  const replay = inputsOf({ model: options.model, ...rest, overrides: path.basename(overrides) });
  const verdictOf = (each: Trial) => each.refused ?? (each === trial ? 'chosen' : verdict(each, gates));
  const findings = (sentence: string): AutoFindings => ({
    sentence,
    replay,
    overrides: path.basename(overrides),
    gates: { ...gates, maxSizeRatio: Math.min(gates.maxSizeRatio, Number.MAX_VALUE) },
    trials: bench.trials.map((each) => ({ ...each, verdict: verdictOf(each) })),
    chosen: { form: choice.form, name: trial.name },
    given,
    confirmed,
    final,
    retries,
    samples: {
      choose: search.parts.choose.length,
      confirm: search.parts.confirm.length,
      final: search.parts.final.length,
      generated: search.generated,
    },
    seconds: bench.spent,
  });
  await replaceFile(overrides, overridesText(replay, nodes));
  const { threads, report, sourceDigest } = options;
  const run = { ...recipe, model: source.model.path, output, threads, sourceDigest, ...(report ? { report } : {}) };
  const sentence = sentenceOf(trial, given, trial.nodesQuantized);
  const result = await quantize(run, {
    shared: bench.shared,
    ...context,
    // Found anew, as in the trials and in a replay, so that the bytes are theirs.
    settled: undefined,
    receipt: { inputs: { ...inputsOf(autoInputs(options)), method: 'auto' }, results: { auto: findings(sentence) } },
  });
  context.log.info(`${sentence}.`);
  return { ...result, findings: findings(sentence), overrides };
}

/** The options as the user gave them. */
function autoInputs({ overrides: _, ...options }: AutoOptions): object {
  return options;
}

function verdict(trial: Trial, gates: Gates): string {
  if (trial.nodesQuantized === 0) return 'quantizes nothing';
  const lacks = lacksOf(trial, gates, true).map(({ text }) => text);
  if (lacks.length > 0) return lacks.join(', ');
  return trial.slowdown ? 'passes' : 'passes, not timed';
}

/** One line that a person understands. */
function sentenceOf(
  { slowdown, sizeRatio, similarity }: Trial,
  given: readonly GivenBack[],
  quantized: number,
): string {
  const { value, low, high } = slowdown!;
  const speed = (1 / value).toFixed(2);
  // What noise alone may have made is no speed-up.
  const pace = low <= 1 && high >= 1 ? 'about as fast' : value < 1 ? `${speed} × faster` : `${speed} × as fast`;
  const kept = given.filter(({ as }) => as === 'keep').flatMap(({ nodes }) => nodes).length;
  const stored = given.filter(({ as }) => as === 'weight-only').flatMap(({ nodes }) => nodes).length;
  const all = quantized + kept;
  const layers = [
    kept > 0 ? `${kept} of ${all} layers kept in FP32` : '',
    stored > 0 ? `${stored} of ${all} computed in FP32 from weights of 8 bits` : '',
  ].filter((part) => part !== '');
  const rest = layers.length > 0 ? layers.join(', ') : `all ${all} layers quantized`;
  return `${pace}, ${(1 / sizeRatio).toFixed(1)} × smaller, ${similarity.toFixed(3)} alike; ${rest}`;
}

function overridesText(replay: Record<string, string>, nodes: NonNullable<Recipe['overrides']>): string {
  const flags = Object.entries(replay).map(([name, text]) => `--${name} ${JSON.stringify(text)}`);
  const head = `# What method auto chose. These options make the same bytes again:\n# quantize ${flags.join(' ')}\n`;
  return head + (Object.keys(nodes).length > 0 ? formatOverrides(nodes) : '{}\n');
}

export function defaultOutput(model: string): string {
  return path.join(path.dirname(model), `${path.basename(model).replace(/\.onnx$/i, '')}_auto.onnx`);
}
