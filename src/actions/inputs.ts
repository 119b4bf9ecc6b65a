import { InputError } from '../errors.ts';
import { definitions } from './definitions.generated.ts';

/** The five actions and the root action, `pipeline`. */
export type ActionName = keyof typeof definitions;

/** One input or output as its action.yml describes it. */
export interface Definition {
  type: 'path' | 'text' | 'lines' | 'list' | 'boolean' | 'integer' | 'number' | 'number or auto' | 'choice';
  description: string;
  /** The unit of a number (`ms`), its range (`0 to 1`) or the form of a list's entries (`name=size`). */
  unit?: string;
  values?: readonly (string | number)[];
  required?: true;
  default?: string;
  /** An empty value switches this input off instead of returning to its default. */
  emptyIsNone?: true;
}

type InputsOf<A extends ActionName> = (typeof definitions)[A]['inputs'];
type Entry<A extends ActionName, K extends keyof InputsOf<A>> = InputsOf<A>[K];
type Value<D> = D extends { type: 'choice'; values: readonly (infer V)[] }
  ? V
  : D extends { type: 'lines' | 'list' }
    ? string[]
    : D extends { type: 'boolean' }
      ? boolean
      : D extends { type: 'integer' | 'number' }
        ? number
        : D extends { type: 'number or auto' }
          ? number | 'auto'
          : string;
type AlwaysThere<D> = D extends { required: true }
  ? true
  : D extends { type: 'lines' | 'list' }
    ? true
    : D extends { default: string }
      ? D extends { emptyIsNone: true }
        ? false
        : true
      : false;
type Camel<S extends string> = S extends `${infer Head}-${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;

/** An action's inputs, typed by its action.yml and named in camelCase. An input without a value is absent. */
export type Inputs<A extends ActionName> = {
  [K in keyof InputsOf<A> & string as AlwaysThere<Entry<A, K>> extends true ? Camel<K> : never]: Value<Entry<A, K>>;
} & {
  [K in keyof InputsOf<A> & string as AlwaysThere<Entry<A, K>> extends true ? never : Camel<K>]?: Value<Entry<A, K>>;
};

/** The names of an action's outputs. */
export type OutputName<A extends ActionName> = keyof (typeof definitions)[A]['outputs'] & string;

/**
 * Reads all inputs of an action. `read` gives the raw text of an input by its action.yml name, or undefined where
 * nothing was given; the default then applies.
 * @throws InputError for a missing required input and for a value that its type does not allow.
 */
export function getInputs<A extends ActionName>(action: A, read: (name: string) => string | undefined): Inputs<A> {
  const inputs: Record<string, unknown> = {};
  for (const [name, definition] of Object.entries<Definition>(definitions[action].inputs)) {
    const value = inputValue(name, definition, read(name)?.trim());
    if (value !== undefined) inputs[camelCase(name)] = value;
  }
  return inputs as Inputs<A>;
}

/** `max-load-ms` → `maxLoadMs`. */
export function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** Text of one input → its value; undefined where there is none. */
function inputValue(name: string, definition: Definition, given: string | undefined): unknown {
  const text = given === undefined || (given === '' && !definition.emptyIsNone) ? definition.default : given;
  if (definition.type === 'lines') return split(text, /\r?\n/);
  if (definition.type === 'list') return split(text, /[,\r\n]+/);
  if (text === undefined || text === '') {
    if (definition.required) throw new InputError(`Input "${name}" is missing: ${definition.description}`);
    return undefined;
  }
  switch (definition.type) {
    case 'boolean':
      return booleanOf(name, text);
    case 'choice':
      return choiceOf(name, definition.values ?? [], text);
    case 'number or auto':
      return text === 'auto' ? text : numberOf(name, definition, text);
    case 'integer':
    case 'number':
      return numberOf(name, definition, text);
    default:
      return text;
  }
}

function split(text: string | undefined, separator: RegExp): string[] {
  const parts = (text ?? '').split(separator).map((part) => part.trim());
  return parts.filter((part) => part !== '');
}

function booleanOf(name: string, text: string): boolean {
  if (/^(true|yes|on|1)$/i.test(text)) return true;
  if (/^(false|no|off|0)$/i.test(text)) return false;
  throw new InputError(`Input "${name}" is "${text}"; use true or false.`);
}

function choiceOf(name: string, values: readonly (string | number)[], text: string): string | number {
  const found = values.find((value) => String(value) === text.toLowerCase());
  if (found === undefined) throw new InputError(`Input "${name}" is "${text}"; use one of: ${values.join(', ')}.`);
  return found;
}

function numberOf(name: string, { type, unit }: Definition, text: string): number {
  const number = Number(text);
  const [low, high] = /^(\S+) to (\S+)$/
    .exec(unit ?? '')
    ?.slice(1)
    .map(Number) ?? [0, Number.POSITIVE_INFINITY];
  const inRange = number >= low! && number <= high! && Number.isFinite(number);
  if (inRange && (type !== 'integer' || Number.isSafeInteger(number))) return number;
  const kind = type === 'integer' ? 'a whole number' : 'a number';
  const wanted = Number.isFinite(high) ? `${kind} from ${low} to ${high}` : `${kind}, 0 or more`;
  const plainUnit = unit && !unit.includes(' to ') ? ` (${unit})` : '';
  throw new InputError(`Input "${name}" is "${text}"; use ${wanted}${plainUnit}, without a unit behind it.`);
}
