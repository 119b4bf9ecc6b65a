import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from '../make-folder.ts';
import { fromFloat16, isNumeric, type Samples, type Session, type Tensor, viewAs } from '../runtime/index.ts';
import type { Check } from './types.ts';

/** How far an answer may be from what is expected: |x − y| ≤ atol + rtol · |x|, x the expected value. */
export interface Tolerance {
  rtol?: number | undefined;
  atol?: number | undefined;
}

/** Where one of the two is given, the other has the value that ONNX's own tests take. */
const DEFAULTS = { rtol: 1e-3, atol: 1e-7 };

/**
 * Holds what the model answers against the outputs that samples bring along (`output_K.pb` of ONNX test data). It is a
 * gate where a tolerance is given, and a finding otherwise: a quantized model is not expected to answer to the digit.
 */
export async function checkExpected(
  session: Session,
  samples: Samples,
  tolerance: Tolerance,
  scratch: string,
  check: Check,
): Promise<void> {
  const gate = tolerance.rtol !== undefined || tolerance.atol !== undefined;
  const { rtol = DEFAULTS.rtol, atol = DEFAULTS.atol } = tolerance;
  let compared = 0;
  let largest = 0;
  const differing: string[] = [];
  for (let index = 0; samples.expected && index < samples.length; index++) {
    const { outputs, notes } = await samples.expected(index);
    check.findings.push(...notes);
    if (outputs.length === 0) continue;
    const spoolDirectory = path.join(scratch, 'expected');
    makeFolder(spoolDirectory);
    const { spooled } = await session.run(await samples.get(index), { outputs: 'spool', spoolDirectory });
    for (const { file, index: position, name, tensor } of outputs) {
      const declared = session.load.outputs.find((output) => output.name === name) ?? session.load.outputs[position];
      const answer = spooled.find((output) => output.name === declared?.name);
      if (!answer) {
        check.findings.push(`${file} is for output ${name || position}, which the model does not have.`);
        continue;
      }
      compared++;
      const { name: output, dtype, dims } = answer;
      const given = `${tensor.dtype}[${tensor.dims}]`;
      if (dtype !== tensor.dtype || dims.join() !== tensor.dims.join()) {
        differing.push(`output ${output} is ${dtype}[${dims}] where ${file} has ${given}`);
        continue;
      }
      const found = difference(tensor, { dtype, dims, data: await readFile(answer.path) }, rtol, atol);
      largest = Math.max(largest, found.largest);
      if (found.beyond === 0) continue;
      differing.push(
        `output ${output} differs from ${file} in ${found.beyond} of ${found.elements} values, by ${Number(found.largest.toPrecision(3))} at most`,
      );
    }
  }
  if (compared === 0) return;
  check.figures.push({ name: 'Largest error against the expected outputs', value: largest, unit: '' });
  if (differing.length === 0) return;
  const [first, ...rest] = differing;
  const more = rest.length > 0 ? `, and ${rest.length} more of ${compared} outputs differ` : '';
  const sentence = `With rtol ${rtol} and atol ${atol} ${first}${more}`;
  if (gate) check.failures.push(`${sentence}: the model computes something else; export it again, or allow more.`);
  else check.findings.push(`${sentence}. Give rtol or atol to make that a limit.`);
}

/** How many values lie beyond the tolerance, and the largest distance of finite ones. NaN equals NaN. */
export function difference(expected: Tensor, actual: Tensor, rtol: number, atol: number) {
  const [x, y] = [numbersOf(expected), numbersOf(actual)];
  let beyond = 0;
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]!, y[i]!];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const distance = Math.abs(a - b);
    if (Number.isFinite(distance)) largest = Math.max(largest, distance);
    if (!(distance <= atol + rtol * Math.abs(a)) || !Number.isFinite(distance)) beyond++;
  }
  return { beyond, largest, elements: x.length };
}

function numbersOf({ dtype, data }: Tensor): Float64Array {
  if (!isNumeric(dtype)) return new Float64Array(0);
  const view = viewAs(dtype, data);
  const numbers = new Float64Array(view.length);
  for (let i = 0; i < view.length; i++)
    numbers[i] = dtype === 'float16' ? fromFloat16(Number(view[i])) : Number(view[i]);
  return numbers;
}
