import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { InputError } from '../../errors.ts';
import type { ConfigContext, LiveOptions } from '../options.ts';
import { GitError, runGit } from './git.ts';

/** The git repository in which the config is kept, as far as a delivery needs it. No work tree is touched. */
export interface Repository {
  /** Top folder of the checkout. */
  folder: string;
  /** Path of the config inside, with `/`. */
  file: string;
  /** Branch that the config lives on: where `commit` pushes to and a pull request leads to. */
  base: string;
  /** Runs git; resolves with stdout. `signal` ends what talks to a server. */
  git(args: readonly string[], extra?: { env?: Record<string, string>; signal?: AbortSignal }): Promise<Buffer>;
}

/** A file of a commit to be made. */
export interface FileChange {
  path: string;
  bytes: Uint8Array;
}

/** Finds the checkout (`GITHUB_WORKSPACE`, else the working directory) and the branch. */
export async function repositoryOf(
  options: LiveOptions & { delivery?: string | undefined; token?: string | undefined; branch?: string | undefined },
  { env = process.env, signal }: Pick<ConfigContext, 'env' | 'signal'>,
): Promise<Repository> {
  const workspace = env.GITHUB_WORKSPACE || process.cwd();
  const bare = (args: readonly string[]) => runGit(workspace, args, { env });
  let folder: string;
  let remote: string;
  try {
    folder = String(await bare(['rev-parse', '--show-toplevel'])).trim();
    remote = String(await bare(['remote', 'get-url', 'origin'])).trim();
  } catch (cause) {
    throw new InputError(
      `'delivery' is '${options.delivery}', but '${workspace}' is no git checkout with a remote 'origin': run actions/checkout first, or use 'delivery: file'.`,
      { cause },
    );
  }
  const auth = authorization(remote, options.token);
  const git: Repository['git'] = (args, { env: extra, signal: stop = signal } = {}) =>
    runGit(folder, args, { env: { ...env, ...auth, ...extra }, signal: stop });
  const projectRoot = path.resolve(options.projectRoot ?? '.');
  const file = path.isAbsolute(options.config) ? path.relative(projectRoot, options.config) : options.config;
  if (file.startsWith('..') || path.isAbsolute(file)) {
    throw new InputError(
      `The config '${options.config}' lies outside 'project-root', so its place in the repository is unknown: give it relative to 'project-root'.`,
    );
  }
  const asked = options.delivery === 'commit' ? options.branch : undefined;
  const base = asked || (await currentBranch(env, git));
  return { folder, file: path.normalize(file).replaceAll(path.sep, '/'), base, git };
}

/** The same repository, with its talk to servers ended by `signal`. */
export function stoppedBy(signal: AbortSignal, { git, ...rest }: Repository): Repository {
  return { ...rest, git: (args, extra) => git(args, { signal, ...extra }) };
}

/** Fetches a branch and says which commit it is at; undefined where the remote has no such branch. */
export async function fetchBranch(repository: Repository, branch: string): Promise<string | undefined> {
  const listed = String(await repository.git(['ls-remote', 'origin', `refs/heads/${branch}`]));
  if (listed.trim() === '') return undefined;
  await repository.git(['fetch', '--quiet', '--no-tags', 'origin', `refs/heads/${branch}`]);
  return String(await repository.git(['rev-parse', 'FETCH_HEAD'])).trim();
}

/** The base branch's commit. */
export async function fetchBase(repository: Repository): Promise<string> {
  const tip = await fetchBranch(repository, repository.base);
  if (tip === undefined) {
    throw new InputError(`The remote has no branch '${repository.base}'; name one that exists with 'branch'.`);
  }
  return tip;
}

/** The config as it is on the base branch. */
export async function readRepositoryFile(repository: Repository, commit?: string): Promise<Buffer> {
  const at = commit ?? (await fetchBase(repository));
  try {
    return await repository.git(['cat-file', 'blob', `${at}:${repository.file}`]);
  } catch (cause) {
    throw new InputError(
      `The repository has no '${repository.file}' on '${repository.base}': commit it there once, or check 'config'.`,
      { cause },
    );
  }
}

/**
 * Makes a commit of `commit`'s tree with files changed, without index, work tree or filters: bytes go in as they are.
 * @returns the new commit, or undefined where its tree would be that of `commit`.
 */
