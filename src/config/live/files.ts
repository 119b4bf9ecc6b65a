import { createHash } from 'node:crypto';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { readRegularFile } from '../../read-file.ts';
import { syncFolder } from '../../receipt/index.ts';

/** A live config and the files that promotions keep for it. All absolute. */
export interface LiveConfig {
  /** The real file: links are followed. */
  file: string;
  /** Append-only record of promotions and rollbacks, beside the path that was given: a link may be pointed elsewhere. */
  history: string;
  /** Where 0.1.0 kept the history, if that is another place: beside the real file. */
  earlierHistory?: string;
  /** Folder of the lock, the journal and the backups, beside the real file: two links share one lock. */
  state: string;
  /** Path of the real file from the history's folder, with `/`. */
  listed: string;
}

const HISTORY = '.model-history.jsonl';

/** Where the live config is: `config`, from `projectRoot` unless absolute. */
export async function locateConfig(config: string, projectRoot: string): Promise<LiveConfig> {
  const named = path.resolve(projectRoot, config);
  try {
    const file = await realpath(named);
    if (!(await stat(file)).isFile()) throw new InputError(`The config '${named}' is not a file; name the YAML file.`);
    const folder = await realpath(path.dirname(named));
    const history = path.join(folder, HISTORY);
    const earlier = path.join(path.dirname(file), HISTORY);
    return {
      file,
      history,
      ...(earlier === history ? {} : { earlierHistory: earlier }),
      state: path.join(path.dirname(file), '.model-promotion'),
      listed: path.relative(folder, file).replaceAll(path.sep, '/'),
    };
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`There is no config '${named}' (${messageOf(cause)}): check 'config' and 'project-root'.`, {
      cause,
    });
  }
}

/** Reads a config. What is no plain file of a config's size (a device, a pipe, a link to one) is refused, not read. */
export async function readConfig(file: string): Promise<Buffer> {
  return readRegularFile(file, 'The config');
}

/** Mode and owner of a file, which its replacement gets too. */
export interface FileRights {
  mode: number;
  uid: number;
  gid: number;
}

export async function rightsOf(file: string): Promise<FileRights> {
  const { mode, uid, gid } = await stat(file);
  return { mode: mode & 0o7777, uid, gid };
}

/**
 * Replaces a file's bytes in one step: a reader sees the old ones or the new ones. Mode and owner stay.
 * @param temporary where the new bytes are written first; on the same file system as `file`.
 */
export async function replaceFile(
  file: string,
  bytes: Uint8Array,
  temporary: string,
  beforeRename: () => void | Promise<void> = () => {},
): Promise<void> {
  const rights = await rightsOf(file);
  try {
    await writeAside(temporary, bytes, rights, rights.mode);
    await beforeRename();
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new InputError(
      `'${file}' cannot be replaced keeping its mode and owner (${messageOf(cause)}): run as its owner, on a disk with space.`,
      { cause },
    );
  }
  await syncFolder(path.dirname(file));
}

/** Writes a file that is to take another one's place, with that one's owner, and syncs it. */
export async function writeAside(
  file: string,
  bytes: Uint8Array,
  { uid, gid }: FileRights,
  mode: number,
): Promise<void> {
  await rm(file, { force: true });
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(bytes);
    const made = await handle.stat();
    if (made.uid !== uid || made.gid !== gid) await handle.chown(uid, gid);
    // After chown, which clears set-id bits.
    await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** SHA-256, lower-case hex. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
