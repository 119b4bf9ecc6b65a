import { constantBehind, intOf, intsAttribute, MS_DOMAIN, makeNode } from '../../../model/index.ts';
import type { Place } from '../../values/place.ts';
import type { DynamicWeights, OperatorForm } from './form.ts';
import { weight } from './operands.ts';

export const lstm: OperatorForm = {
  key: 'LSTM',
  becomes: 'DynamicQuantizeLSTM',
  refusal(node, scope) {
    const constant = [1, 2].every((input) => constantBehind(scope, node.input[input]!));
    return constant ? undefined : 'its weights are not constants';
  },
  rewrite(node, place, settings) {
    const [x, w, r, bias = '', lengths = '', h = '', c = '', peepholes = ''] = node.input;
    const batchFirst = intOf(node, 'layout', 0) === 1;
    const weights = [gates(w!, place, settings), gates(r!, place, settings)] as const;
    // DynamicQuantizeLSTM has no `layout`: time comes first, so batch-first values are turned around it.
    const turnedIn = (name: string) => (batchFirst && name ? timeFirst(name, place) : name);
    const inputs = [turnedIn(x!), weights[0].q, weights[1].q, bias, lengths, turnedIn(h), turnedIn(c), peepholes];
    for (const { scale, zeroPoint } of weights) inputs.push(scale, zeroPoint);
    const outputs = node.output.map((name) => (batchFirst && name ? place.graph.unique(`${name}_time_first`) : name));
    place.keep(
      makeNode('DynamicQuantizeLSTM', inputs, outputs, {
        name: node.name && `${node.name}_quant`,
        domain: MS_DOMAIN,
        attributes: node.attribute.filter(({ name }) => name !== 'layout'),
      }),
    );
    if (!batchFirst) return;
    node.output.forEach((name, i) => {
      if (!name) return;
      const perm = i === 0 ? [2, 0, 1, 3] : [1, 0, 2];
      place.graph.emit(
        makeNode('Transpose', [outputs[i]!], [name], {
          name: place.graph.unique(`${name}_batch_first`),
          attributes: [intsAttribute('perm', perm)],
        }),
      );
    });
  },
};

/** Always int8 around zero, whatever the options say: the kernel takes nothing else. Stored [directions, columns, rows]. */
function gates(name: string, place: Place, settings: DynamicWeights) {
  const axis = settings.perChannel ? [0, 1] : 0;
  return weight(name, place, settings, { target: 'int8', symmetric: true, axis, permutation: [0, 2, 1] });
}

function timeFirst(name: string, place: Place): string {
  const output = place.graph.unique(`${name}_time_first`);
  place.keep(
    makeNode('Transpose', [name], [output], {
      name: place.graph.unique(`${output}_Transpose`),
      attributes: [intsAttribute('perm', [1, 0, 2])],
    }),
  );
  return output;
}
