import {
  attributeOf,
  constantBehind,
  constantOf,
  DataType,
  floatTensor,
  intAttribute,
  makeNode,
  makeTensor,
  type NodeProto,
  operatorKey,
} from '../../../model/index.ts';
import { fixedInteger8, fixedInteger32, isFixedInteger8 } from '../../encodings/fixed.ts';
import { Integer8 } from '../../encodings/integer8.ts';
import { dequantizeLinear } from '../../values/dequantize.ts';
import type { Place } from '../../values/place.ts';
import { isFloat, type QuantizedValue } from '../../values/value.ts';
import type { Form, NodeForm, Site, StoredForm, Weight } from '../method.ts';
import { type Grid, gateOf, levelOf, levelTensor } from './grids.ts';
import { clipBounds } from './recipe/operators.ts';
import type { Recipe, StaticNode } from './recipe/recipe.ts';
import type { Product } from './weights.ts';

/** What the static form of a model's nodes is made by. */
export interface StaticForms {
  recipe: Recipe;
  /** The constants of a product. */
  productOf(node: NodeProto): Product;
  /** The bias of a convolution beside the recipe that makes up for the mean error of its stored weight, if any. */
  correctedBias(node: NodeProto): Float32Array | undefined;
  /** Nodes whose weights stay FLOAT. */
  keptFloat: ReadonlySet<NodeProto>;
}

const BECOMES: Record<StaticNode['operator']['kind'], string> = {
  weighted: 'computes with INT8',
  values: 'computes with INT8',
  moves: 'moves INT8',
  gate: 'becomes a clip of INT8',
  fused: 'becomes a clip of INT8',
};

/**
 * Activations on grids that calibration found, int8 weights by channel, int32 biases: QuantizeLinear and DequantizeLinear
 * around what computes, which ONNX Runtime makes integer kernels of; what only moves elements works on the levels.
 */
export function staticForm({ recipe, productOf }: Pick<StaticForms, 'recipe' | 'productOf'>): NodeForm {
  const emitters = new Map<Place, Emitter>();
  const isChosen = ({ node, scope }: Site) => scope.kind === 'main' && recipe.nodes.has(node);
  return {
    kind: 'node',
    name: 'static',
    needs: { opset: 13, operator: 'DequantizeLinear by channel' },
    anyOperator: true,
    weights: (site) => (isChosen(site) ? constantsOf(site, recipe.nodes.get(site.node)!) : []),
    offer(site) {
      if (isChosen(site)) return { becomes: BECOMES[recipe.nodes.get(site.node)!.operator.kind] };
      const reason = site.scope.kind === 'main' ? recipe.reasons.get(site.node) : 'it stands in a subgraph';
      return { refusal: reason ?? `ONNX Runtime computes no ${site.node.opType} in 8 bits on a CPU` };
    },
    rewrite(node, place) {
      const emitter = emitters.get(place) ?? new Emitter(place, recipe, productOf);
      emitters.set(place, emitter);
      emitter.emit(node);
      return true;
    },
  };
}

/** A convolution with its weight stored in 8 bits, and with a bias that makes up for the mean error of that. */
export function correctedForm(stored: StoredForm, { correctedBias, keptFloat }: StaticForms): NodeForm {
  return {
    kind: 'node',
    name: stored.name,
    needs: stored.needs,
    ...(stored.note ? { note: stored.note } : {}),
    weights: (site) => stored.weights(site).slice(0, 1),
    offer(site, weights) {
      const bias = keptFloat.has(site.node) || site.scope.kind !== 'main' ? undefined : correctedBias(site.node);
      if (!bias) return { refusal: 'there is nothing to correct' };
      const offer = stored.offer(site, weights);
      return 'becomes' in offer ? { becomes: `${offer.becomes}, its bias corrected` } : offer;
    },
    rewrite(node, place) {
      const { graph } = place;
      const weight = place.constant(node.input[1]!)!;
      const encoded = place.encode(weight, stored.encode(weight, 0), () => false);
      const copy = graph.copy(node);
      const [cast, float, bias] = ['cast', 'float', 'bias'].map((part) =>
        graph.unique(`${part === 'bias' ? node.output[0] : weight.name}_${part}`),
      ) as [string, string, string];
      const attributes = [intAttribute('to', DataType.FLOAT)];
      graph.emit(
        makeNode('Cast', [encoded.q], [cast], { name: graph.unique(`${weight.name}_Cast`), attributes }),
        makeNode('Mul', [cast, encoded.scale], [float], { name: graph.unique(`${weight.name}_Mul`) }),
      );
      graph.addInitializer(floatTensor(bias, [...correctedBias(node)!]));
      copy.input = [node.input[0]!, float, bias];
      place.float(copy.input[0]!);
      graph.emit(copy);
      return true;
    },
  };
}

/** A form that leaves some nodes as they are. */
export function sparing<F extends Form>(form: F, kept: ReadonlySet<NodeProto>): F {
  return {
    ...form,
    offer: (site: Site, weights: readonly Weight[]) =>
      kept.has(site.node)
        ? { refusal: 'its weight is small, and 8 bits would cost quality' }
        : form.offer(site, weights),
  };
}

