import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { CHUNK_BYTES, modelFiles, rootOf, stampFile } from '../model/index.ts';
import { silentLog } from '../receipt/index.ts';
import { digestFile, type FileDigests } from './digest.ts';
import { locateManifest, type ManifestPaths, nameIn, readManifest } from './files.ts';
import { install } from './install.ts';
import { JobError, openPool, type Pool } from './pool.ts';
import { writeReceipts } from './receipts.ts';
import { fixedPart, globMatcher, isModel } from './select.ts';
import type { CheckedFile, ChecksumContext, ChecksumOptions, ChecksumResult, FileStatus } from './types.ts';

/**
 * Checks files against their manifest: names and sizes first, then the chunks of all files on all cores. Where only
 * `SHA256SUMS` is there, each file is one thread's. What is wrong is the result's `failures`, not an error.
 * @throws InputError where there is no manifest, it is broken, or `path` names nothing that it lists.
 */
export async function verifyManifest(options: ChecksumOptions, context: ChecksumContext = {}): Promise<ChecksumResult> {
  const started = performance.now();
  const { log = silentLog, signal } = context;
  const named = options.path.some((line) => !line.startsWith('!'));
  if (options.installTo !== undefined && !named) {
    throw new InputError(
      'The input install-to is given without path: name the model to install, since a manifest may list more than you want.',
    );
  }
  const paths = locateManifest(options.manifest, options.path.filter((line) => !line.startsWith('!')).map(fixedPart));
  const { sums, chunked } = await readManifest(paths);
  if (sums === undefined && chunked === undefined) {
    throw new InputError(
      `There is no manifest ${paths.sums}: write it with mode create where the files come from, or name it in the input manifest.`,
    );
  }
  const listed = new Map<string, Listed>();
  for (const [name, sha256] of sums?.entries ?? [])
    listed.set(name, { name, sha256, file: path.join(paths.folder, name) });
  for (const [name, digests] of chunked ?? []) {
    const sha256 = listed.get(name)?.sha256 ?? digests.sha256;
    listed.set(name, { name, sha256, digests, file: path.join(paths.folder, name) });
  }
  if (listed.size === 0) {
    throw new InputError(`The manifest ${paths.sums} lists no files: write it with mode create.`);
  }

  const { wanted, models, unlisted } = await choose(listed, options.path, paths);
  const findings = new Map<string, Finding>(unlisted.map((name) => [name, unlistedFinding(name, paths)]));
  const folders = new FolderNames();
  for (const entry of wanted) findings.set(entry.name, await checkPresence(entry, folders, paths));

  const stamps = wanted.flatMap(({ name, file }) =>
    findings.get(name)?.status === 'ok' ? [stampFile(file, `The file "${file}"`)] : [],
  );
  const sound = wanted.filter(({ name }) => findings.get(name)?.status === 'ok');
  const total = sound.reduce((sum, { name }) => sum + (findings.get(name)?.size ?? 0), 0);
  let done = 0;
  const pool = openPool({
    threads: options.threads,
    signal,
    onBytes(bytes) {
      done += bytes;
      log.progress({ label: 'verify', done, total, unit: 'bytes' });
    },
  });
  try {
    const inModels = new Set([...models.values()].flat());
    await Promise.all(
      sound.map(async (entry) => {
        const presence = findings.get(entry.name) as Finding;
        const needsRoot = inModels.has(entry.file) || options.installTo !== undefined;
        findings.set(entry.name, await checkContent(entry, presence, pool, needsRoot));
      }),
    );
  } finally {
    await pool.close();
  }

  if (options.root !== undefined) checkRoot(options.root, models, findings, paths);
  const checked = [...findings.values()];
  const digests = new Map(
    checked.flatMap((file) => (file.digests === undefined ? [] : [[path.join(paths.folder, file.name), file.digests]])),
  );
  const failures = checked.flatMap(({ problem }) => (problem === undefined ? [] : [problem]));
  const mismatched = checked.filter(({ status }) => status !== 'ok').map(({ name }) => name);
  const warnings = sums?.crlf
    ? [
        `${paths.sums} has Windows line ends (CRLF): it was read all the same, but sha256sum -c will look for names that end in \\r; write it anew, and mark it -text in .gitattributes if git changed it.`,
      ]
    : [];
  const result: ChecksumResult = {
    mode: 'verify',
    manifest: paths.sums,
    verdict: failures.length === 0 ? 'pass' : 'fail',
    verified: failures.length === 0,
    files: checked.map(({ digests: _digests, ...file }) => file),
    mismatched,
    failures,
    warnings,
    bytes: done,
    ms: performance.now() - started,
    receipts: [],
  };
  if (options.installTo === undefined || !result.verified) {
    return writeReceipts(result, { options, context, paths, models, digests });
  }
  const verified = { paths, models, digests, stamps };
  const installed = await install(options.installTo, verified, options.ifExists ?? 'refuse', context);
  log.info(
    `Installed into ${installed.paths.folder}: ${[...installed.digests.keys()].map((file) => path.basename(file)).join(', ')}`,
  );
  // From here on the receipts speak of the installed bytes: those are what promotion finds.
  const files = [...installed.digests].map(([file, { size, sha256, root }]): CheckedFile => {
    return { name: nameIn(installed.paths.folder, file), status: 'ok', size, sha256, root };
  });
  return writeReceipts({ ...result, manifest: installed.paths.sums, files }, { options, context, ...installed });
}

