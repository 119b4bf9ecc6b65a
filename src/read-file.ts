import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, stat } from 'node:fs/promises';
import { InputError, messageOf } from './errors.ts';

/** How much of a small text (a receipt, a budget, a config) is read. Bytes. */
const MAX_TEXT_BYTES = 16 * 2 ** 20;

/**
 * The bytes of a regular file, at once and in bounded memory, whatever stands under its name: a named pipe would be
 * waited for, `/dev/zero` would be read for ever. Configs, budgets, receipts, manifests, histories, journals, cached
 * decisions, npm's settings and samples are read by this and by nothing else.
 *
 * @param subject begins the sentence of an error: `The receipt`.
 * @param limit bytes that are read at most; a longer file is refused, not cut.
 * @throws InputError, one sentence, for a missing, unreadable or too large file and for all that is no regular file.
 */
export async function readRegularFile(file: string, subject: string, limit: number = MAX_TEXT_BYTES): Promise<Buffer> {
  const found = await readRegularFileIfThere(file, subject, limit);
  if (found !== undefined) return found;
  throw new InputError(`${subject} "${file}" does not exist: check the path.`);
}

/** `readRegularFile`, undefined where nothing stands under the name. A link to nothing is something. */
export async function readRegularFileIfThere(
  file: string,
  subject: string,
  limit: number = MAX_TEXT_BYTES,
): Promise<Buffer | undefined> {
  const opened = await openRegularFileIfThere(file, subject);
  if (opened === undefined) return undefined;
  const { handle, size } = opened;
  try {
    if (size > limit) throw tooLarge(file, subject, size, limit);
    // Some files say 0 and have more (/proc), some grow: what counts is what is read.
    const pieces: Buffer[] = [];
    let total = 0;
    for (let wanted = size + 1; ; wanted = PIECE_BYTES) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(wanted, limit + 1 - total)));
      if (bytesRead === 0) return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, total);
      pieces.push(buffer.subarray(0, bytesRead));
      total += bytesRead;
      if (total > limit) throw tooLarge(file, subject, total, limit);
    }
  } catch (cause) {
    throw explained(cause, file, subject);
  } finally {
    await handle.close();
  }
}

/** A regular file, open for reading, and its size; the caller closes it. @throws InputError as `readRegularFile` */
export async function openRegularFile(file: string, subject: string): Promise<{ handle: FileHandle; size: number }> {
  const opened = await openRegularFileIfThere(file, subject);
  if (opened !== undefined) return opened;
  throw new InputError(`${subject} "${file}" does not exist: check the path.`);
}

const PIECE_BYTES = 2 ** 20;
/** Opening a pipe without it waits for a writer. Windows has no such flag and no such files. */
const NONBLOCK = constants.O_NONBLOCK ?? 0;

async function openRegularFileIfThere(
  file: string,
  subject: string,
): Promise<{ handle: FileHandle; size: number } | undefined> {
  let handle: FileHandle | undefined;
  try {
    // Before opening, because opening some devices does something; and after it, because what stands there may change.
    assertRegular(await stat(file), file, subject);
    handle = await open(file, constants.O_RDONLY | NONBLOCK);
    const info = await handle.stat();
    assertRegular(info, file, subject);
    return { handle, size: info.size };
  } catch (cause) {
    await handle?.close();
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      if (!(await isLink(file))) return undefined;
      throw new InputError(`${subject} "${file}" is a link to nothing: remove it, or put back what it leads to.`, {
        cause,
      });
    }
    throw explained(cause, file, subject);
  }
}

function assertRegular(info: Stats, file: string, subject: string): void {
  if (info.isFile()) return;
  const what = info.isDirectory()
    ? 'a folder'
    : info.isFIFO()
      ? 'a named pipe'
      : info.isSocket()
        ? 'a socket'
        : 'a device';
  throw new InputError(`${subject} "${file}" is ${what}, not a file: put the file itself there.`);
}

async function isLink(file: string): Promise<boolean> {
  return lstat(file).then(
    (info) => info.isSymbolicLink(),
    () => false,
  );
}

function tooLarge(file: string, subject: string, size: number, limit: number): InputError {
  const figure = (bytes: number) => `${Number((bytes / 1e6).toPrecision(3))} MB`;
  return new InputError(
    `${subject} "${file}" has ${figure(size)} or more, and at most ${figure(limit)} are read: check what it is.`,
  );
}

function explained(cause: unknown, file: string, subject: string): unknown {
  if (cause instanceof InputError || (cause as NodeJS.ErrnoException).code === undefined) return cause;
  return new InputError(`${subject} "${file}" cannot be read (${messageOf(cause)}): check its permissions.`, { cause });
}
