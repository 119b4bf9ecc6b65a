import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { InputError } from '../src/errors.ts';
import { readRegularFile, readRegularFileIfThere } from '../src/read-file.ts';
import { canMakePipes } from './support/pipes.ts';
import { useTemp } from './support/temp.ts';

const temp = useTemp();

describe('readRegularFile', () => {
  it('reads a file of any size up to the limit, whole', async () => {
    const file = path.join(temp(), 'file');
    for (const size of [0, 1, 99, 100]) {
      writeFileSync(file, Buffer.alloc(size, 7));
      expect(await readRegularFile(file, 'The file', 100)).toEqual(Buffer.alloc(size, 7));
    }
    writeFileSync(file, Buffer.alloc(101));
    await expect(readRegularFile(file, 'The file', 100)).rejects.toThrow(/^The file ".*file" has .* MB or more/);
  });

  it('refuses a sparse file of a terabyte before reading any of it', async () => {
    const file = path.join(temp(), 'sparse');
    writeFileSync(file, '');
    truncateSync(file, 2 ** 40);
    await expect(readRegularFile(file, 'The budget')).rejects.toThrow(/at most 16.8 MB are read/);
  });

  it('says what is missing, and that a link leads nowhere', async () => {
    const folder = temp();
    const file = path.join(folder, 'none');
    expect(await readRegularFileIfThere(file, 'The history')).toBeUndefined();
    await expect(readRegularFile(file, 'The receipt')).rejects.toThrow(
      new InputError(`The receipt "${file}" does not exist: check the path.`),
    );
    const link = path.join(folder, 'link');
    symlinkSync(path.join(folder, 'nowhere'), link);
    await expect(readRegularFileIfThere(link, 'The history')).rejects.toThrow(/"[^"]*link" is a link to nothing/);
  });

  it('refuses a folder, and a path through a file', async () => {
    const folder = temp();
    mkdirSync(path.join(folder, 'inside'));
    writeFileSync(path.join(folder, 'file'), '');
    await expect(readRegularFile(path.join(folder, 'inside'), 'The config')).rejects.toThrow(/is a folder, not a file/);
    await expect(readRegularFile(path.join(folder, 'file', 'x'), 'The config')).rejects.toThrow(InputError);
  });

  // Windows has neither pipes nor devices in folders.
  it.skipIf(!canMakePipes)('refuses a pipe and devices at once, also behind links', async () => {
    const folder = temp();
    const pipe = path.join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await expect(readRegularFile(pipe, 'The budget')).rejects.toThrow(/is a named pipe, not a file/);
    for (const device of ['/dev/zero', '/dev/tty', '/dev/null']) {
      const link = path.join(folder, path.basename(device));
      symlinkSync(device, link);
      await expect(readRegularFile(link, 'The config')).rejects.toThrow(/is a device, not a file/);
    }
  });

  // Only Linux has files that say 0 bytes and hold more.
  it.skipIf(process.platform !== 'linux')('reads what is there where the size says 0', async () => {
    expect((await readRegularFile('/proc/self/status', 'The file')).toString()).toContain('VmHWM');
    await expect(readRegularFile('/proc/self/status', 'The file', 100)).rejects.toThrow(InputError);
  });
});
