import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { childEnvironment } from './child-environment.ts';
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

export interface ProgramOptions {
  cwd: string;
  /** Time for it and all that it starts, ms. */
  limitMs: number;
  /** Ends it early. */
  signal?: AbortSignal | undefined;
  /** The job's, without what only actions may know, unless given. */
  env?: NodeJS.ProcessEnv;
  /**
   * File that gets what it prints, in place of a pipe to us: what it leaves running goes on printing when we are gone.
   */
  outputFile?: string;
}

export interface ProgramRun {
  ok: boolean;
  ms: number;
  /** The first MiB of standard output; empty with `outputFile`. */
  stdout: string;
  /** Exit and the end of what it printed. */
  detail: string;
}

const SHOWN_BYTES = 16_384;
/** What is killed is given this long to end, ms; it may be another user's (sudo), whom we cannot kill. */
const DYING_MS = 300;

/** Runs a program without a shell. */
export async function runProgram(argv: readonly string[], options: ProgramOptions): Promise<ProgramRun> {
  const started = performance.now();
  const [program = '', ...rest] = argv;
  const output = options.outputFile === undefined ? undefined : openOutput(options.outputFile);
  const env = { ...(options.env ?? childEnvironment()) };
  // A runner kills at the end of a job whatever carries its mark; a service is meant to stay.
  if (options.outputFile !== undefined) delete env.RUNNER_TRACKING_ID;
  const printsTo = options.outputFile === undefined ? 'pipe' : (output ?? 'ignore');
  const child: ChildProcess = spawn(program, rest, {
    cwd: options.cwd,
    env,
    stdio: ['ignore', printsTo, printsTo],
    detached: process.platform !== 'win32', // A group of its own, to be ended as a whole.
    windowsHide: true,
  });
  if (output !== undefined) closeSync(output);
  const printed = collect(child);
  const how = await ending(child, program, options);
  await Promise.race([printed.drained, sleep(200)]); // What is in the pipes of a program that has ended is there soon.
  // A program started in the background may keep the pipes; they must not keep us.
  child.stdout?.destroy();
  child.stderr?.destroy();
  const said = (options.outputFile === undefined ? printed.end() : tailOf(options.outputFile)).trim();
  return {
    ok: how === 'exit 0',
    ms: performance.now() - started,
    stdout: printed.stdout(),
    detail: said === '' ? how : `${how}\n${said}`,
  };
}

/** Resolves with how the program ended: `exit 0`, or what was done to it. */
function ending(child: ChildProcess, program: string, { limitMs, signal: stop }: ProgramOptions): Promise<string> {
  return new Promise((resolve) => {
    let stopped: string | undefined;
    const end = (how: string) => {
      clearTimeout(timer);
      stop?.removeEventListener('abort', onStop);
      resolve(stopped ?? how);
    };
    const kill = (why: string) => {
      stopped ??= why;
      signalGroup(child, 'SIGTERM');
      const harder = setTimeout(() => {
        signalGroup(child, 'SIGKILL');
        end(why);
        child.unref();
      }, DYING_MS);
      child.once('exit', () => clearTimeout(harder));
    };
    const timer = setTimeout(() => kill(`stopped after ${limitMs} ms`), limitMs);
    const onStop = () => kill('stopped');
    stop?.addEventListener('abort', onStop);
    if (stop?.aborted) onStop();
    child.once('error', (error) => end(`'${program}' cannot be run (${error.message})`));
    child.once('exit', (code, signal) => {
      if (stopped !== undefined) signalGroup(child, 'SIGKILL');
      end(signal ? `ended by ${signal}` : `exit ${code}`);
    });
  });
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    if (process.platform === 'win32') child.kill(signal);
    else process.kill(-child.pid, signal);
  } catch {
    child.kill(signal); // The group is gone already, or is another user's.
  }
}

function collect(child: ChildProcess): { stdout(): string; end(): string; drained: Promise<unknown> } {
  let stdout = '';
  let end = '';
  const take = (text: string) => {
    end = (end + text).slice(-SHOWN_BYTES);
  };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length < 2 ** 20) stdout = (stdout + text).slice(0, 2 ** 20);
    take(text);
  });
  child.stderr?.setEncoding('utf8').on('data', take);
  const drained = Promise.all([child.stdout, child.stderr].map(ended));
  return { stdout: () => stdout, end: () => end, drained };
}

function ended(stream: NodeJS.ReadableStream | null): Promise<void> {
  return new Promise((resolve) => {
    if (stream === null) resolve();
    else
      stream
        .on('end', resolve)
        .on('close', resolve)
        .on('error', () => resolve());
  });
}

/** A new file: what an earlier service still prints goes on in the old one, which nobody sees any more. */
function openOutput(file: string): number | undefined {
  try {
    rmSync(file, { force: true });
    return openSync(file, 'ax', 0o600);
  } catch {
    return undefined; // A full disk must not keep a service from being restarted; its words are lost.
  }
}

function tailOf(file: string): string {
  let descriptor: number | undefined;
  try {
    const { size } = statSync(file);
    descriptor = openSync(file, 'r');
    const bytes = Buffer.alloc(Math.min(size, SHOWN_BYTES));
    return bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, size - bytes.length)).toString('utf8');
  } catch {
    return ''; // Nothing was written.
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
