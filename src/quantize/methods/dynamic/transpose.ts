import type { NodeProto } from '../../../model/index.ts';
import type { Place } from '../../values/place.ts';

/** Moves an 8-bit value instead of the FLOAT one; false, with nothing emitted, where its input has no such form. */
export function carryTranspose(node: NodeProto, place: Place): boolean {
  const input = place.quantized(node.input[0]!);
  // Columns would not be where the scales expect them.
  if (!input || input.axis !== null) return false;
  const output = node.output[0]!;
  const moved = place.graph.copy(node);
  moved.input[0] = input.q;
  moved.output[0] = place.graph.unique(`${output}_quantized`);
  place.graph.emit(moved);
  const { scale, zeroPoint } = input;
  place.define(output, { q: moved.output[0], scale, zeroPoint, axis: null });
  return true;
}