/** Adds a finding where the one model that was checked, though as listed, is not the one that was meant. */
function checkRoot(
  root: string,
  models: ReadonlyMap<string, readonly string[]>,
  findings: Map<string, Finding>,
  paths: ManifestPaths,
): void {
  const [model, ...others] = models;
  if (model === undefined || others.length > 0) {
    throw new InputError(`The input root is about one model, and path names ${models.size}: name that model in path.`);
  }
  const found = model[1].map((file) => findings.get(nameIn(paths.folder, file)));
  if (found.some((each) => each?.status !== 'ok' || each.digests === undefined)) return;
  const actual = rootOf(found.flatMap((each) => each!.digests!.chunks));
  if (actual === root.toLowerCase()) return;
  const graph = found[0]!;
  const problem = `${graph.name} is as listed, but has the root ${actual} where ${root} is expected: it is not the model that was meant.`;
  findings.set(graph.name, { ...graph, status: 'different', problem });
}

/** An entry of the manifest: with chunks where `SHA256SUMS.json` has it. `file` is its absolute path. */
interface Listed {
  name: string;
  file: string;
  sha256: string;
  digests?: FileDigests;
}

/** A checked file, and its digests where its bytes were read. */
interface Finding extends CheckedFile {
  digests?: FileDigests;
}

/** The entries that `lines` name (all where there are none), with the external data of models; and the models. */
async function choose(
  listed: ReadonlyMap<string, Listed>,
  lines: readonly string[],
  paths: ManifestPaths,
): Promise<{ wanted: Listed[]; models: Map<string, string[]>; unlisted: string[] }> {
  const all = [...listed.values()];
  const wanted = new Set<Listed>();
  const unlisted: string[] = [];
  const include = lines.filter((line) => !line.startsWith('!'));
  for (const line of include) {
    const matches = globMatcher(line);
    const matched = all.filter(({ file }) => matches(file));
    for (const entry of matched) wanted.add(entry);
    if (matched.length > 0) continue;
    if (!(await exists(line))) {
      throw new InputError(`The path "${line}" names nothing that ${paths.sums} lists: check it, or leave path empty.`);
    }
    unlisted.push(nameIn(paths.folder, path.resolve(line)));
  }
  if (include.length === 0) for (const entry of all) wanted.add(entry);
  for (const line of lines.filter((line) => line.startsWith('!'))) {
    const matches = globMatcher(line.slice(1));
    for (const entry of wanted) if (matches(entry.file)) wanted.delete(entry);
  }

  const byFile = new Map(all.map((entry) => [entry.file, entry]));
  const models = new Map<string, string[]>();
  for (const { file } of [...wanted].filter(({ file }) => isModel(file))) {
    const files = await filesOfModel(file, all);
    models.set(file, files);
    for (const each of files) {
      const entry = byFile.get(each);
      if (entry !== undefined) wanted.add(entry);
      else unlisted.push(nameIn(paths.folder, each));
    }
  }
  return { wanted: [...wanted], models, unlisted };
}

/** A model that cannot be read (which is for the checks to explain) has the entries whose names begin with its own. */
async function filesOfModel(file: string, listed: readonly Listed[]): Promise<string[]> {
  try {
    return await modelFiles(file);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const data = listed.map((entry) => entry.file).filter((other) => other !== file && other.startsWith(file));
    return [file, ...data.sort()];
  }
}

function unlistedFinding(name: string, paths: ManifestPaths): Finding {
  const problem = `${name} is not in ${paths.sums}: add it with mode create where the files come from.`;
  return { name, status: 'unlisted', problem };
}

/** Name and size: what can be told without reading. */
async function checkPresence(entry: Listed, folders: FolderNames, paths: ManifestPaths): Promise<Finding> {
  const { name, file, digests } = entry;
  const finding = (status: FileStatus, problem?: string): Finding => ({
    name,
    status,
    ...(problem === undefined ? {} : { problem }),
  });
  if (digests !== undefined && digests.sha256 !== entry.sha256) {
    return finding(
      'contradictory',
      `${paths.sums} and ${paths.chunked} disagree about ${name}: write both with mode create.`,
    );
  }
  const spelling = await folders.spellingOf(paths.folder, name);
  if (spelling === undefined) return finding('missing', `${name} is missing: copy it here again.`);
  if (spelling !== name) {
    return finding(
      'renamed',
      `${name} is here as ${spelling}: rename it, since Linux tells capitals from small letters.`,
    );
  }
  let info: Awaited<ReturnType<typeof stat>>;
  try {
    info = await stat(file);
  } catch (error) {
    return finding('unreadable', `${name} cannot be read (${messageOf(error)}): check its permissions.`);
  }
  if (!info.isFile())
    return finding('unreadable', `${name} is not a file: remove what is there and copy the file again.`);
  const { size } = info;
  if (digests !== undefined && size < digests.size) {
    const problem = `${name} is truncated: ${size} of ${digests.size} bytes are here, bytes ${size}-${digests.size - 1} are missing; copy it again.`;
    return { ...finding('truncated', problem), size, differences: [{ offset: size, length: digests.size - size }] };
  }
  if (digests !== undefined && size > digests.size) {
    const problem = `${name} is too long: it has ${size} bytes and ${digests.size} are listed; copy it again.`;
    return {
      ...finding('overlong', problem),
      size,
      differences: [{ offset: digests.size, length: size - digests.size }],
    };
  }
  return { ...finding('ok'), size };
}

