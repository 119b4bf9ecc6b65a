/**
 * An action's options as a receipt keeps them: under the names of the inputs, as text, lists a line each. What was not
 * given is left out.
 */
export function inputsOf(options: object): Record<string, string> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return Object.fromEntries(given.map(([name, value]) => [inputName(name), textOf(value)]));
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.join('\n');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The name of the input that an option is given by: `maxLoadMs` is `max-load-ms`. */
export function inputName(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
