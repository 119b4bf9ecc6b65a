import { statSync } from 'node:fs';
import { InputError, messageOf } from '../errors.ts';
import type { FileStamp } from './types.ts';

/**
 * Checks that a path names a plain file that can be read, and returns it as it is now.
 * `subject` begins the sentence of the error: `The model "x.onnx"`.
 */
export function stampFile(path: string, subject: string): FileStamp {
  const found = statOrExplain(path, subject);
  if (found.isDirectory()) throw new InputError(`${subject} is a directory: name a file.`);
  // Opening a pipe or a device could wait for ever.
  if (!found.isFile()) throw new InputError(`${subject} is not a plain file: copy it to one.`);
  return { path, size: Number(found.size), mtimeNs: found.mtimeNs };
}

/**
 * Checks that files are still what they were when their stamps were made.
 *
 * @throws InputError naming the first file that changed.
 */
export function assertUnchanged(stamps: Iterable<FileStamp>): void {
  for (const stamp of stamps) {
    const now = stampFile(stamp.path, `The file "${stamp.path}"`);
    if (now.size === stamp.size && now.mtimeNs === stamp.mtimeNs) continue;
    throw new InputError(
      `"${stamp.path}" was changed while it was read: let whatever writes it finish, then run again.`,
    );
  }
}

/** One sentence for a file that cannot be read. */
export function explainReadError(cause: unknown, subject: string): InputError {
  const code = (cause as NodeJS.ErrnoException).code;
  const why = READ_ERRORS[code ?? ''] ?? `cannot be read (${code ?? messageOf(cause)}): check the path and the disk`;
  return new InputError(`${subject} ${why}.`, { cause });
}

const READ_ERRORS: Record<string, string> = {
  ENOENT: 'does not exist: check the path',
  ENOTDIR: 'does not exist: a part of its path is a file',
  EACCES: 'may not be read by this user: change its permissions or run as another user',
  EPERM: 'may not be read by this user: change its permissions or run as another user',
  EISDIR: 'is a directory: name a file',
  ELOOP: 'is a symbolic link that leads to itself: name a file',
  ENAMETOOLONG: 'has a longer name than this system allows: shorten it',
};

function statOrExplain(path: string, subject: string) {
  try {
    return statSync(path, { bigint: true });
  } catch (cause) {
    throw explainReadError(cause, subject);
  }
}
