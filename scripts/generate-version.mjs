// Writes src/version.generated.ts, so that sources, lib and bundles know their version without reading a file.
// `--check` writes nothing and exits 1 where the file is stale.
import { readFileSync, writeFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const text = `// Written by scripts/generate-version.mjs from package.json; do not edit.\nexport const VERSION = '${version}';\n`;
const target = new URL('../src/version.generated.ts', import.meta.url);
if (!process.argv.includes('--check')) {
  writeFileSync(target, text);
} else if (readFileSync(target, 'utf8') !== text) {
  console.error('src/version.generated.ts is stale');
  process.exitCode = 1;
}
