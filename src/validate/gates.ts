import { describe } from './tune.ts';
import type { CheckName, Figure, ValidateLimits, ValidateResults } from './types.ts';

interface Gate {
  check: CheckName;
  input: string;
  name: string;
  unit: 'ms' | 'MB';
  limit(options: ValidateLimits): number | undefined;
  /** Which percentile of the timed runs it looks at, if any: those have intervals. */
  percentile?: LatencyPercentile;
  value(results: ValidateResults): number | undefined;
  advice(results: ValidateResults): string;
}

const speedAdvice = (results: ValidateResults): string =>
  join([
    'warm the model up before it is used',
    threadsAdvice(results),
    providerAdvice(results),
    ...(canQuantize(results) ? ['quantize more of it'] : []),
  ]);

function threadsAdvice({ tuning, threads }: ValidateResults): string {
  if (!tuning) return `look for better session options (tune: true; threads are ${threads} now)`;
  return tuning.gain > 1
    ? `take the session options that tuning found (${describe(tuning.best.options)})`
    : 'take a faster machine, as tuning found no better session options';
}

function providerAdvice({ provider }: ValidateResults): string {
  const others = provider?.present.filter((name) => name !== provider.got) ?? [];
  return others.length > 0 ? `try another execution-provider (${others.join(', ')})` : 'feed it less at a time';
}

const memoryAdvice = (results: ValidateResults): string =>
  `a session keeps prepacked copies of weights (session.disable_prepacking) and what its arena ever held (${results.arena ? 'arena: off gives large outputs back' : 'the arena is off already'})${canQuantize(results) ? ', or quantize more of the model' : ''}`;

/** Less than this share of the weights in floats is what biases, norms and the like take. */
const REST = 0.05;

/** Whether enough of the weights are floats that quantizing them would help. */
function canQuantize({ weights }: ValidateResults): boolean {
  return weights !== undefined && weights.floatBytes > REST * (weights.floatBytes + weights.quantizedBytes);
}

const join = (parts: readonly string[]): string => `${parts.slice(0, -1).join(', ')}, or ${parts.at(-1)}`;

/** The limits of the contract: which figure each looks at and what helps where it is passed. */
const GATES: readonly Gate[] = [
  {
    check: 'load',
    input: 'max-load-ms',
    name: 'Load time',
    unit: 'ms',
    limit: (options) => options.maxLoadMs,
    value: (results) => results.loadMs,
    advice: ({ loads }) =>
      `${loads ? `so it was ${loads.length} times, beside other work: measure when the machine is quieter, ` : ''}put the model on a faster disk, or save it optimized so that loading need not optimize it`,
  },
  {
    check: 'latency',
    input: 'max-latency-p50-ms',
    name: 'P50 latency',
    unit: 'ms',
    percentile: 'p50',
    limit: (options) => options.maxLatencyP50Ms,
    value: (results) => results.timings?.p50,
    advice: speedAdvice,
  },
  {
    check: 'latency',
    input: 'max-latency-p95-ms',
    name: 'P95 latency',
    unit: 'ms',
    percentile: 'p95',
    limit: (options) => options.maxLatencyP95Ms,
    value: (results) => results.timings?.p95,
    advice: speedAdvice,
  },
  {
    check: 'resources',
    input: 'max-memory-mb',
    name: 'Resident memory',
    unit: 'MB',
    limit: (options) => options.maxMemoryMb,
    value: (results) => results.memoryMb,
    advice: memoryAdvice,
  },
  {
    check: 'resources',
    input: 'max-peak-memory-mb',
    name: 'Peak memory',
    unit: 'MB',
    limit: (options) => options.maxPeakMemoryMb,
    value: (results) => results.peakMemoryMb,
    advice: (results) => `feed smaller batches or shorter inputs; ${memoryAdvice(results)}`,
  },
  {
    check: 'resources',
    input: 'max-size-mb',
    name: 'Size on disk',
    unit: 'MB',
    limit: (options) => options.maxSizeMb,
    value: (results) => results.sizeMb,
    advice: (results) =>
      canQuantize(results)
        ? 'quantize more of the model: the plan (quantize with dry-run) says what stays as it is, and why'
        : 'all of its weights are quantized: take fewer bits (bits: 4) or a smaller model',
  },
];

export type LatencyPercentile = 'p50' | 'p95';

/** The limits of latencies that were given, and the percentile that each is for. */
export function latencyLimits(
  options: ValidateLimits,
): { name: string; input: string; limit: number; percentile: LatencyPercentile }[] {
  return GATES.flatMap(({ name, input, percentile, limit }) => {
    const given = limit(options);
    return percentile && given !== undefined ? [{ name, input, limit: given, percentile }] : [];
  });
}

/** Adds each gate's figure to its check, and a sentence where it fails. A figure that was never taken fails nothing. */
export function applyGates(
  results: ValidateResults,
  options: ValidateLimits & { warn?: ValidateLimits | undefined },
): void {
  for (const gate of GATES) {
    const check = results.checks.find(({ name }) => name === gate.check);
    const value = gate.value(results);
    if (!check || value === undefined) continue;
    const limit = gate.limit(options);
    const figure: Figure = { name: gate.name, value, unit: gate.unit };
    check.figures.push(figure);
    const warned = options.warn && gate.limit(options.warn);
    if (warned !== undefined && value > warned && !(limit !== undefined && value > limit)) {
      results.warnings.push(sentenceOf(gate, value, `the warning limit of ${show(warned)}`, results));
    }
    if (limit === undefined) continue;
    const open = check.open?.some(({ input }) => input === gate.input) ?? false;
    Object.assign(figure, { limit, verdict: open ? 'inconclusive' : value <= limit ? 'pass' : 'fail' });
    if (figure.verdict !== 'fail') continue;
    check.status = 'fail';
    check.failures.push(sentenceOf(gate, value, `the limit of ${show(limit)}`, results));
  }
}

const sentenceOf = ({ name, unit, input, advice }: Gate, value: number, limit: string, results: ValidateResults) =>
  `${name} is ${show(value)} ${unit}, over ${limit} ${unit} (${input}): ${advice(results)}.`;

/** Three digits, so that a figure just over its limit does not read like the limit. */
const show = (value: number): string => String(Number(value.toFixed(value >= 1000 ? 1 : 3)));
