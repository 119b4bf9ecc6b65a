import fs from 'node:fs';
import { InputError } from '../../errors.ts';

/** Source files, each opened once for all workers. */
export class SourceFiles {
  readonly #open = new Map<string, number>();

  fd(path: string): number {
    const known = this.#open.get(path);
    if (known !== undefined) return known;
    const fd = fs.openSync(path, 'r');
    this.#open.set(path, fd);
    return fd;
  }

  close(): void {
    for (const fd of this.#open.values()) fs.closeSync(fd);
    this.#open.clear();
  }
}

/** The sentence for a source that ended before the bytes that the plan saw in it. */
export function shrank(path: string): InputError {
  return new InputError(`"${path}" became shorter while it was read: let whatever writes it finish, then run again.`);
}
