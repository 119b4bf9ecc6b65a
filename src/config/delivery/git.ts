import { loadRunnerServices } from '../../entry.ts';
import { InputError, messageOf } from '../../errors.ts';
import { runProgram } from '../../program.ts';

/** A git command that failed, with what it said. */
export class GitError extends InputError {
  readonly stderr: string;
  constructor(args: readonly string[], stderr: string, cause?: unknown) {
    const why = stderr.trim() || (cause === undefined ? 'it said nothing' : messageOf(cause));
    super(`git ${args[0]} failed: ${why}`, { cause });
    this.stderr = stderr;
  }
}

/** A git command that was ended because its result is not waited for any more. */
export class GitStopped extends InputError {}

export interface GitOptions {
  env: NodeJS.ProcessEnv;
  /** Ends what talks to a server at once, with all that it has started. */
  signal?: AbortSignal | undefined;
}

/**
 * Runs git in a folder, without input; resolves with its stdout, byte for byte. It asks nobody anything, and gives up where a server
 * says nothing for a minute.
 * @throws GitError where git is not there or ends with anything but 0
 * @throws GitStopped where `signal` has ended it
 */
export function runGit(folder: string, args: readonly string[], options: GitOptions): Promise<Buffer> {
  const env = { ...options.env, ...QUIET };
  return REMOTE.has(args[0] ?? '') ? askServer(folder, args, { ...options, env }) : runLocally(folder, args, env);
}

const QUIET = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_HTTP_LOW_SPEED_LIMIT: '1000',
  GIT_HTTP_LOW_SPEED_TIME: '60',
  LC_ALL: 'C',
};

/**
 * What waits for a server (or for a hook of the checkout) does not surely end by itself, and nobody who wants to roll
 * back waits for it. @actions/exec cannot end what it has started.
 */
const REMOTE = new Set(['fetch', 'ls-remote', 'push']);
const REMOTE_LIMIT_MS = 600_000;

async function askServer(folder: string, args: readonly string[], { env, signal }: GitOptions): Promise<Buffer> {
  const argv = ['git', '-C', folder, ...args];
  const run = await runProgram(argv, { cwd: folder, limitMs: REMOTE_LIMIT_MS, signal, env });
  if (run.ok) return Buffer.from(run.stdout);
  if (signal?.aborted) throw new GitStopped(`git ${args[0]} was ended (${messageOf(signal.reason)})`);
  throw new GitError(args, run.detail.replace(/^exit \d+\n/, ''));
}

async function runLocally(folder: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Buffer> {
  const { exec } = await loadRunnerServices();
  const stdout: Buffer[] = [];
  let stderr = '';
  let code: number;
  try {
    code = await exec('git', ['-C', folder, ...args], {
      env: definedOf(env),
      silent: true,
      ignoreReturnCode: true,
      listeners: {
        stdout: (bytes) => stdout.push(bytes),
        stderr: (bytes) => {
          stderr += bytes.toString('utf8');
        },
      },
    });
  } catch (cause) {
    throw new GitError(args, stderr, cause);
  }
  if (code !== 0) throw new GitError(args, stderr || `exit ${code}`);
  return Buffer.concat(stdout);
}

function definedOf(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
