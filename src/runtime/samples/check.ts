import { InputError } from '../../errors.ts';
import { ELEMENT_BYTES, elementCount } from '../dtype.ts';
import type { Feeds, Tensor, ValueInfo } from '../types.ts';
import { signatureOf } from './options.ts';

/** What is known of a tensor before its numbers are read. */
export type Declared = Pick<Tensor, 'dtype' | 'dims'>;

/**
 * Names, types, shapes and lengths of a sample against the model's inputs.
 * @throws InputError with the first thing that does not fit
 */
export function checkFeeds(feeds: Feeds, inputs: readonly ValueInfo[], sample: string): void {
  checkDeclared(feeds, inputs, sample);
  for (const { name } of inputs) {
    const { dtype, dims, data } = feeds[name]!;
    const needed = elementCount(dims) * ELEMENT_BYTES[dtype];
    if (data.byteLength === needed) continue;
    throw new InputError(
      `samples: ${sample} has ${data.byteLength} bytes of ${name}, its shape [${dims.join(',')}] needs ${needed}.`,
    );
  }
}

/** `checkFeeds` for tensors whose numbers have not been read. */
export function checkDeclared(
  feeds: Readonly<Record<string, Declared>>,
  inputs: readonly ValueInfo[],
  sample: string,
): void {
  const known = inputs.map(({ name }) => name);
  const stray = Object.keys(feeds).find((name) => !known.includes(name));
  if (stray !== undefined) {
    throw new InputError(
      `samples: ${sample} feeds ${stray}, but the model's inputs are ${inputs.map(signatureOf).join(', ')}.`,
    );
  }
  const symbols = new Map<string, number>();
  for (const input of inputs) {
    const tensor = feeds[input.name];
    if (!tensor) throw new InputError(`samples: ${sample} lacks the input ${signatureOf(input)}.`);
    if (tensor.dtype !== input.dtype) {
      throw new InputError(
        `samples: ${sample} has ${input.name} as ${tensor.dtype}, the model wants ${input.dtype}; convert it.`,
      );
    }
    const fits =
      tensor.dims.length === input.dims.length &&
      input.dims.every((size, axis) => {
        const actual = tensor.dims[axis]!;
        if (typeof size === 'number') return size === actual;
        if (size === '') return true;
        const agreed = symbols.get(size) ?? actual;
        symbols.set(size, agreed);
        return agreed === actual;
      });
    if (!fits) {
      throw new InputError(
        `samples: ${sample} has ${input.name} of shape [${tensor.dims.join(',')}], the model wants ${signatureOf(input)}.`,
      );
    }
    const elements = elementCount(tensor.dims);
    if (elements === 0)
      throw new InputError(`samples: ${sample} has ${input.name} of shape [${tensor.dims.join(',')}], which is empty.`);
  }
}
