import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { childEnvironment } from '../child-environment.ts';
import { authorization, GitError, runGit } from '../config/index.ts';
import { InputError } from '../errors.ts';

/** A file of a commit. */
export interface TreeFile {
  /** As git names it, `/` between its parts. */
  path: string;
  mode: string;
  blob: string;
}

/** A commit's files by path. */
export type Tree = ReadonlyMap<string, TreeFile>;

/** A file that a pull request changes; `base` is absent for a new one, `head` for a deleted one. */
export interface ChangedFile {
  base?: TreeFile;
  head?: TreeFile;
}

/** A checkout whose commits are read. Nothing of its working tree is: that is the pull request's. */
export class Repository {
  readonly #folder: string;
  readonly #token: string | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #env = childEnvironment();

  constructor(folder: string, { token, signal }: { token?: string | undefined; signal?: AbortSignal | undefined }) {
    this.#folder = folder;
    this.#token = token;
    this.#signal = signal;
  }

  /** The commit that a ref names. @throws InputError where git knows none */
  async commit(ref: string): Promise<string> {
    const advice = 'fetch it first (actions/checkout with fetch-depth: 0)';
    if (ref.startsWith('-')) throw new InputError(`'base-ref' is '${ref}', which is no git ref.`);
    return this.#line(['rev-parse', '--verify', '--quiet', `${ref}^{commit}`], (cause) => {
      throw new InputError(`'base-ref' is '${ref}', which git does not know here: ${advice}.`, { cause });
    });
  }

  /** Where the pull request left the base branch. @throws InputError where the two have nothing in common */
  async mergeBase(base: string, head: string): Promise<string> {
    return this.#line(['merge-base', base, head], (cause) => {
      throw new InputError(`'base-ref' ${base} and HEAD have no commit in common: fetch all of both.`, { cause });
    });
  }

  async tree(commit: string): Promise<Tree> {
    const list = await this.#git(['ls-tree', '-r', '-z', '--full-tree', commit]);
    return new Map(
      fieldsOf(list).flatMap((entry) => {
        const [, mode = '', blob = '', file = ''] = /^(\d+) \w+ ([0-9a-f]+)\t(.*)$/s.exec(entry) ?? [];
        return file === '' ? [] : [[file, { path: file, mode, blob }]];
      }),
    );
  }

  /** What differs between two commits; what was moved is one change. */
  async changes(base: string, head: string): Promise<ChangedFile[]> {
    const options = ['--raw', '-z', '--no-abbrev', '--find-renames', '--no-ext-diff', '--no-textconv'];
    const fields = fieldsOf(await this.#git(['diff-tree', '-r', ...options, base, head]));
    const changes: ChangedFile[] = [];
    while (fields.length > 0) {
      const [, modeBefore = '', mode = '', blobBefore = '', blob = '', status = ''] =
        /^:(\d+) (\d+) ([0-9a-f]+) ([0-9a-f]+) (\w)/.exec(fields.shift()!) ?? [];
      const from = fields.shift() ?? '';
      const to = status === 'R' ? (fields.shift() ?? '') : from;
      changes.push({
        ...(status === 'A' ? {} : { base: { path: from, mode: modeBefore, blob: blobBefore } }),
        ...(status === 'D' ? {} : { head: { path: to, mode, blob } }),
      });
    }
    return changes;
  }

  /** The bytes of a small file. */
  content({ blob }: TreeFile): Promise<Buffer> {
    return this.#git(['cat-file', 'blob', blob]);
  }

  async isPointer(file: TreeFile): Promise<boolean> {
    const size = Number(await this.#git(['cat-file', '-s', file.blob]));
    return size < POINTER_BYTES && pointerOf(await this.content(file)) !== undefined;
  }

  /**
   * Writes a file below `folder`, under its own path; where the commit holds a Git LFS pointer, what that points to.
   * @throws InputError for what is no file of bytes, and for an object that cannot be fetched
   */
  async extract(file: TreeFile, folder: string, { fetchLfs }: { fetchLfs: boolean }): Promise<string> {
    const target = path.join(folder, ...file.path.split('/'));
    if (path.relative(folder, target).startsWith('..')) throw new InputError(`${file.path} leads out of its folder.`);
    if (!file.mode.startsWith('100')) {
      throw new InputError(
        `${file.path} is a ${file.mode === '120000' ? 'link' : 'submodule'} in git: commit the file itself.`,
      );
    }
    mkdirSync(path.dirname(target), { recursive: true });
    await this.#gitTo(target, ['cat-file', 'blob', file.blob]);
    if (statSync(target).size >= POINTER_BYTES) return target;
    const bytes = readFileSync(target);
    const pointer = pointerOf(bytes);
    if (pointer === undefined) return target;
    const wanted = `${file.path} is a Git LFS pointer to ${pointer.size} bytes, which`;
    if (!fetchLfs) {
      throw new InputError(
        `${wanted} are not fetched, because .lfsconfig differs from the base's: change it in a pull request of its own.`,
      );
    }
    const failed = await this.#gitTo(target, ['lfs', 'smudge', '--', file.path], bytes).then(
      () => (statSync(target).size === pointer.size ? undefined : 'its bytes did not come'),
      (error: Error) => error.message,
    );
    this.#signal?.throwIfAborted();
    if (failed === undefined) return target;
    throw new InputError(
      `${wanted} could not be fetched (${failed}): push the object (git lfs push), and give the runner Git LFS and a token that may read it.`,
    );
  }

  #git(args: readonly string[]): Promise<Buffer> {
    return runGit(this.#folder, args, { env: this.#env });
  }

  async #line(args: readonly string[], explain: (cause: unknown) => never): Promise<string> {
    return String(await this.#git(args).catch(explain)).trim();
  }

  /** Runs git with its output in a file, which may be larger than memory. */
  async #gitTo(file: string, args: readonly string[], input?: Buffer): Promise<void> {
    const server = input === undefined ? {} : await this.#credentials();
    const env = { ...this.#env, ...server, GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' };
    const output = openSync(file, 'w');
    try {
      const child = spawn('git', ['-C', this.#folder, ...args], {
        env,
        stdio: ['pipe', output, 'pipe'],
        signal: this.#signal,
        windowsHide: true,
      });
      child.stdin!.on('error', () => undefined).end(input);
      let said = '';
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(0, 1000);
      });
      const code = await new Promise<number | null>((resolve, reject) => {
        child.on('error', reject).on('close', resolve);
      });
      if (code !== 0) throw new GitError(args, said.trim().split('\n')[0] || `exit ${code}`);
    } finally {
      closeSync(output);
    }
  }

  /** Only Git LFS asks a server. */
  async #credentials(): Promise<Record<string, string>> {
    if (!this.#token) return {};
    const origin = String(await this.#git(['remote', 'get-url', 'origin']).catch(() => '')).trim();
    return authorization(origin, this.#token);
  }
}

/** A pointer has less than 1024 bytes by its specification. */
const POINTER_BYTES = 1024;

function pointerOf(bytes: Buffer): { size: number } | undefined {
  const text = bytes.toString('latin1');
  const size = /^size (\d+)$/m.exec(text)?.[1];
  return text.startsWith('version https://git-lfs.github.com/spec/') && size !== undefined
    ? { size: Number(size) }
    : undefined;
}

const fieldsOf = (list: Buffer): string[] => list.toString('utf8').split('\0').slice(0, -1);
