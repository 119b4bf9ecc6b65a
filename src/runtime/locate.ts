import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { cp, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { InputError, messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { type Log, silentLog } from '../receipt/index.ts';
import { downloadPackage, type Tarball } from './download.ts';
import { type NpmConfig, readNpmConfig } from './npm-config.ts';
import { RUNTIME_VERSION, TARBALLS, TREES } from './pins.ts';
import { makeScratch } from './scratch.ts';
import { digestTree } from './tree.ts';
import type { RuntimeLocation } from './types.ts';

/** A cache between runs, such as @actions/cache. Both may throw when the service is broken, which costs a download only. */
export interface CacheService {
  /** Where folders to keep are put together; the service finds one again only by the same path. */
  readonly folder: string;
  /** Brings `folder` back; false where nothing is stored under `key`. */
  restore(folder: string, key: string): Promise<boolean>;
  save(folder: string, key: string): Promise<void>;
}

/** What is fetched and what it must be; the pinned release unless a test says otherwise. */
export interface Pins {
  version: string;
  tarballs: readonly Tarball[];
  /** Digest of the unpacked files by platform and architecture. */
  trees: Readonly<Record<string, string>>;
}

export interface ResolveOptions {
  /** Folder of onnxruntime-node, or one with it under node_modules. Nothing else is looked at then. */
  ortPath?: string | undefined;
  /** Mirror of the npm registry; default: npm's own configuration. */
  registryUrl?: string | undefined;
  /** Folders whose node_modules are looked at; default those that npm put this package into. */
  bases?: readonly string[];
  cache?: CacheService | undefined;
  /** Default `process.env`: RUNNER_TOOL_CACHE, npm's settings, proxies. */
  env?: NodeJS.ProcessEnv;
  platform?: string;
  arch?: string;
  pins?: Pins;
  stallMs?: number;
  retryMs?: readonly number[];
  log?: Log | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Finds onnxruntime-node: `ortPath`, node_modules, the runner's tool cache, the cache service, then the registry.
 * What comes out of a cache or the registry has the pinned digest or is not used.
 * @throws InputError where `ortPath` is none, the platform has no build, or nothing can be downloaded
 */
export async function resolveRuntime(options: ResolveOptions = {}): Promise<RuntimeLocation> {
  if (options.ortPath) return fromOrtPath(options.ortPath, options);
  for (const base of options.bases ?? ownBases(fileURLToPath(import.meta.url))) {
    const found = fromNodeModules(base, options);
    if (found) return found;
  }
  return fromCaches(options);
}

function fromOrtPath(ortPath: string, options: ResolveOptions): RuntimeLocation {
  const folder = path.resolve(ortPath);
  const candidates = [
    folder,
    path.join(folder, 'onnxruntime-node'),
    path.join(folder, 'node_modules', 'onnxruntime-node'),
  ];
  for (const directory of candidates) {
    const version = versionOf(directory);
    if (version === undefined) continue;
    if (hasBinding(directory, options)) return { directory, version, source: 'ort-path' };
    throw new InputError(
      `ort-path: ${directory} holds no build for ${target(options)}; install onnxruntime-node on such a machine.`,
    );
  }
  throw new InputError(
    `ort-path: ${ortPath} is no folder of onnxruntime-node and has none in its node_modules; name one that npm installed.`,
  );
}

function fromNodeModules(base: string, options: ResolveOptions): RuntimeLocation | undefined {
  const directory = path.join(base, 'node_modules', 'onnxruntime-node');
  const version = versionOf(directory);
  return version !== undefined && hasBinding(directory, options)
    ? { directory: realpathSync(directory), version, source: 'node_modules' }
    : undefined;
}

/**
 * Folders whose node_modules belong to this package: its own, and those that it was installed into. Not the working
 * directory, which may be a checkout of anybody's, nor whatever else lies above an action's code.
 */
function ownBases(module: string): string[] {
  let root = path.dirname(module);
  while (nameOf(root) !== PACKAGE) {
    if (root === path.dirname(root)) return [];
    root = path.dirname(root);
  }
  const bases = [root];
  for (let at = root; at !== path.dirname(at); at = path.dirname(at)) {
    if (path.basename(path.dirname(at)) === 'node_modules') bases.push(path.dirname(path.dirname(at)));
  }
  return bases;
}

const PACKAGE = 'onnx-quantize-actions';

function nameOf(directory: string): unknown {
  return manifestOf(directory)?.name;
}

/** The version of an onnxruntime-node in `directory`; undefined where there is none. */
function versionOf(directory: string): string | undefined {
  const manifest = manifestOf(directory);
  return manifest?.name === 'onnxruntime-node' && typeof manifest.version === 'string' ? manifest.version : undefined;
}

function manifestOf(directory: string): { name?: unknown; version?: unknown } | undefined {
  const file = path.join(directory, 'package.json');
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown; version?: unknown };
  } catch {
    return undefined; // A broken package is none.
  }
}

/** Releases since 1.9 differ in the N-API version of the folder only. */
function hasBinding(directory: string, options: ResolveOptions): boolean {
  return [3, 6, 9].some((napi) =>
    existsSync(
      path.join(directory, 'bin', `napi-v${napi}`, platformOf(options), archOf(options), 'onnxruntime_binding.node'),
    ),
  );
}

const platformOf = (options: ResolveOptions): string => options.platform ?? process.platform;
const archOf = (options: ResolveOptions): string => options.arch ?? process.arch;
const target = (options: ResolveOptions): string => `${platformOf(options)}-${archOf(options)}`;

/** The tool cache, filled from the cache service or the registry if need be. */
async function fromCaches(options: ResolveOptions): Promise<RuntimeLocation> {
  const log = options.log ?? silentLog;
  const pins: Pins = options.pins ?? { version: RUNTIME_VERSION, tarballs: TARBALLS, trees: TREES };
  const tree = pins.trees[target(options)];
  if (!tree) {
    throw new InputError(
      `onnxruntime-node ${pins.version} has no build for ${target(options)}, only for ${Object.keys(pins.trees).join(', ')}; run on one of those, or name a build of your own in ort-path.`,
    );
  }
  const folder = toolCacheFolder(options, pins.version);
  const location = (source: RuntimeLocation['source']): RuntimeLocation => ({
    directory: path.join(folder, 'node_modules', 'onnxruntime-node'),
    version: pins.version,
    source,
  });
  if (await isIntact(folder, tree)) return location('tool-cache');
  if (existsSync(folder)) log.warning(`${folder} is not the pinned onnxruntime-node and is replaced.`);
  const source = await fill(folder, tree, options, pins, log);
  return location(source);
}

/**
 * `<tool cache>/<tool>/<version>/<arch>`, as @actions/tool-cache lays it out; outside a runner the user's cache folder.
 * That library itself copies into a folder that others may be reading, and tells a terminal so in workflow commands.
 */
function toolCacheFolder(options: ResolveOptions, version: string): string {
  const env = options.env ?? process.env;
  const root = env.RUNNER_TOOL_CACHE || path.join(userCache(env), 'onnx-quantize-actions');
  return path.join(root, 'onnxruntime-node', version, archOf(options));
}

function userCache(env: NodeJS.ProcessEnv): string {
  if (process.platform === 'win32') return env.LOCALAPPDATA ?? path.join(os.homedir(), 'AppData', 'Local');
  if (process.platform === 'darwin') return path.join(os.homedir(), 'Library', 'Caches');
  return env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
}

const cacheKey = (options: ResolveOptions, { version }: Pins): string =>
  `onnxruntime-node-${version}-${target(options)}`;

/** Whether `folder` holds just the pinned files. */
async function isIntact(folder: string, tree: string): Promise<boolean> {
  if (!existsSync(folder)) return false;
  // Another job may be moving it away.
  return (await digestTree(folder).catch(() => undefined)) === tree;
}

/**
 * Fills the tool cache from the cache service or the registry: in a folder beside the target, checked there, then
 * renamed, so that another job sees all of it or nothing.
 */
async function fill(
  folder: string,
  tree: string,
  options: ResolveOptions,
  pins: Pins,
  log: Log,
): Promise<'cache' | 'download'> {
  const config = await readNpmConfig(options.env ?? process.env, process.cwd(), options.registryUrl);
  let staging: string;
  try {
    makeFolder(path.dirname(folder));
    staging = await makeScratch(path.dirname(folder), path.basename(folder));
  } catch (error) {
    throw new InputError(
      `The tool cache ${path.dirname(folder)} cannot be written (${messageOf(error)}); set RUNNER_TOOL_CACHE to a folder that can.`,
    );
  }
  try {
    const cached = await restored(staging, tree, options, pins, log);
    if (!cached) {
      await download(staging, tree, config, options, pins, log);
      await offer(staging, options, pins, log);
    }
    await place(staging, folder, tree);
    return cached ? 'cache' : 'download';
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new InputError(airGapped(messageOf(error), folder, pins.version), { cause: error });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Puts into `staging` what the cache service holds, if it is what was pinned. */
async function restored(
  staging: string,
  tree: string,
  options: ResolveOptions,
  pins: Pins,
  log: Log,
): Promise<boolean> {
  const { cache } = options;
  if (!cache) return false;
  const kept = path.join(cache.folder, cacheKey(options, pins));
  try {
    await rm(kept, { recursive: true, force: true });
    if (!(await cache.restore(kept, cacheKey(options, pins)))) return false;
    if (await isIntact(kept, tree)) {
      // The tool cache may lie on another drive.
      await cp(kept, staging, { recursive: true });
      if (await isIntact(staging, tree)) return true;
    }
    log.warning('What the cache service gave is not the pinned onnxruntime-node; downloading it.');
  } catch (error) {
    log.warning(`The cache service did not give onnxruntime-node (${messageOf(error)}); downloading it.`);
  } finally {
    await rm(kept, { recursive: true, force: true });
  }
  await rm(staging, { recursive: true, force: true });
  makeFolder(staging);
  return false;
}

/** Gives the cache service what was downloaded. */
async function offer(staging: string, options: ResolveOptions, pins: Pins, log: Log): Promise<void> {
  const { cache } = options;
  if (!cache) return;
  const kept = path.join(cache.folder, cacheKey(options, pins));
  try {
    await cp(staging, kept, { recursive: true });
    await cache.save(kept, cacheKey(options, pins));
  } catch (error) {
    log.warning(
      `The cache service did not take onnxruntime-node (${messageOf(error)}); the next run downloads it again.`,
    );
  } finally {
    await rm(kept, { recursive: true, force: true });
  }
}

async function download(
  staging: string,
  tree: string,
  config: NpmConfig,
  options: ResolveOptions,
  pins: Pins,
  log: Log,
): Promise<void> {
  for (const tarball of pins.tarballs) {
    await downloadPackage(tarball, staging, {
      config,
      platform: platformOf(options),
      arch: archOf(options),
      log,
      ...(options.signal ? { signal: options.signal } : {}),
      ...(options.stallMs === undefined ? {} : { stallMs: options.stallMs }),
      ...(options.retryMs ? { retryMs: options.retryMs } : {}),
    });
  }
  const found = await digestTree(staging);
  if (found !== tree) throw new Error(`the unpacked files have the digest ${found}, not the pinned ${tree}`);
}

/** Renames what was checked to where it belongs, in place of what is not the pinned one. */
async function place(staging: string, folder: string, tree: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rename(staging, folder);
      break;
    } catch (error) {
      // Another job was faster; what it made is as good if it is whole.
      if (await isIntact(folder, tree)) break;
      if (attempt === 3 || !existsSync(folder)) throw error;
      await rm(folder, { recursive: true, force: true });
    }
  }
  await writeFile(`${folder}.complete`, '');
}

const airGapped = (reason: string, folder: string, version: string): string =>
  `onnxruntime-node ${version} is not installed and cannot be downloaded: ${reason}. Set registry-url to a mirror; or, on a machine of this kind with a network, run "npm install --ignore-scripts --prefix ort onnxruntime-node@${version}", copy the folder ort here (${path.dirname(folder)} is a good place) and name it in ort-path.`;
