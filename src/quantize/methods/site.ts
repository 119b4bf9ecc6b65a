import {
  type Constant,
  constantBehind,
  DataType,
  dataTypeName,
  definingScope,
  type GraphScope,
  type NodeProto,
  operatorKey,
} from '../../model/index.ts';
import type { WeightSlot } from '../operators.ts';
import { isFloat } from '../values/value.ts';
import type { Site, Weight } from './method.ts';

/** The weights of a node by the facts about its operator. One behind operators that only move elements has no known channels. */
export function operatorWeights({ node, scope, operator }: Site): Weight[] {
  const weights: Weight[] = [];
  for (const slot of operator?.weights(node) ?? []) {
    const name = node.input[slot.input];
    if (!name) continue;
    const direct = constantBehind(scope, name);
    if (direct) weights.push(directWeight(slot, direct));
    else {
      for (const constant of constantsMoved(scope, name)) {
        if (!isFloat(constant)) continue;
        weights.push({ constant, axis: constant.dims.length > 1 ? 0 : null, direct: false, fits: true });
      }
    }
  }
  return weights;
}

/** Every FLOAT constant that a node reads. */
export function constantWeights(site: Site): Weight[] {
  return constantsRead(site)
    .filter(({ dtype }) => dtype === DataType.FLOAT)
    .map((constant) => ({ constant, axis: null, direct: true, fits: true }));
}

/** The constants that a node reads, through Identity too. */
export function constantsRead({ node, scope }: Pick<Site, 'node' | 'scope'>): Constant[] {
  return node.input.flatMap((name) => constantBehind(scope, name) ?? []);
}

/** Why a node is none that the standard knows, or undefined: the inputs and the output that forms rely on are there. */
export function incompleteness({ node, operator }: Site): string | undefined {
  const whole = node.input[0] !== '' && node.output.length > 0 && node.input.length >= (operator?.inputs ?? 0);
  return !operator || whole ? undefined : 'it lacks an input or output that the standard demands';
}

/** Why these weights are quantized in no form, or undefined. */
export function weightsRefusal(weights: readonly Weight[]): string | undefined {
  const odd = weights.find(({ fits }) => !fits);
  if (odd) return `weight ${odd.constant.name} has axes [${odd.constant.dims}], which do not suit it`;
  if (weights.some(({ constant }) => isFloat(constant))) return undefined;
  const first = weights[0];
  if (!first) return 'its weights are not constants';
  const dtype = dataTypeName(first.constant.dtype);
  return dtype === 'FLOAT' ? 'its weights are empty' : `its weights are ${dtype}, not FLOAT`;
}

function directWeight({ rank: [least, most], axis }: WeightSlot, constant: Constant): Weight {
  const rank = constant.dims.length;
  const axes = axis(rank);
  const inside = (axes === null ? [] : typeof axes === 'number' ? [axes] : axes).every(
    (each) => each >= 0 && each < rank,
  );
  return { constant, axis: axes, direct: true, fits: rank >= least && rank <= most && inside };
}

/** Operators that move elements and change none: what is behind them is still the weight. */
const MOVEMENT = new Set([
  'Concat',
  'Flatten',
  'Identity',
  'Reshape',
  'Slice',
  'Split',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

/** How many of them are followed: a weight is behind one or two, and a hostile graph may have thousands. */
const FARTHEST = 100;

/** The constants whose elements reach `name` through operators that only move them, in the order of their inputs. */
function constantsMoved(scope: GraphScope, name: string): Constant[] {
  const found: Constant[] = [];
  const seen = new Set<NodeProto>();
  const pending = [{ scope, name }];
  for (let at = pending.pop(); at && seen.size < FARTHEST; at = pending.pop()) {
    const home = definingScope(at.scope, at.name);
    const constant = home?.constants.get(at.name);
    if (constant) found.push(constant);
    const node = home?.producers.get(at.name);
    if (constant || !home || !node || seen.has(node) || !MOVEMENT.has(operatorKey(node))) continue;
    seen.add(node);
    const inputs = node.opType === 'Concat' ? node.input : node.input.slice(0, 1);
    pending.push(...inputs.map((input) => ({ scope: home, name: input })).reverse());
  }
  return found;
}
