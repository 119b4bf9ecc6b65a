import { makeNode } from '../../../model/index.ts';
import type { Encoding } from '../../encodings/encoding.ts';
import { Integer8 } from '../../encodings/integer8.ts';
import type { Place } from '../../values/place.ts';
import type { Encoded, FloatConstant, QuantizedValue } from '../../values/value.ts';
import type { DynamicWeights } from './form.ts';

type Axes = Integer8['axis'];

/** What an operator wants of a weight. The first that asks decides; the others take it if it will do for them. */
export interface WeightRequest {
  /** Default: the settings' type. */
  target?: 'int8' | 'uint8';
  /** Default: what the settings say of the type. */
  symmetric?: boolean;
  /** Default: what the settings say. */
  reduceRange?: boolean;
  axis: Axes;
  permutation?: readonly number[];
  /** Parameters of a stack of matrices, in the stack's own shape. */
  stacked?: boolean;
  /** Whether a weight with these axes, from another node, will do. Default: the same axes, or none. */
  accepts?: (axis: Axes) => boolean;
}

/** The 8-bit form of a constant that is an operator's weight. */
export function weight(name: string, place: Place, settings: DynamicWeights, request: WeightRequest): Encoded {
  const { target = settings.type, axis, permutation, stacked } = request;
  const { symmetric = settings.symmetric[target], reduceRange = settings.reduceRange } = request;
  const constant = floatConstant(name, place);
  const encoding = new Integer8(constant.ref, {
    target,
    symmetric,
    reduceRange,
    axis,
    ...(permutation ? { permutation } : {}),
    ...(stacked ? { layout: 'stack' } : {}),
  });
  const accepts = request.accepts ?? ((have) => have === null || JSON.stringify(have) === JSON.stringify(axis));
  const willDo = (have: Encoding) =>
    have instanceof Integer8 && have.permuted === encoding.permuted && accepts(have.axis);
  return place.encode(constant, encoding, willDo);
}

/**
 * The 8-bit form of a constant that serves as an activation: uint8, one scale. `weight-symmetric` is about the weights'
 * type, so it counts only where that is uint8 too.
 */
export function table(
  name: string,
  place: Place,
  settings: DynamicWeights,
  accepts?: WeightRequest['accepts'],
): Encoded {
  const symmetric = settings.type === 'uint8' && settings.symmetric.uint8;
  const request: WeightRequest = { target: 'uint8', symmetric, reduceRange: false, axis: null };
  return weight(name, place, settings, accepts ? { ...request, accepts } : request);
}

/** The 8-bit form of an activation, quantized where the value is made and once for all that read it. */
export function activation(name: string, place: Place, settings: DynamicWeights): QuantizedValue {
  const constant = place.constant(name);
  if (constant && place.remains(constant)) return table(name, place, settings);
  const home = place.home(name);
  const known = home.quantized(name);
  if (known && known.axis === null) return known;
  home.float(name);
  const { graph } = home;
  const [q, scale, zeroPoint] = ['quantized', 'scale', 'zero_point'].map((part) => graph.unique(`${name}_${part}`));
  graph.emit(
    makeNode('DynamicQuantizeLinear', [name], [q!, scale!, zeroPoint!], {
      name: graph.unique(`${name}_QuantizeLinear`),
    }),
  );
  const value = { q: q!, scale: scale!, zeroPoint: zeroPoint!, axis: null };
  home.note(name, value);
  return value;
}

/** Axes of a constant that a form reads; 0 where there is none. */
export function rankOf(name: string, place: Place): number {
  return place.constant(name)?.dims.length ?? 0;
}

function floatConstant(name: string, place: Place): FloatConstant {
  const constant = place.constant(name);
  if (!constant) throw new Error(`${name} is no FLOAT constant`);
  return constant;
}
