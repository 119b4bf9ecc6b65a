import { InputError } from '../../errors.ts';
import type { Log } from '../../receipt/index.ts';
import { DEFAULT_MEMORY_KEY, DEFAULT_MODEL_PATH_KEY } from '../options.ts';
import { resolveKey } from '../yaml/edit.ts';
import { allKeys, findKey, joinKey, splitKey } from '../yaml/keys.ts';
import { decodeYaml, parseValidYaml } from '../yaml/parse.ts';

/** Full dotted paths of the two keys that every state has. */
export interface ModelKeys {
  pathKey: string;
  memoryKey: string;
}

/**
 * The keys as they stand in this config. Where the model-path key is left at its default and absent, a single
 * `model_path` is taken, and the memory limit beside it; several are refused with their lines.
 */
export function modelKeys(
  bytes: Uint8Array,
  name: string,
  options: { modelPathKey?: string | undefined; memoryKey?: string | undefined },
  log: Log,
): ModelKeys {
  const askedPath = options.modelPathKey ?? DEFAULT_MODEL_PATH_KEY;
  const askedMemory = options.memoryKey ?? DEFAULT_MEMORY_KEY;
  const only = askedPath === DEFAULT_MODEL_PATH_KEY ? onlyModelPath(bytes, name) : undefined;
  if (only === undefined) {
    return { pathKey: resolveKey(bytes, askedPath, name), memoryKey: resolveKey(bytes, askedMemory, name) };
  }
  log.info(`'${askedPath}' is not in ${name}; taking '${joinKey(only)}', the only model_path there.`);
  const beside = joinKey([...only.slice(0, -1), ...splitKey(DEFAULT_MEMORY_KEY).slice(-1)]);
  const memoryKey = askedMemory === DEFAULT_MEMORY_KEY ? beside : resolveKey(bytes, askedMemory, name);
  return { pathKey: joinKey(only), memoryKey };
}

/** Where the default key is absent: the one `model_path` of the config; undefined where there is none. */
function onlyModelPath(bytes: Uint8Array, name: string): string[] | undefined {
  const file = parseValidYaml(decodeYaml(bytes, name), name);
  if (findKey(file, DEFAULT_MODEL_PATH_KEY) !== undefined) return undefined;
  const sites = allKeys(file).filter(({ path }) => path.at(-1) === 'model_path');
  if (sites.length < 2) return sites[0]?.path;
  const places = sites.map((site) => `'${joinKey(site.path)}' on line ${file.at(site.offset).line}`);
  throw new InputError(
    `${name} has no '${DEFAULT_MODEL_PATH_KEY}', but ${places.slice(0, -1).join(', ')} and ${places.at(-1)}: say with 'model-path-key' which one is meant.`,
  );
}
