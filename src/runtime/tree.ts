import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';

/** What of a package's tarball is needed to run on one platform: `package/…` names, without sources, maps and types. */
export function isNeeded(name: string, platform: string, arch: string): boolean {
  const inside = name.replace(/^package\//, '');
  if (inside === 'package.json') return true;
  if (inside.startsWith('bin/')) return new RegExp(`^bin/napi-v\\d+/${platform}/${arch}/[^/]+$`).test(inside);
  // The package.json in cjs/ is what makes those files CommonJS.
  return /^dist\/(cjs\/)?([^/]+\.js|package\.json)$/.test(inside) && !/\.min\.js$/.test(inside);
}

/**
 * SHA-256 over lines of `<SHA-256 of a file>  <its path, with />`, sorted by path: one digest for a folder, which any
 * file that is missing, added or changed alters.
 */
export async function digestTree(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const lines: string[] = [];
  for (const entry of entries) {
    if (entry.isDirectory()) continue;
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    const name = path.relative(folder, file).replaceAll(path.sep, '/');
    // A link would be followed by whoever loads it; it counts as what it is, and matches nothing.
    const digest = entry.isFile() ? await digestFile(file) : 'not a file';
    lines.push(`${digest}  ${name}\n`);
  }
  lines.sort((a, b) => (a.slice(a.indexOf(' ')) < b.slice(b.indexOf(' ')) ? -1 : 1));
  return createHash('sha256').update(lines.join('')).digest('hex');
}

async function digestFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(piece as Buffer);
  return hash.digest('hex');
}
