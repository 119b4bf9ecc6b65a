import { type Document, LineCounter, type ParsedNode, parseAllDocuments } from 'yaml';
import { InputError } from '../../errors.ts';
import type { Place } from '../../receipt/index.ts';
import { refuseDeepYaml } from '../../yaml.ts';

/** A YAML file as its parser sees it: the text is the file's, byte order mark and line ends included. */
export interface YamlFile {
  /** Name for messages and annotations. */
  name: string;
  text: string;
  documents: Document.Parsed<ParsedNode>[];
  /** Line and column (from 1) of an offset in `text`. */
  at(offset: number): { line: number; column: number };
  place(offset: number): Place;
}

/** A syntax error: what the parser says, and where. */
export interface SyntaxProblem {
  code: string;
  message: string;
  offset: number;
}

/**
 * The largest YAML file that is parsed, bytes: parsing takes a thousand times the memory, and a second for 64 KiB. Whoever
 * proposes a config may not fill the machine that checks it.
 */
const MAX_YAML_BYTES = 2 ** 18;

/**
 * The text of a YAML file. It must be UTF-8; the byte order mark stays in the text, so that writing it back keeps it.
 * @throws InputError for another encoding, and for more than 256 KiB
 */
export function decodeYaml(bytes: Uint8Array, name: string): string {
  if (bytes.length > MAX_YAML_BYTES) {
    throw new InputError(
      `'${name}' has ${bytes.length} bytes, and YAML of at most ${MAX_YAML_BYTES} is read; is it the config?`,
    );
  }
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw new InputError(`'${name}' is UTF-16; save it as UTF-8, which is what services and editors read.`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new InputError(`'${name}' is not UTF-8 text; save it as UTF-8 (an old Latin-1 file, perhaps?).`, { cause });
  }
}

/**
 * Parses without judging: errors stay in the documents, duplicate keys are left to the caller.
 * @throws InputError for what nests without end
 */
export function parseYaml(text: string, name: string): YamlFile {
  const lines = new LineCounter();
  refuseDeepYaml(text, `'${name}'`);
  const documents = parseAllDocuments(text, {
    keepSourceTokens: true,
    lineCounter: lines,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'error',
  });
  const marked = text.startsWith('\ufeff');
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(marked && line === 1 ? col - 1 : col, 1) };
  };
  return {
    name,
    text,
    documents: Array.isArray(documents) ? documents : [],
    at,
    place: (offset) => ({ file: name, ...at(offset) }),
  };
}

/** The syntax errors of a file, in order. */
export function syntaxProblems(file: YamlFile): SyntaxProblem[] {
  return file.documents.flatMap((document) =>
    document.errors.map((error) => ({ code: error.code, message: error.message, offset: error.pos[0] })),
  );
}

/** Parses a file that has to be valid; a syntax error is the user's, named with its line and column. */
export function parseValidYaml(text: string, name: string): YamlFile {
  const file = parseYaml(text, name);
  const problem = syntaxProblems(file)[0];
  if (problem) {
    const { line, column } = file.at(problem.offset);
    throw new InputError(`${name}:${line}:${column} is not valid YAML: ${problem.message}; mend it first.`);
  }
  return file;
}
