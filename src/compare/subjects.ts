import { InputError } from '../errors.ts';
import { type SettleContext, settleInputs } from '../inputs/index.ts';
import {
  DataType,
  type DeclaredValue,
  dataTypeName,
  declaredInputs,
  declaredOutputs,
  digestFiles,
  type FileDigest,
  type Model,
  readModel,
} from '../model/index.ts';
import { loadSamples, type Samples, valueInfoOf } from '../runtime/index.ts';
import type { CompareOptions } from './options.ts';

/** A model under comparison: its graph in memory, its weights on disk. */
export interface Subject {
  model: Model;
  /** Graph file, then external data files. */
  files: { path: string; digest: FileDigest }[];
  root: string;
  /** Bytes of all files. */
  size: number;
}

/** The two models of a comparison. */
export interface Subjects {
  reference: Subject;
  model: Subject;
}

/** @throws InputError for a file that is no model */
export async function readSubject(path: string): Promise<Subject> {
  const model = await readModel(path);
  const paths = [model.path, ...model.externalFiles];
  const { root, files } = await digestFiles(paths);
  return {
    model,
    files: files.map((digest, index) => ({ path: paths[index]!, digest })),
    root,
    size: files.reduce((sum, { size }) => sum + size, 0),
  };
}

/** @throws InputError where the two models take other inputs or give other outputs */
export function assertSameSignature(reference: Model, model: Model): void {
  assertSameValues('input', declaredInputs(reference), declaredInputs(model));
  assertSameValues('output', declaredOutputs(reference), declaredOutputs(model));
}

/** The samples that both models are fed; what nobody gave is settled on the reference, whose tables bound its ids. */
export async function samplesFor(
  reference: Model,
  { samples, dims, ranges, ...options }: CompareOptions,
  context: SettleContext,
): Promise<Samples> {
  const { count, seed } = options;
  if (count === 0) throw new InputError('count is 0: compare on one sample at least.');
  const given = {
    ...(dims && dims.length > 0 ? { dims: dims.join('\n') } : {}),
    ...(ranges && ranges.length > 0 ? { ranges: ranges.join('\n') } : {}),
    ...(count === undefined ? {} : { count }),
    ...(seed === undefined ? {} : { seed }),
  };
  const settled = samples ? undefined : await settleInputs(reference, { ...options, ...given }, context);
  return loadSamples(samples, declaredInputs(reference).map(valueInfoOf), {
    ...given,
    ...(settled ? { settled } : {}),
  });
}

/** Symbolic sizes that the samples settle, by name. */
export async function symbolicSizes(reference: Model, samples: Samples): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  const feeds = await samples.get(0);
  for (const { name, dims } of declaredInputs(reference)) {
    for (const [axis, size] of dims.entries()) {
      const actual = feeds[name]?.dims[axis];
      if (typeof size === 'string' && size !== '' && actual !== undefined) sizes.set(size, actual);
    }
  }
  return sizes;
}

function assertSameValues(kind: 'input' | 'output', expected: DeclaredValue[], actual: DeclaredValue[]): void {
  const list = (values: DeclaredValue[]) => values.map(({ name }) => name).join(', ') || 'none';
  const names = (values: DeclaredValue[]) => JSON.stringify(values.map(({ name }) => name).sort());
  if (names(expected) !== names(actual)) {
    throw new InputError(
      `The ${kind}s of the reference are ${list(expected)}, those of the model ${list(actual)}: compare a model with the one it was made from.`,
    );
  }
  for (const { name, dtype } of expected) {
    const other = actual.find((value) => value.name === name)!;
    if (kind === 'output' || dtype === other.dtype) continue;
    // A session rounds them for the model.
    if (dtype === DataType.FLOAT && other.dtype === DataType.FLOAT16) continue;
    throw new InputError(
      `The input ${name} is ${dataTypeName(dtype)} in the reference and ${dataTypeName(other.dtype)} in the model: both must take the same samples.`,
    );
  }
}
