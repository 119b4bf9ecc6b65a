import { readFile } from 'node:fs/promises';
import { InputError } from '../../errors.ts';
import { elementCount, encode, isNumeric } from '../dtype.ts';
import type { Feeds, Tensor, ValueInfo } from '../types.ts';

/**
 * `{"x": [[1, 2]]}` or a list of such samples. A flat list with `"dims"` works too: `{"x": {"dims": [1, 2], "data": [1, 2]}}`.
 * Numbers take the type that the model declares.
 * @throws InputError for broken JSON, ragged lists and things that are no numbers
 */
export async function readJsonSamples(file: string, inputs: readonly ValueInfo[]): Promise<Feeds[]> {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new InputError(`samples: ${file} is no JSON (${(error as Error).message}).`, { cause: error });
  }
  const samples = Array.isArray(content) ? content : [content];
  if (samples.length === 0) throw new InputError(`samples: ${file} is an empty list.`);
  return samples.map((sample: unknown, index) => {
    const where = Array.isArray(content) ? `${file}[${index}]` : file;
    if (typeof sample !== 'object' || sample === null || Array.isArray(sample)) {
      throw new InputError(`samples: ${where} is no object of input names and lists of numbers.`);
    }
    return Object.fromEntries(
      Object.entries(sample).map(([name, value]) => {
        const input = inputs.find((candidate) => candidate.name === name);
        return [name, tensorOf(value, input, `${where} ${name}`)];
      }),
    );
  });
}

function tensorOf(value: unknown, input: ValueInfo | undefined, where: string): Tensor {
  const dtype = input && isNumeric(input.dtype) ? input.dtype : 'float32';
  const explicit = isObject(value) && 'data' in value ? value : undefined;
  const numbers: (number | bigint)[] = [];
  const nested = explicit ? explicit.data : value;
  const dims = flatten(nested, numbers, where);
  const wanted = explicit?.dims;
  if (wanted === undefined) return { dtype, dims, data: encode(dtype, numbers) };
  if (
    !Array.isArray(wanted) ||
    !wanted.every((size) => Number.isInteger(size)) ||
    elementCount(wanted) !== numbers.length
  ) {
    throw new InputError(
      `samples: ${where} has ${numbers.length} numbers, which do not make dims ${JSON.stringify(wanted)}.`,
    );
  }
  return { dtype, dims: wanted as number[], data: encode(dtype, numbers) };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Appends the numbers of nested lists in order and returns their shape. */
function flatten(value: unknown, numbers: (number | bigint)[], where: string): number[] {
  if (typeof value === 'number') {
    numbers.push(value);
    return [];
  }
  if (typeof value === 'boolean') {
    numbers.push(value ? 1 : 0);
    return [];
  }
  if (!Array.isArray(value))
    throw new InputError(`samples: ${where} holds ${JSON.stringify(value)}, which is no number.`);
  const shapes = value.map((item) => flatten(item, numbers, where));
  const first = shapes[0] ?? [];
  if (shapes.some((shape) => shape.join() !== first.join())) {
    throw new InputError(`samples: ${where} has lists of different lengths side by side.`);
  }
  return [value.length, ...first];
}