export async function commitFiles(
  repository: Repository,
  commit: string,
  parents: readonly string[],
  files: readonly FileChange[],
  message: string,
): Promise<string | undefined> {
  const { git } = repository;
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'promote-index-'));
  const env = { GIT_INDEX_FILE: path.join(scratch, 'index') };
  const content = path.join(scratch, 'content');
  try {
    await git(['read-tree', commit], { env });
    for (const { path: name, bytes } of files) {
      await writeFile(content, bytes);
      const blob = String(await git(['hash-object', '-w', '--no-filters', '--', content])).trim();
      const listed = String(await git(['ls-tree', commit, '--', name]));
      const mode = /^(100\d+) blob/.exec(listed)?.[1] ?? '100644';
      await git(['update-index', '--add', '--cacheinfo', `${mode},${blob},${name}`], { env });
    }
    const tree = String(await git(['write-tree'], { env })).trim();
    const parentTree = String(await git(['rev-parse', `${parents[0]}^{tree}`])).trim();
    if (tree === parentTree && parents.length === 1) return undefined;
    await writeFile(content, message);
    const args = ['commit-tree', tree, ...parents.flatMap((parent) => ['-p', parent]), '-F', content];
    return String(await git(args, { env: await authorOf(repository) })).trim();
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Pushes a commit to a branch, never by force. False where the branch has moved meanwhile. */
export async function pushCommit(repository: Repository, commit: string, branch: string): Promise<boolean> {
  try {
    await repository.git(['push', '--quiet', 'origin', `${commit}:refs/heads/${branch}`]);
    return true;
  } catch (error) {
    if (!(error instanceof GitError)) throw error;
    if (/non-fast-forward|fetch first|cannot lock ref|stale info|reference already exists/i.test(error.stderr)) {
      return false;
    }
    const hint = /protected branch|GH006|GH013/i.test(error.stderr)
      ? "the branch is protected, so use 'delivery: pull-request'"
      : /40[13]|denied|authentication|could not read Username/i.test(error.stderr)
        ? "give a 'token' that may write contents"
        : 'see what git says';
    throw new InputError(`Pushing to '${branch}' failed; ${hint}: ${error.stderr.trim()}`, { cause: error });
  }
}

/** Where copies of receipts lie in the repository: `receipts/` beside the config, where PR checks read them. */
export function receiptPathIn(repository: Repository, receipt: string): string {
  return path.posix.join(path.posix.dirname(repository.file), 'receipts', path.basename(receipt));
}

async function currentBranch(env: NodeJS.ProcessEnv, git: Repository['git']): Promise<string> {
  if (env.GITHUB_REF_TYPE === 'branch' && env.GITHUB_REF_NAME && !env.GITHUB_REF_NAME.endsWith('/merge')) {
    return env.GITHUB_REF_NAME;
  }
  const onTag = env.GITHUB_REF_TYPE === 'tag';
  const local = onTag ? '' : String(await git(['symbolic-ref', '--quiet', '--short', 'HEAD']).catch(() => '')).trim();
  if (local !== '') return local;
  const head = String(await git(['ls-remote', '--symref', 'origin', 'HEAD']));
  const found = /^ref: refs\/heads\/(\S+)\s+HEAD/m.exec(head)?.[1];
  if (found === undefined) throw new InputError("The repository's default branch is unknown; name one with 'branch'.");
  return found;
}

/** The token goes through the environment, where no list of processes shows it. */
export function authorization(remote: string, token: string | undefined): Record<string, string> {
  if (!token || !/^https?:/.test(remote)) return {};
  const { origin } = new URL(remote);
  const key = `http.${origin}/.extraheader`;
  return {
    GIT_CONFIG_COUNT: '2',
    // An empty value drops the header that actions/checkout may have left: GitHub refuses two.
    GIT_CONFIG_KEY_0: key,
    GIT_CONFIG_VALUE_0: '',
    GIT_CONFIG_KEY_1: key,
    GIT_CONFIG_VALUE_1: `AUTHORIZATION: basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`,
  };
}

/** Runners have no git identity; a checkout that has one keeps it. */
async function authorOf({ git }: Repository): Promise<Record<string, string>> {
  const configured = await git(['config', 'user.email']).catch(() => Buffer.alloc(0));
  if (configured.length > 0) return {};
  const name = 'github-actions[bot]';
  const email = '41898282+github-actions[bot]@users.noreply.github.com';
  return { GIT_AUTHOR_NAME: name, GIT_AUTHOR_EMAIL: email, GIT_COMMITTER_NAME: name, GIT_COMMITTER_EMAIL: email };
}