/** The bytes, by chunk on all threads or, where chunks are not listed, whole on one. */
async function checkContent(entry: Listed, presence: Finding, pool: Pool, needsRoot: boolean): Promise<Finding> {
  try {
    return entry.digests === undefined
      ? await checkWhole(entry, presence, pool, needsRoot)
      : await checkChunks(entry, entry.digests, presence, pool);
  } catch (error) {
    // A thread that could not read this file has told why; one that died is no finding about the file.
    const unreadable = error instanceof InputError || (error instanceof JobError && error.code !== undefined);
    if (!unreadable) throw error;
    const problem = `${entry.name} cannot be read (${messageOf(error)}): check its permissions and the disk.`;
    return { ...presence, status: 'unreadable', problem };
  }
}

async function checkChunks(entry: Listed, listed: FileDigests, presence: Finding, pool: Pool): Promise<Finding> {
  const { name, file } = entry;
  const ranges = listed.chunks.map((_, index) => {
    const offset = index * CHUNK_BYTES;
    return { offset, length: Math.min(CHUNK_BYTES, listed.size - offset) };
  });
  const answers = await Promise.all(ranges.map((range) => pool.run([{ kind: 'range', path: file, ...range }])));
  const chunks = answers.map(([{ sha256 }]) => sha256);
  const differences = ranges.filter((_, index) => chunks[index] !== listed.chunks[index]);
  const [first] = differences;
  if (first === undefined) {
    const { sha256, root } = listed;
    return { ...presence, sha256, root, digests: listed };
  }
  const root = rootOf(chunks);
  const range = `bytes ${first.offset}-${first.offset + first.length - 1}`;
  const problem = `${name} differs, first in ${range} (${differences.length} of ${chunks.length} chunks of 64 MiB): copy it again.`;
  return {
    ...presence,
    status: 'different',
    root,
    differences,
    problem,
    digests: { ...listed, chunks, root },
  };
}

async function checkWhole(entry: Listed, presence: Finding, pool: Pool, needsRoot: boolean): Promise<Finding> {
  const { name, file, sha256: listed } = entry;
  // The root, for receipts and for installing: chunks in the same read.
  let found: { sha256: string; digests?: FileDigests };
  if (needsRoot) {
    const digests = await digestFile(file, pool);
    found = { sha256: digests.sha256, digests };
  } else {
    const [{ sha256 }] = await pool.run([{ kind: 'file', path: file, size: presence.size ?? 0 }]);
    found = { sha256 };
  }
  const checked: Finding = {
    ...presence,
    ...found,
    ...(found.digests === undefined ? {} : { root: found.digests.root }),
  };
  if (found.sha256 === listed) return checked;
  const last = Math.max(0, (presence.size ?? 0) - 1);
  const problem = `${name} differs somewhere in bytes 0-${last}: its SHA-256 is ${found.sha256}, and ${listed} is listed; copy it again (with SHA256SUMS.json the place would be known).`;
  return { ...checked, status: 'different', problem };
}

/** Names as they really are on the disk, which a case-blind file system does not tell when a file is opened. */
class FolderNames {
  readonly #folders = new Map<string, Promise<string[]>>();

  /** How `name` is spelled below `folder`: itself, with other capitals, or `undefined` where it is not there. */
  async spellingOf(folder: string, name: string): Promise<string | undefined> {
    const spelled: string[] = [];
    for (const part of name.split('/')) {
      const names = await this.#namesIn(path.join(folder, ...spelled));
      const alike = names.includes(part) ? part : names.find((other) => fold(other) === fold(part));
      if (alike === undefined) return undefined;
      spelled.push(alike);
    }
    return spelled.join('/');
  }

  #namesIn(folder: string): Promise<string[]> {
    let names = this.#folders.get(folder);
    if (names === undefined) {
      names = readdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
        throw new InputError(`The folder ${folder} cannot be read (${messageOf(error)}): check its permissions.`, {
          cause: error,
        });
      });
      this.#folders.set(folder, names);
    }
    return names;
  }
}

function fold(name: string): string {
  return name.normalize('NFC').toLowerCase();
}

async function exists(line: string): Promise<boolean> {
  return stat(path.resolve(line)).then(
    () => true,
    () => false,
  );
}
