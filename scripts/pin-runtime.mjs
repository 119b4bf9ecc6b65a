// Pins an onnxruntime-node: fetches its tarballs with npm, and writes src/runtime/pins.ts with their SHA-512 and the
// digest of each platform's files. Usage: node scripts/pin-runtime.mjs 1.30.0 (after npm run build:lib)
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { unpack } from '../lib/runtime/download.js';
import { digestTree } from '../lib/runtime/tree.js';

const PLATFORMS = ['linux-x64', 'linux-arm64', 'win32-x64', 'win32-arm64', 'darwin-arm64'];
const NAMES = ['onnxruntime-node', 'onnxruntime-common'];

const version = process.argv[2];
if (!version) throw new Error('usage: node scripts/pin-runtime.mjs <version>');
const scratch = await mkdtemp(path.join(tmpdir(), 'pin-runtime-'));
try {
  const specs = NAMES.map((name) => `${name}@${version}`);
  execFileSync('npm', ['pack', '--silent', '--pack-destination', scratch, ...specs], {
    shell: process.platform === 'win32',
  });
  const tarballs = [];
  for (const name of NAMES) {
    const content = await readFile(path.join(scratch, `${name}-${version}.tgz`));
    const integrity = `sha512-${createHash('sha512').update(content).digest('base64')}`;
    tarballs.push({ name, version, integrity, bytes: content.length });
  }
  const trees = {};
  for (const target of PLATFORMS) {
    const [platform, arch] = target.split('-');
    const folder = path.join(scratch, target);
    for (const name of NAMES) {
      const file = path.join(scratch, `${name}-${version}.tgz`);
      await unpack(file, path.join(folder, 'node_modules', name), { platform, arch });
    }
    trees[target] = await digestTree(folder);
  }
  const file = fileURLToPath(new URL('../src/runtime/pins.ts', import.meta.url));
  const head = (await readFile(file, 'utf8')).split('export const RUNTIME_VERSION')[0];
  await writeFile(file, head + pins(tarballs, trees));
} finally {
  await rm(scratch, { recursive: true });
}

function pins(tarballs, trees) {
  const quoted = (value) => `'${value}'`;
  const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, '_');
  const packages = tarballs.map(
    ({ name, integrity, bytes }) =>
      `  {\n    name: '${name}',\n    version: '${version}',\n    integrity: '${integrity}',\n    bytes: ${grouped(bytes)},\n  },\n`,
  );
  const lines = Object.entries(trees).map(([target, digest]) => `  '${target}': ${quoted(digest)},\n`);
  return `export const RUNTIME_VERSION = '${version}';

/** SHA-512 of the registry's tarballs, as \`npm view <name>@<version> dist.integrity\` says, and how long they are. */
export const TARBALLS = [
${packages.join('')}] as const;

/** Digest of the unpacked files of each platform: see \`digestTree\`. */
export const TREES: Readonly<Record<string, string>> = {
${lines.join('')}};
`;
}
