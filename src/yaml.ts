import { Lexer, Parser } from 'yaml';
import { InputError } from './errors.ts';

/** No config nests as deep. */
const MAX_LEVELS = 100;

/**
 * Parsers of YAML call themselves for every level, and one that runs out of stack may take the process with it. So the
 * levels are counted first, token by token.
 * @param what how the sentence names the text
 * @throws InputError for text whose lists and mappings stand in each other more than 100 deep
 */
export function refuseDeepYaml(text: string, what: string): void {
  const parser = new Parser();
  for (const token of new Lexer().lex(text)) {
    for (const _ of parser.next(token));
    // The document and a scalar stand there too.
    if (parser.stack.length > MAX_LEVELS + 2) {
      throw new InputError(`${what} nests lists and mappings more than ${MAX_LEVELS} deep: is it the right file?`);
    }
  }
}
