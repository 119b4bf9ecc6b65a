// Writes src/version.generated.ts, so that sources, lib and bundles know their version without reading a file.
import { readFileSync, writeFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const text = `// Written by scripts/generate-version.mjs from package.json; do not edit.\nexport const VERSION = '${version}';\n`;
writeFileSync(new URL('../src/version.generated.ts', import.meta.url), text);
