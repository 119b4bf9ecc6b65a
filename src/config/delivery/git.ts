import { loadRunnerServices } from '../../entry.ts';
import { messageOf } from '../../errors.ts';

/** A git command that failed, with what it said. */
export class GitError extends Error {
  override readonly name = 'GitError';
  readonly stderr: string;
  constructor(args: readonly string[], stderr: string, cause?: unknown) {
    const why = stderr.trim() || (cause === undefined ? 'it said nothing' : messageOf(cause));
    super(`git ${args[0]} failed: ${why}`, { cause });
    this.stderr = stderr;
  }
}

/**
 * Runs git in a folder, without input; resolves with its stdout, byte for byte. It asks nobody anything, and gives up where a server
 * says nothing for a minute.
 * @throws GitError where git is not there or ends with anything but 0
 */
export async function runGit(folder: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Buffer> {
  const { exec } = await loadRunnerServices();
  const stdout: Buffer[] = [];
  let stderr = '';
  const quiet = {
    GIT_TERMINAL_PROMPT: '0',
    GIT_HTTP_LOW_SPEED_LIMIT: '1000',
    GIT_HTTP_LOW_SPEED_TIME: '60',
    LC_ALL: 'C',
  };
  let code: number;
  try {
    code = await exec('git', ['-C', folder, ...args], {
      env: { ...definedOf(env), ...quiet },
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
