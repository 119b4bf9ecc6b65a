import { createHash } from 'node:crypto';
import { open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';

/** A live config and the files that promotions keep beside it. All absolute; the config's links are followed. */
export interface LiveConfig {
  file: string;
  /** Append-only record of promotions and rollbacks. */
  history: string;
  /** Folder of the lock, the journal and the backups. */
  state: string;
}

/** Where the live config is: `config`, from `projectRoot` unless absolute. */
export async function locateConfig(config: string, projectRoot: string): Promise<LiveConfig> {
  const named = path.resolve(projectRoot, config);
  try {
    const file = await realpath(named);
    if (!(await stat(file)).isFile()) throw new InputError(`The config '${named}' is not a file; name the YAML file.`);
    const folder = path.dirname(file);
    return { file, history: path.join(folder, '.model-history.jsonl'), state: path.join(folder, '.model-promotion') };
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`There is no config '${named}' (${messageOf(cause)}): check 'config' and 'project-root'.`, {
      cause,
    });
  }
}

export async function readConfig(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new InputError(`The config '${file}' cannot be read (${messageOf(cause)}): run as a user who may.`, {
      cause,
    });
  }
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
  const { mode, uid, gid } = await stat(file);
  try {
    await rm(temporary, { force: true });
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(bytes);
      const made = await handle.stat();
      if (made.uid !== uid || made.gid !== gid) await handle.chown(uid, gid);
      // After chown, which clears set-id bits.
      await handle.chmod(mode & 0o7777);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await beforeRename();
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new InputError(
      `'${file}' cannot be replaced keeping its mode and owner (${messageOf(cause)}): run as its owner.`,
      { cause },
    );
  }
  await syncFolder(path.dirname(file));
}

/** Makes a rename or a new name survive a power cut. Windows has no such call for folders. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** SHA-256, lower-case hex. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
