import { DataType, intAttribute, makeNode } from '../../../model/index.ts';
import { Float16 } from '../../encodings/float16.ts';
import { Integer8 } from '../../encodings/integer8.ts';
import type { IntegerWeights } from '../../options.ts';
import type { StoredForm } from '../method.ts';
import { constantWeights, incompleteness, operatorWeights, weightsRefusal } from '../site.ts';

const NOTE = 'Stored weights are FP32 again once the model is loaded: its file shrinks, its RAM does not.';

/** 8 bits: Cast, Sub and Mul, which ONNX Runtime folds when it loads the model. */
export function storedInteger8({ type, symmetric, perChannel }: IntegerWeights): StoredForm {
  const centred = type === 'int8' && symmetric.int8;
  return {
    kind: 'stored',
    name: 'stored',
    // Arithmetic broadcasts by itself since then.
    needs: { opset: 7, operator: 'the Mul of today' },
    note: NOTE,
    weights: operatorWeights,
    offer(site, weights) {
      if (site.operator?.weights(site.node).length === 0) return { refusal: 'no operator with weights' };
      const refusal = incompleteness(site) ?? weightsRefusal(weights);
      return refusal === undefined ? { becomes: 'stored INT8, FP32 once loaded' } : { refusal };
    },
    encode: ({ ref }, axis) =>
      new Integer8(ref, {
        target: type,
        symmetric: symmetric[type],
        reduceRange: false,
        axis: perChannel ? axis : null,
        layout: 'broadcast',
        holds: centred ? ['scale'] : ['scale', 'floatZeroPoint'],
      }),
    restore({ constant: { name }, q, scale, zeroPoint }, { graph }) {
      const cast = graph.unique(`${name}_cast`);
      graph.emit(castToFloat(q, cast, graph.unique(`${name}_Cast`)));
      let elements = cast;
      if (!centred) {
        elements = graph.unique(`${name}_centred`);
        graph.emit(makeNode('Sub', [cast, zeroPoint], [elements], { name: graph.unique(`${name}_Sub`) }));
      }
      graph.emit(makeNode('Mul', [elements, scale], [name], { name: graph.unique(`${name}_Mul`) }));
    },
  };
}

/** Half precision: Cast, which ONNX Runtime folds when it loads the model. */
export const storedFloat16: StoredForm = {
  kind: 'stored',
  name: 'float16',
  // Cast takes numbers of types since then.
  needs: { opset: 6, operator: 'the Cast of today' },
  note: NOTE,
  anyOperator: true,
  weights: constantWeights,
  offer(site, weights) {
    const refusal = weights.length === 0 ? 'reads no constant' : (incompleteness(site) ?? weightsRefusal(weights));
    return refusal === undefined ? { becomes: 'stored FP16, FP32 once loaded' } : { refusal };
  },
  encode: ({ ref }) => new Float16(ref),
  restore({ constant: { name }, q }, { graph }) {
    graph.emit(castToFloat(q, name, graph.unique(`${name}_Cast`)));
  },
};

function castToFloat(input: string, output: string, name: string) {
  return makeNode('Cast', [input], [output], { name, attributes: [intAttribute('to', DataType.FLOAT)] });
}
