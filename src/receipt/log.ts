/** Where a finding stands, for an annotation on the line. Lines and columns count from 1. */
export interface Place {
  file: string;
  line?: number;
  column?: number;
}

/** How far a long piece of work has come. `done` and `total` are in `unit`. */
export interface Progress {
  label: string;
  done: number;
  total: number;
  unit: 'bytes' | 'runs' | 'files' | 's';
}

/** How a room speaks while it works; the terminal and the runner each have their own. */
export interface Log {
  info(message: string): void;
  warning(message: string, place?: Place): void;
  error(message: string, place?: Place): void;
  debug(message: string): void;
  progress(progress: Progress): void;
}

/** A log that says nothing, for library callers and tests. */
export const silentLog: Log = {
  info() {},
  warning() {},
  error() {},
  debug() {},
  progress() {},
};

/** A line of a log is cut after so many characters: a name in a model may have millions. */
const LONGEST_LINE = 8192;

/**
 * Text as one line of a log: what a model, a config or a service says begins no line of its own, is no workflow command
 * (`::name::` at the start of a line, `##[name]` anywhere in it) and moves no cursor. Control characters, line and
 * direction marks and lone surrogates come out as escapes. Every line that anybody reads goes through this.
 */
export function logLine(text: string): string {
  const cut = text.length > LONGEST_LINE ? `${text.slice(0, LONGEST_LINE)}…` : text;
  return cut
    .replace(UNPRINTABLE, escaped)
    .replace(/^(\s*)::/, '$1\\::')
    .replaceAll('##[', '##\\[');
}

/** A text of several lines, each as a line of a log. */
export function logLines(text: string): string {
  return text.split('\n').map(logLine).join('\n');
}

/** A value as one line of JSON that can do as little as a line of a log: what `logLine` escapes, JSON's own escapes stand for. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value)
    .replace(UNPRINTABLE, (character) => `\\u${hex(character.charCodeAt(0), 4)}`)
    .replaceAll('##[', '##\\u005b');
}

/** `log`, to which only whole lines come. */
export function guardedLog(log: Log): Log {
  return {
    info: (message) => log.info(logLine(message)),
    warning: (message, place) => log.warning(logLine(message), guarded(place)),
    error: (message, place) => log.error(logLine(message), guarded(place)),
    debug: (message) => log.debug(logLine(message)),
    progress: (progress) => log.progress({ ...progress, label: logLine(progress.label) }),
  };
}

/** Controls (C0, DEL, C1), line and paragraph separators, marks that turn the direction of text, lone surrogates. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

function escaped(character: string): string {
  const known: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };
  const code = character.charCodeAt(0);
  return known[character] ?? (code < 256 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`);
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

function guarded(place: Place | undefined): Place | undefined {
  return place && { ...place, file: logLine(place.file) };
}
