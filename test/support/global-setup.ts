import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Workers and child processes are JavaScript files of their own, so `lib/` is compiled before the tests start them. */
export default function setup(): void {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const tsc = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
  const built = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.lib.json'], { cwd: root, encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`lib/ did not compile:\n${built.stdout}${built.stderr}`);
}
