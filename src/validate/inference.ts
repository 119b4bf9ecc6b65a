import { type Model, walkNodes } from '../model/index.ts';
import { type Feeds, isFloating, type OutputSummary, type Samples, type Session } from '../runtime/index.ts';
import { batchInfluence, type Influence, MAX_OUTPUT_BYTES, paddingInfluence } from './batch.ts';
import { checkExpected, type Tolerance } from './expected.ts';
import type { Check } from './types.ts';

/** Operators that answer differently each time, as they should. */
const RANDOM = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Multinomial',
  'Bernoulli',
]);
/** Below this, company changes the answer. Dynamic quantization gives 0.9987 where all is well. */
const UNCHANGED = 0.9999;
const BROKEN = 0.99;

/** What each output is like, and a check of it: finite, as declared, not constant, and the same for the same input. */
export async function checkInference(
  session: Session,
  samples: Samples,
  model: Model,
  scratch: string,
  tolerance: Tolerance,
): Promise<{ check: Check; outputs: OutputSummary[] }> {
  const check: Check = { name: 'inference', status: 'pass', figures: [], failures: [], findings: [...samples.notes] };
  const operators = new Set([...walkNodes(model.proto)].map(({ opType }) => opType));
  const one = await samples.get(0);
  const { summaries } = await session.run(one, { outputs: 'summary' });
  const { summaries: again } = await session.run(one, { outputs: 'summary' });
  checkValues(summaries, session, check);
  checkRepeats(summaries, again, operators, check);
  for (const { name } of session.load.outputs.filter(({ dtype }) => dtype === 'other')) {
    check.findings.push(`Output ${name} is no tensor, so nobody looked at it.`);
  }
  if (samples.length > 1) {
    const other = await samples.get(1);
    const { summaries: others } = await session.run(other, { outputs: 'summary' });
    checkValues(others, session, check);
    checkVaries(summaries, others, check);
    const bytes = summaries.reduce((sum, { length }) => sum + length, 0);
    if (bytes > MAX_OUTPUT_BYTES) {
      check.findings.push('Whether a batch or padding changes outputs of this size is for compare to say; skipped.');
    } else if (check.failures.length === 0) {
      // Where a value is missing already, what company does to it is no question.
      await checkCompany(session, one, other, operators, scratch, check);
    }
  } else {
    check.findings.push('Whether outputs vary, and whether a batch changes them, takes two samples; skipped.');
  }
  await checkExpected(session, samples, tolerance, scratch, check);
  check.failures = [...new Set(check.failures)];
  check.findings = [...new Set(check.findings)];
  if (check.failures.length > 0) check.status = 'fail';
  return { check, outputs: summaries };
}

function checkValues(summaries: readonly OutputSummary[], session: Session, check: Check): void {
  for (const { name, dtype, dims, elements, notANumber, infinite } of summaries) {
    const declared = session.load.outputs.find((output) => output.name === name);
    if (notANumber > 0) {
      check.failures.push(
        `Output ${name} has ${notANumber} NaN in ${elements} values: look for a layer that overflows (compare ranks them), and keep it as it was.`,
      );
    }
    if (infinite > 0) {
      check.failures.push(
        `Output ${name} has ${infinite} infinite values in ${elements}: look for a layer that overflows (compare ranks them), and keep it as it was.`,
      );
    }
    if (!declared) continue;
    if (declared.dtype !== dtype)
      check.failures.push(`Output ${name} is ${dtype}, but the model declares ${declared.dtype}: export it again.`);
    // Models that declare no shape at all read like scalars.
    const fits =
      declared.dims.length === 0 ||
      (declared.dims.length === dims.length &&
        declared.dims.every((size, axis) => typeof size === 'string' || size === dims[axis]));
    if (!fits) {
      // ONNX Runtime only warns as well: a declared shape is a hint, and many exporters write a wrong one.
      check.findings.push(`Output ${name} has the shape [${dims}], but the model declares [${declared.dims}].`);
    }
  }
}

function checkRepeats(
  first: readonly OutputSummary[],
  again: readonly OutputSummary[],
  operators: ReadonlySet<string>,
  check: Check,
): void {
  const changed = first.filter(({ digest }, index) => digest !== again[index]?.digest).map(({ name }) => name);
  if (changed.length === 0) return;
  const random = [...operators].filter((name) => RANDOM.has(name));
  if (random.length > 0) {
    check.findings.push(
      `${changed.join(', ')} differ from run to run, as ${random.join(', ')} in the model mean them to.`,
    );
  } else {
    check.failures.push(
      `${changed.join(', ')} differ between two runs on the same input: the provider or an operator is not deterministic, so no figure can be trusted; try execution-provider cpu.`,
    );
  }
}

function checkVaries(first: readonly OutputSummary[], other: readonly OutputSummary[], check: Check): void {
  const same = first.filter(({ digest }, index) => digest === other[index]?.digest);
  for (const { name, dtype, elements, min, max } of same) {
    if (isFloating(dtype) && elements > 1 && min === max) {
      check.failures.push(
        `Output ${name} is ${min} everywhere, whatever goes in: the model is dead or damaged; quantize it again and compare.`,
      );
    }
  }
  if (same.length === first.length) {
    check.failures.push(
      'Two different inputs get the same answer in every output: the model ignores its input, or the ranges of the samples are wrong (see ranges).',
    );
  } else if (same.length > 0) {
    check.findings.push(`${same.map(({ name }) => name).join(', ')} did not change with the input.`);
  }
}

async function checkCompany(
  session: Session,
  one: Feeds,
  other: Feeds,
  operators: ReadonlySet<string>,
  scratch: string,
  check: Check,
): Promise<void> {
  const dynamic = operators.has('DynamicQuantizeLinear') || operators.has('DynamicQuantizeLSTM');
  const batchSymbol = session.load.inputs.find(({ dims }) => dims.length > 0)?.dims[0];
  // A first dimension of another name may be a length or a number of boxes, where company rightly matters.
  const isBatch = typeof batchSymbol === 'string' && /batch|^[nb]$/i.test(batchSymbol);
  judge('A batch', await tried(() => batchInfluence(session, one, other, scratch)), dynamic, isBatch, check);
  judge('Padding', await tried(() => paddingInfluence(session, one, scratch)), dynamic, true, check);
}

/** A model may take no batch although its signature says so; that is a finding too. */
async function tried(work: () => Promise<Influence>): Promise<Influence> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && 'kind' in error && error.kind === 'run')
      return { skipped: `the model refuses it (${error.message})` };
    throw error;
  }
}

function judge(
  what: string,
  { similarity, output, skipped }: Influence,
  dynamic: boolean,
  strict: boolean,
  check: Check,
): void {
  if (similarity === undefined) {
    check.findings.push(`${what} was not tried: ${skipped}.`);
    return;
  }
  check.figures.push({ name: `${what}: similarity to the answer alone`, value: similarity, unit: '' });
  if (similarity >= UNCHANGED) return;
  const changes = `${what} changes ${output} (cosine ${similarity.toFixed(4)})`;
  if (dynamic)
    check.findings.push(`${changes}, which DynamicQuantizeLinear does: it takes one scale for all of a batch.`);
  else if (strict && similarity < BROKEN)
    check.failures.push(
      `${changes}, and nothing in the model explains it: feed it as the model was exported for, or export it again.`,
    );
  else check.findings.push(`${changes}.`);
}
