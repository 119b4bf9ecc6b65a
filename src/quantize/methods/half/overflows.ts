import { DataType, indexGraphs, type Model } from '../../../model/index.ts';
import { atWork, type CalibrationData, GENERATED } from '../at-work.ts';
import type { Remarks, Run } from '../method.ts';
import { observe, type ValueObservation } from '../static/observe/observe.ts';
import { valueTypes } from './value-types.ts';

/** What values of the main graph reached that do not fit, by name, as a sentence has it. */
export type Overflows = ReadonlyMap<string, string>;

/** Largest finite number of FP16 (IEEE 754 binary16). */
const LARGEST = 65504;
/** Other inputs may reach twice what the samples do. */
const ROOM = 2;

/**
 * Runs the model on samples for the values that FP16 cannot hold, or only just.
 * @throws InputError for data that does not fit and for a model that does not run
 */
export async function overflows(
  data: CalibrationData,
  model: Model,
  run: Run,
): Promise<{ overflows: Overflows } & Remarks> {
  const index = indexGraphs(model);
  const { main } = index;
  const { graph } = main;
  const typeOf = valueTypes(index);
  const values = [...graph.input.map(({ name }) => name), ...graph.node.flatMap(({ output }) => output)];
  const observed = await atWork(data, model, run, async ({ samples, openSession }) => {
    const { values: seen } = await observe(model, {
      values: values.filter(
        (name) => name !== '' && typeOf(main, name) === DataType.FLOAT && !main.constants.has(name),
      ),
      samples,
      folder: run.scratch,
      openSession,
      progress: (done, total) => run.log.progress({ label: 'Looking for overflows', done, total, unit: 'runs' }),
    });
    return { seen, count: samples.length };
  });
  const found = new Map<string, string>();
  for (const value of observed.seen.values()) {
    const reached = reachOf(value);
    if (reached) found.set(value.name, reached);
  }
  const made = data.calibrationData === GENERATED ? 'generated inputs' : 'samples';
  const named = [...found].slice(0, 3).map(([name, reached]) => `${name} ${reached}`);
  const more = found.size > named.length ? `, and ${found.size - named.length} more` : '';
  return {
    overflows: found,
    notes: [
      `${observed.seen.size} values were looked at on ${observed.count} ${made}, and ${found.size === 0 ? 'FP16 holds all of them' : `what FP16 (up to ${LARGEST}) cannot hold or only just stays FP32: ${named.join(', ')}${more}`}.`,
    ],
    warnings: [],
  };
}

function reachOf({ min, max, nonFinite }: ValueObservation): string | undefined {
  if (nonFinite > 0) return 'was NaN or infinite';
  const magnitude = Math.max(Math.abs(min), Math.abs(max));
  return magnitude * ROOM > LARGEST ? `reached ${magnitude.toPrecision(3)}` : undefined;
}
