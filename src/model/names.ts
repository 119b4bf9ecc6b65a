import { InputError } from '../errors.ts';
import type { GraphIndex } from './graph-index.ts';
import { quote } from './quote.ts';

/**
 * Makes names that nothing in the indexed graphs has, nor another name from the same maker: the wanted one, or that with
 * `_1`, `_2`, … behind it. Linear in the number of names, however often they repeat.
 */
export function uniqueNames(index: GraphIndex): (wanted: string) => string {
  const taken = new Set(index.names());
  const next = new Map<string, number>();
  return (wanted) => {
    let name = wanted;
    if (taken.has(name)) {
      let n = next.get(wanted) ?? 1;
      do name = `${wanted}_${n++}`;
      while (taken.has(name));
      next.set(wanted, n);
    }
    taken.add(name);
    return name;
  };
}

/**
 * Refuses a graph in which one name stands for two values, an initializer being one of them. ONNX Runtime loads such a
 * model and takes the last, other tools the first; what is made of it would load nowhere.
 *
 * @throws InputError naming the initializer.
 */
export function assertNamesUnique(path: string, { scopes }: GraphIndex): void {
  for (const { graph, producers } of scopes) {
    const names = new Set<string>();
    const initializers = [
      ...graph.initializer.map(({ name }) => name),
      ...graph.sparseInitializer.map(({ values }) => values?.name ?? ''),
    ];
    for (const name of initializers) {
      const again = names.has(name)
        ? 'two initializers'
        : producers.has(name)
          ? 'an initializer and a node output'
          : '';
      if (name !== '' && again) {
        throw new InputError(
          `The model "${path}" has ${again} called ${quote(name)}, and no two tools agree which of them counts: give each value a name of its own, or export the model again.`,
        );
      }
      names.add(name);
    }
  }
}
