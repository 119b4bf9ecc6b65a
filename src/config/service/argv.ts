import { InputError } from '../../errors.ts';

/**
 * Splits a command line into its arguments, as a shell would without being one: blanks separate, single and double
 * quotes join, a backslash inside double quotes escapes `"` and `\`. Nothing is expanded; what only a shell
 * understands (pipes, `&&`, `$X`) is an ordinary character, and a command that relies on it is refused.
 */
export function splitCommand(command: string, input: string): string[] {
  const argv: string[] = [];
  let current: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let index = 0; index < command.length; index++) {
    const char = command[index]!;
    if (quote !== undefined) {
      if (char === quote) quote = undefined;
      else if (quote === '"' && char === '\\' && /["\\]/.test(command[index + 1] ?? '')) current += command[++index]!;
      else current += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      current ??= '';
    } else if (/\s/.test(char)) {
      if (current !== undefined) argv.push(current);
      current = undefined;
    } else {
      if (/[|&;<>`$]/.test(char)) {
        throw new InputError(
          `'${input}' has '${char}' outside quotes, and commands run without a shell: put it in a script and name that, or quote it if it is meant as it stands.`,
        );
      }
      current = (current ?? '') + char;
    }
  }
  if (quote !== undefined) throw new InputError(`'${input}' has a ${quote} that is never closed; close it.`);
  if (current !== undefined) argv.push(current);
  if (argv.length === 0) throw new InputError(`'${input}' is empty; name a program.`);
  return argv;
}
