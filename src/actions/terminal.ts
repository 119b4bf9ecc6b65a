import { tmpdir } from 'node:os';
import { guardedLog, jsonLine, logLine, logLines, type Place } from '../receipt/index.ts';
import { type Host, type OutputValue, outputText } from './host.ts';
import { progressLine, throttle } from './progress.ts';

const BAR_INTERVAL_MS = 100;
const LINE_INTERVAL_MS = 5000;
const BAR_WIDTH = 24;

/** A stream that may be a terminal, such as `process.stderr`. */
export interface TerminalStream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

export interface TerminalOptions {
  command: string;
  flags: ReadonlyMap<string, string>;
  /** One JSON value on stdout in place of the table. */
  json: boolean;
  /** Only results, warnings and failures. */
  quiet: boolean;
  /** Where people read: log, progress, failures. */
  stderr: TerminalStream;
  /** Where results go: the table of outputs. */
  stdout: TerminalStream;
  env: NodeJS.ProcessEnv;
  now: () => number;
}

export interface TerminalHost extends Host {
  /** What a command that is no action has to say: a text for people, a value for programs. */
  present(text: string, value: unknown): void;
  /** Prints the results, after everything else. */
  finish(exitCode: number): void;
}

/** A terminal: inputs from flags, a progress bar and colours where people look, outputs as a table at the end. */
export function terminalHost({ command, flags, json, quiet, stderr, stdout, env, now }: TerminalOptions): TerminalHost {
  const debug = env.RUNNER_DEBUG === '1';
  const live = stderr.isTTY === true && env.TERM !== 'dumb' && !env.CI;
  const paint = (code: number, text: string) => (live && !env.NO_COLOR ? `\u001b[${code}m${text}\u001b[0m` : text);
  const due = throttle(live ? BAR_INTERVAL_MS : LINE_INTERVAL_MS, now);
  const outputs: [string, OutputValue][] = [];
  const failures: string[] = [];
  let report = '';
  let presented: { text: string; value: unknown } | undefined;
  let barShown = false;

  const clearBar = () => {
    if (barShown) stderr.write('\r\u001b[K');
    barShown = false;
  };
  const say = (text: string) => {
    clearBar();
    stderr.write(`${text}\n`);
  };

  return {
    debug,
    temporaryFolder: tmpdir(),
    log: guardedLog({
      info: (message) => {
        if (!quiet) say(message);
      },
      warning: (message, place) => say(`${paint(33, 'warning:')} ${at(place)}${message}`),
      error: (message, place) => {
        failures.push(`${at(place)}${message}`);
        say(`${paint(31, 'error:')} ${at(place)}${message}`);
      },
      debug: (message) => {
        if (debug) say(paint(2, message));
      },
      progress: (progress) => {
        if (quiet || !due(progress)) return;
        if (!live) {
          say(progressLine(progress));
          return;
        }
        const share = progress.total > 0 ? Math.min(1, progress.done / progress.total) : 1;
        const filled = Math.round(share * BAR_WIDTH);
        const line = `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)} ${progressLine(progress)}`;
        stderr.write(`\r\u001b[K${line.slice(0, (stderr.columns ?? 80) - 1)}`);
        barShown = true;
        if (progress.done >= progress.total) clearBar();
      },
    }),
    step: (title) => {
      if (!quiet) say(paint(1, `── ${logLine(title)}`));
    },
    endSteps: clearBar,
    input: (name) => flags.get(name),
    spell: (input, value) => `--${input} ${quoted(value)}`,
    output: (name, value) => outputs.push([name, value]),
    secret: () => undefined,
    summary: async (_, text) => {
      report = text ?? '';
    },
    fail: (message) => {
      failures.push(message);
      say(`${paint(31, 'error:')} ${logLine(message)}`);
    },
    present: (text, value) => {
      presented = { text, value };
    },
    finish(exitCode) {
      clearBar();
      if (json) {
        const value = presented ? presented.value : Object.fromEntries(outputs);
        const said = presented ? { result: value } : { outputs: value };
        stdout.write(`${jsonLine({ command, exitCode, ...said, failures })}\n`);
      } else if (presented) {
        stdout.write(logLines(presented.text));
      } else {
        stdout.write(`${logLines(report)}${tableOf(outputs, quiet)}`);
      }
    },
  };
}

/** Outputs by name. What is for a job's summary is no figure, and the states have been told line by line. */
function tableOf(outputs: readonly [string, OutputValue][], quiet: boolean): string {
  const untold = quiet ? ['summary'] : ['summary', 'states'];
  const shown = outputs.map(([name, value]) => [name, outputText(value)] as const);
  const filled = shown.filter(([name, value]) => value !== '' && !untold.includes(name));
  const width = Math.max(0, ...filled.map(([name]) => name.length));
  const between = `\n${' '.repeat(width + 2)}`;
  return filled
    .map(([name, value]) => `${name.padEnd(width)}  ${logLines(value).replaceAll('\n', between)}\n`)
    .join('');
}

/** A value as a shell takes it. */
function quoted(value: string): string {
  return /^[\w.,=:/@%+-]*$/.test(value) ? value : `"${value}"`;
}

function at(place: Place | undefined): string {
  if (!place) return '';
  return `${[place.file, place.line, place.column].filter((part) => part !== undefined).join(':')}: `;
}
