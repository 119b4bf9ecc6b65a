/**
 * Compiles every AssemblyScript module, `src/<room>/<name>/assembly/index.ts`, into the sibling
 * `src/<room>/<name>/<name>.wasm.generated.ts`, which exports the module's bytes as a base64 string.
 * Deterministic: the same source and compiler give the same bytes. `--check` writes nothing and fails on a difference.
 *
 * The modules use SIMD, allocate nothing and import one memory (`env.memory`): the host decides its size
 * and places every buffer. They own no static data, so the whole memory is the host's.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const check = process.argv.includes('--check');
const root = fileURLToPath(new URL('..', import.meta.url));

const sources = readdirSync(path.join(root, 'src'), { recursive: true })
  .map((file) => path.join('src', file))
  .filter((file) => file.endsWith(path.join('assembly', 'index.ts')))
  .sort();

for (const source of sources) {
  const directory = path.dirname(path.dirname(source));
  const target = path.join(directory, `${path.basename(directory)}.wasm.generated.ts`);
  const wasm = await compile(source);
  const text = [
    `// Compiled by scripts/build-wasm.mjs from ${source.replaceAll(path.sep, '/')}. Do not edit.`,
    `export const wasmBase64 =\n  '${wasm.toString('base64')}';\n`,
  ].join('\n');
  if (read(path.join(root, target)) === text) continue;
  if (check) {
    console.error(`${target} is stale`);
    process.exitCode = 1;
  } else {
    writeFileSync(path.join(root, target), text);
    console.log(`${target}: ${wasm.length} bytes`);
  }
}

/** Compiles one module to its binary; a compile error ends the run with the compiler's own words. */
async function compile(source) {
  let binary;
  const stderr = asc.createMemoryStream();
  const { error } = await asc.main(
    [
      source.replaceAll(path.sep, '/'),
      ...['--outFile', 'module.wasm', '--optimizeLevel', '3', '--shrinkLevel', '0', '--converge'],
      ...['--runtime', 'stub', '--noAssert', '--use', 'abort=', '--enable', 'simd'],
      ...['--importMemory', '--noExportMemory', '--memoryBase', '0', '--initialMemory', '1'],
    ],
    {
      stderr,
      readFile: (name, base) => read(path.join(base, name)),
      writeFile: (name, contents) => {
        if (name === 'module.wasm') binary = Buffer.from(contents);
      },
      listFiles: () => [],
    },
  );
  if (error || !binary) throw new Error(`${source} did not compile:\n${stderr.toString()}`, { cause: error });
  return binary;
}

/** A file's text, or null where there is none (the compiler probes for names). */
function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'EISDIR') return null;
    throw error;
  }
}