/** The constants that a node takes in 8 bits. */
function constantsOf({ node, scope }: Site, { operator }: StaticNode): Weight[] {
  const weighted = operator.kind === 'weighted';
  const inputs = weighted ? [1, 2] : operator.activations(node);
  return inputs.flatMap((input) => {
    const constant = node.input[input] ? constantBehind(scope, node.input[input]) : undefined;
    return constant ? [{ constant, axis: weighted && input === 1 ? 0 : null, direct: true, fits: true }] : [];
  });
}

/** Emits the static forms of one graph. */
class Emitter {
  readonly #place: Place;
  readonly #recipe: Recipe;
  readonly #productOf: StaticForms['productOf'];
  /** Values of the graph on their grids. */
  readonly #levels = new Map<string, QuantizedValue>();
  /** FLOAT values that went through their grids. */
  readonly #dequantized = new Map<string, string>();
  /** Names of the parameters of each grid. */
  readonly #grids = new Map<string, Pick<QuantizedValue, 'scale' | 'zeroPoint'>>();

  constructor(place: Place, recipe: Recipe, productOf: StaticForms['productOf']) {
    this.#place = place;
    this.#recipe = recipe;
    this.#productOf = productOf;
  }

  emit(node: NodeProto): void {
    const { operator, clip } = this.#recipe.nodes.get(node)!;
    if (operator.kind === 'weighted' || operator.kind === 'values') this.#compute(node);
    else if (operator.kind === 'moves') this.#move(node);
    else if (operator.kind === 'gate') this.#gate(node);
    else if (clip === 'grid') this.#pass(node);
    else this.#clip(node);
  }

