import { tmpdir } from 'node:os';
import { guardedLog, logLine, type Place } from '../receipt/index.ts';
import type { Host } from './host.ts';
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
  flags: ReadonlyMap<string, string>;
  /** Where people read: log, progress, failures. */
  stderr: TerminalStream;
  /** Where results go: the table of outputs. */
  stdout: TerminalStream;
  env: NodeJS.ProcessEnv;
  now: () => number;
}

/** A terminal: inputs from flags, a progress bar and colours where people look, outputs as a table at the end. */
export function terminalHost({ flags, stderr, stdout, env, now }: TerminalOptions): Host & { finish(): void } {
  const debug = env.RUNNER_DEBUG === '1';
  const live = stderr.isTTY === true && env.TERM !== 'dumb' && !env.CI;
  const paint = (code: number, text: string) => (live && !env.NO_COLOR ? `\u001b[${code}m${text}\u001b[0m` : text);
  const due = throttle(live ? BAR_INTERVAL_MS : LINE_INTERVAL_MS, now);
  const outputs: [string, string][] = [];
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
      info: say,
      warning: (message, place) => say(`${paint(33, 'warning:')} ${at(place)}${message}`),
      error: (message, place) => say(`${paint(31, 'error:')} ${at(place)}${message}`),
      debug: (message) => {
        if (debug) say(paint(2, message));
      },
      progress: (progress) => {
        if (!due(progress)) return;
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
    step: (title) => say(paint(1, `── ${logLine(title)}`)),
    endSteps: clearBar,
    input: (name) => flags.get(name),
    spell: (input, value) => `--${input} ${quoted(value)}`,
    output: (name, value) => outputs.push([name, value]),
    secret: () => undefined,
    summary: async () => undefined,
    fail: (message) => say(`${paint(31, 'error:')} ${logLine(message)}`),
    finish() {
      clearBar();
      const shown = outputs.filter(([, value]) => value !== '');
      const width = Math.max(0, ...shown.map(([name]) => name.length));
      for (const [name, value] of shown) {
        stdout.write(
          `${name.padEnd(width)}  ${value
            .split('\n')
            .map(logLine)
            .join(`\n${' '.repeat(width + 2)}`)}\n`,
        );
      }
    },
  };
}

/** A value as a shell takes it. */
function quoted(value: string): string {
  return /^[\w.,=:/@%+-]*$/.test(value) ? value : `"${value}"`;
}

function at(place: Place | undefined): string {
  if (!place) return '';
  return `${[place.file, place.line, place.column].filter((part) => part !== undefined).join(':')}: `;
}
