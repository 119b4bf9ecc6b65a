import {
  DataType,
  declaredInputs,
  type GraphScope,
  indexGraphs,
  intOf,
  type Model,
  type NodeProto,
  usesOf,
} from '../model/index.ts';
import { constantAt, numbersOf } from './constants.ts';

/** Bounds of values, both included. */
interface Bounds {
  low: number;
  high: number;
}

/** Operators behind which an index is still the same index. */
const KEEPS_INDEX = new Set(
  'Cast Identity Reshape Unsqueeze Squeeze Flatten Transpose Slice Expand Concat Split'.split(' '),
);
/** Embeddings of com.microsoft: input of the ids → input of their table. */
const EMBEDDINGS = new Map([
  [0, 2],
  [1, 4],
]);

/**
 * Bounds of inputs that are row numbers of a table, such as token ids: for every input that a Gather takes its indices
 * from, be it through casts and reshapes, an offset (positions + 2) or a Clip. Other inputs are absent.
 */
export function indexRanges(model: Model): Record<string, Bounds> {
  const { main } = indexGraphs(model);
  const ranges: Record<string, Bounds> = {};
  const known = new Map<string, Bounds[]>();
  for (const { name, dtype } of declaredInputs(model)) {
    if (dtype !== DataType.INT64 && dtype !== DataType.INT32) continue;
    const bounds = boundsOf(main, name, known);
    const low = Math.max(0, ...bounds.map((each) => each.low));
    const high = Math.min(...bounds.map((each) => each.high));
    if (bounds.length > 0 && low <= high) ranges[name] = { low, high };
  }
  return ranges;
}

/** What the tables that `name` is an index into let it be, each on its own. `known` keeps what was found. */
function boundsOf(scope: GraphScope, name: string, known: Map<string, Bounds[]>): Bounds[] {
  const found = known.get(name);
  if (found) return found;
  // A graph that goes in circles ends here.
  known.set(name, []);
  const bounds = usesOf(scope, name).flatMap(({ scope: at, node, index }): Bounds[] => {
    if (!node) return [];
    const rows = rowsIndexed(at, node, index);
    const own = rows === undefined ? [] : [{ low: 0, high: rows - 1 }];
    const change = changeBy(at, node, index);
    const [output] = node.output;
    if (!change || !output) return own;
    // Ids that only count from the end are what exporters make of negative ones, and nobody feeds those.
    return [
      ...own,
      ...boundsOf(at, output, known)
        .map(change)
        .filter(({ high }) => high >= 0),
    ];
  });
  known.set(name, bounds);
  return bounds;
}

/** Bounds of what a node reads by those of what it makes; undefined where an index is none behind it. */
function changeBy(scope: GraphScope, node: NodeProto, index: number): ((bounds: Bounds) => Bounds) | undefined {
  const { opType } = node;
  if (opType === 'Concat' || opType === 'Where' || (KEEPS_INDEX.has(opType) && index === 0)) {
    return opType === 'Where' && index === 0 ? undefined : (bounds) => bounds;
  }
  const number = (input: number) => {
    const numbers = numbersOf(constantAt(scope, node.input[input]));
    return numbers?.length === 1 ? numbers[0] : undefined;
  };
  if (opType === 'Clip' && index === 0) {
    const [least, most] = [number(1) ?? Number.NEGATIVE_INFINITY, number(2) ?? Number.POSITIVE_INFINITY];
    return ({ low, high }) => ({ low: Math.max(low, least), high: Math.min(high, most) });
  }
  const offset = opType === 'Add' || opType === 'Sub' ? number(1 - index) : undefined;
  if (offset === undefined || (opType === 'Sub' && index === 1)) return undefined;
  const by = opType === 'Add' ? -offset : offset;
  return ({ low, high }) => ({ low: low + by, high: high + by });
}

function rowsIndexed(scope: GraphScope, node: NodeProto, index: number): number | undefined {
  if (node.opType === 'Gather' && index === 1) {
    return constantAt(scope, node.input[0])?.dims.at(intOf(node, 'axis', 0));
  }
  const table = node.opType === 'EmbedLayerNormalization' ? EMBEDDINGS.get(index) : undefined;
  return table === undefined ? undefined : constantAt(scope, node.input[table])?.dims[0];
}
