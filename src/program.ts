import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { InputError } from './errors.ts';

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

/** Bytes kept of what a program prints, for people. */
const OUTPUT_BYTES = 16_384;

/** How a program ended. */
export interface ProgramRun {
  ok: boolean;
  ms: number;
  stdout: string;
  /** Exit and the end of what it printed. */
  detail: string;
}

export interface ProgramOptions {
  /** Milliseconds after which it is stopped with all that it started. */
  limitMs: number;
  cwd: string;
  /** Stops it as the limit does. */
  signal?: AbortSignal | undefined;
}

/** Runs a program without a shell, with a time limit for it and all that it starts. Never throws. */
export function runProgram(argv: readonly string[], options: ProgramOptions): Promise<ProgramRun> {
  const { limitMs, cwd, signal: abort } = options;
  const started = performance.now();
  const [program, ...rest] = argv as readonly [string, ...string[]];
  return new Promise((resolve) => {
    const ownGroup = process.platform !== 'win32';
    const child = spawn(program, rest, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: ownGroup,
      windowsHide: true,
    });
    let stdout = '';
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(0, 2 ** 20);
      output = (output + text).slice(-OUTPUT_BYTES);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_BYTES);
    });
    const finish = (ok: boolean, how: string) => {
      clearTimeout(timer);
      abort?.removeEventListener('abort', stop);
      // A service started in the background may keep the pipes; they must not keep us.
      child.stdout.destroy();
      child.stderr.destroy();
      const said = output.trim() === '' ? '' : `\n${output.trim()}`;
      resolve({ ok, ms: performance.now() - started, stdout, detail: `${how}${said}` });
    };
    let expired = false;
    const stop = () => {
      try {
        if (ownGroup && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        else child.kill('SIGKILL');
      } catch {
        child.kill('SIGKILL'); // The group is gone already.
      }
    };
    const timer = setTimeout(() => {
      expired = true;
      stop();
    }, limitMs);
    if (abort?.aborted) stop();
    abort?.addEventListener('abort', stop, { once: true });
    child.on('error', (error) => finish(false, `'${program}' cannot be run (${error.message})`));
    child.on('exit', (code, signal) => {
      const how = expired ? `stopped after ${limitMs} ms` : signal ? `ended by ${signal}` : `exit ${code}`;
      // What is still in the pipes of a program that has ended is there within a moment.
      const drained = Promise.all([ended(child.stdout), ended(child.stderr)]);
      void Promise.race([drained, sleep(200)]).then(() => finish(code === 0 && !expired, how));
    });
  });
}

function ended(stream: NodeJS.ReadableStream): Promise<void> {
  return new Promise((resolve) => {
    stream.on('end', resolve).on('close', resolve);
  });
}