  /** DequantizeLinear → node → QuantizeLinear. */
  #compute(original: NodeProto): void {
    const { graph } = this.#place;
    const { operator } = this.#recipe.nodes.get(original)!;
    const node = graph.copy(original);
    const [output] = original.output as [string];
    for (const index of operator.activations(original)) {
      if (node.input[index]) node.input[index] = this.#float(node.input[index]);
    }
    if (operator.kind === 'weighted') this.#weigh(original, node);
    node.output = [graph.unique(`${output}_float`)];
    graph.emit(node);
    this.#define(output, this.#quantize(node.output[0]!, output));
  }

  /** Puts the weight and bias of a product into a node in integers. */
  #weigh(original: NodeProto, node: NodeProto): void {
    const { scope } = this.#place;
    const { axis, scales, bias } = this.#productOf(original);
    const weight = constantOf(scope, original.input[1]!);
    if (!weight || !isFloat(weight)) throw new Error(`${original.input[1]} is no FLOAT constant`);
    const encoded = this.#place.encode(
      weight,
      fixedInteger8(weight.ref, axis, scales),
      (have) => isFixedInteger8(have) && have.axis === axis && equal(have.scales, scales),
    );
    node.input[1] = this.#dequantize({ ...encoded, axis }, weight.name);
    if (!bias) return;
    const given = original.input[2] ? constantOf(scope, original.input[2]) : undefined;
    const levels =
      given && isFloat(given)
        ? this.#place.encode(given, fixedInteger32(given.ref, bias.values, bias.scales), () => false)
        : this.#newBias(original.output[0]!, bias);
    node.input = [node.input[0]!, node.input[1]!, this.#dequantize({ ...levels, axis: 0 }, given?.name ?? levels.q)];
  }

  /** A bias where there was none. */
  #newBias(output: string, { values, scales }: NonNullable<Product['bias']>): QuantizedValue {
    const { graph } = this.#place;
    const [q, scale, zeroPoint] = ['quantized', 'scale', 'zero_point'].map((part) =>
      graph.unique(`${output}_bias_${part}`),
    ) as [string, string, string];
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    graph.addInitializer(makeTensor(q, DataType.INT32, [values.length], bytes));
    graph.addInitializer(floatTensor(scale, [...scales]));
    graph.addInitializer(makeTensor(zeroPoint, DataType.INT32, [values.length], new Uint8Array(4 * values.length)));
    return { q, scale, zeroPoint, axis: 0 };
  }

  /** The node on the levels themselves. */
  #move(original: NodeProto): void {
    const { graph } = this.#place;
    const levels = this.#levelsOf(original.input[0]!);
    const node = graph.copy(original);
    // Shapes and sizes among its inputs are read as they are.
    for (const name of original.input.slice(1)) this.#place.float(name);
    node.input[0] = levels.q;
    // What a Pad puts around is 0, whose level is the zero point.
    if (operatorKey(node) === 'Pad') node.input[2] = levels.zeroPoint;
    node.output = original.output.map((name) => name && graph.unique(`${name}_quantized`));
    graph.emit(node);
    for (const [index, name] of original.output.entries()) {
      if (name) this.#define(name, { ...levels, q: node.output[index]! });
    }
  }

  /** A clip whose bounds are those of the grid it is computed on. */
  #pass(node: NodeProto): void {
    this.#define(node.output[0]!, this.#levelsOf(node.input[0]!));
  }

  #clip(node: NodeProto): void {
    const [input, output] = [node.input[0]!, node.output[0]!];
    const grid = this.#recipe.grids.get(input)!;
    const { low, high } = clipBounds(node, this.#place.scope)!;
    const levels = this.#levelsOf(input);
    this.#define(output, { ...levels, q: this.#clipLevels(node, levels.q, levelOf(low, grid), levelOf(high, grid)) });
  }

  #gate(node: NodeProto): void {
    const [input, output] = [node.input[0]!, node.output[0]!];
    const alpha = attributeOf(node, 'alpha')?.f ?? 0.2;
    const { grid, low, high } = gateOf(this.#recipe.grids.get(input)!, alpha);
    const q = this.#clipLevels(node, this.#levelsOf(input).q, low, high);
    this.#define(output, { q, ...this.#parameters(output, grid), axis: null });
  }

  #clipLevels(node: NodeProto, q: string, low: number, high: number): string {
    const { graph } = this.#place;
    const [output] = node.output as [string];
    const { type } = this.#recipe.grids.get(node.input[0]!)!;
    const bounds = [low, high].map((level, index) => {
      const name = graph.unique(`${output}_${index === 0 ? 'low' : 'high'}`);
      graph.addInitializer(levelTensor(name, level, type));
      return name;
    });
    const clipped = graph.unique(`${output}_quantized`);
    graph.emit(makeNode('Clip', [q, ...bounds], [clipped], { name: node.name }));
    return clipped;
  }

  /** A value on its grid, brought there where it is FLOAT. */
  #levelsOf(name: string): QuantizedValue {
    const known = this.#levels.get(name);
    if (known) return known;
    this.#place.float(name);
    const levels = this.#quantize(name, name);
    this.#levels.set(name, levels);
    return levels;
  }

  /** The FLOAT value that a value on its grid stands for. */
  #float(name: string): string {
    const constant = constantBehind(this.#place.scope, name);
    if (constant && isFloat(constant)) return this.#constant(name);
    if (this.#recipe.nodes.has(this.#place.scope.producers.get(name)!)) {
      this.#place.float(name);
      return name;
    }
    const known = this.#dequantized.get(name);
    if (known) return known;
    const float = this.#dequantize(this.#levelsOf(name), name);
    this.#dequantized.set(name, float);
    return float;
  }

  /** A constant that takes part as an activation does. */
  #constant(name: string): string {
    const known = this.#dequantized.get(name);
    if (known) return known;
    const constant = this.#place.constant(name)!;
    const { type } = [...this.#recipe.grids.values()][0]!;
    const encoding = new Integer8(constant.ref, { target: type, symmetric: false, reduceRange: false, axis: null });
    const float = this.#dequantize(
      this.#place.encode(
        constant,
        encoding,
        (have) => have.kind === encoding.kind && have.parameters[0]?.dims.length === 0,
      ),
      name,
    );
    this.#dequantized.set(name, float);
    return float;
  }

  #quantize(float: string, name: string): QuantizedValue {
    const { graph } = this.#place;
    const parameters = this.#parameters(name, this.#recipe.grids.get(name)!);
    const q = graph.unique(`${name}_quantized`);
    const { scale, zeroPoint } = parameters;
    graph.emit(
      makeNode('QuantizeLinear', [float, scale, zeroPoint], [q], { name: graph.unique(`${name}_QuantizeLinear`) }),
    );
    return { q, scale, zeroPoint, axis: null };
  }

  #dequantize(levels: QuantizedValue, name: string): string {
    const { graph } = this.#place;
    const float = graph.unique(`${name}_dequantized`);
    if (levels.axis === null) graph.emit(dequantizeLinear(levels, float, graph));
    else {
      graph.emit(
        makeNode('DequantizeLinear', [levels.q, levels.scale, levels.zeroPoint], [float], {
          name: graph.unique(`${name}_DequantizeLinear`),
          attributes: [intAttribute('axis', levels.axis)],
        }),
      );
    }
    return float;
  }

  #define(name: string, levels: QuantizedValue): void {
    this.#levels.set(name, levels);
    this.#place.define(name, levels);
  }

  #parameters(name: string, { type, scale, zeroPoint }: Grid): Pick<QuantizedValue, 'scale' | 'zeroPoint'> {
    const { graph } = this.#place;
    const key = `${type} ${scale} ${zeroPoint}`;
    let names = this.#grids.get(key);
    if (!names) {
      names = { scale: graph.unique(`${name}_scale`), zeroPoint: graph.unique(`${name}_zero_point`) };
      graph.addInitializer(floatTensor(names.scale, [scale], []));
      graph.addInitializer(levelTensor(names.zeroPoint, zeroPoint, type));
      this.#grids.set(key, names);
    }
    return names;
  }
}

function equal(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}
