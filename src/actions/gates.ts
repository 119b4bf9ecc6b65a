import { COMPARE_LIMITS, optionsOf, readModelGates, VALIDATE_LIMITS } from '../model-gates.ts';
import { definitions } from './definitions.generated.ts';
import { camelCase, type Definition } from './inputs.ts';

/**
 * An action's inputs with the limits that the file `gates` has for this model: those that fail where none is given as an
 * input, and those that only warn. A default cannot be told from the same value given: the file goes before it.
 */
export async function withGates<Given extends { gates?: string; model: string }>(
  action: 'validate' | 'compare',
  { gates, ...inputs }: Given,
) {
  if (!gates) return { ...inputs, warn: undefined };
  const names = action === 'validate' ? VALIDATE_LIMITS : COMPARE_LIMITS;
  const { limits } = (await readModelGates(gates))(inputs.model);
  const defined: Record<string, Definition> = definitions[action].inputs;
  const free = names.filter((name) => {
    const value = (inputs as Record<string, unknown>)[camelCase(name)];
    return value === undefined || String(value) === defined[name]?.default;
  });
  return { ...inputs, ...optionsOf(limits, free, 'error'), warn: optionsOf(limits, names, 'warn') };
}
