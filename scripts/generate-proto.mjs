// Writes src/model/onnx_pb.ts from src/model/onnx.proto with buf and protoc-gen-es, both devDependencies.
// `--check` writes nothing and exits 1 where the file is stale.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const target = path.join(root, 'src', 'model', 'onnx_pb.ts');
const workspace = mkdtempSync(path.join(tmpdir(), 'onnx-proto-'));
try {
  const written = generate();
  if (!process.argv.includes('--check')) {
    copyFileSync(written, target);
  } else if (readFileSync(target, 'utf8') !== readFileSync(written, 'utf8')) {
    console.error('src/model/onnx_pb.ts is stale');
    process.exitCode = 1;
  }
} finally {
  rmSync(workspace, { recursive: true, force: true });
}

/** Runs buf in a folder of its own and returns the path of what it wrote. */
function generate() {
  const modules = path.join(root, 'node_modules');
  copyFileSync(path.join(root, 'src', 'model', 'onnx.proto'), path.join(workspace, 'onnx.proto'));
  // Run by node, so that no shell has to find the plugin (Windows).
  const plugin = [process.execPath, path.join(modules, '@bufbuild', 'protoc-gen-es', 'bin', 'protoc-gen-es')];
  const template = {
    version: 'v2',
    plugins: [{ local: plugin, out: workspace, opt: ['target=ts', 'import_extension=ts'] }],
  };
  const buf = path.join(modules, '@bufbuild', 'buf', 'bin', 'buf');
  execFileSync(process.execPath, [buf, 'generate', workspace, '--template', JSON.stringify(template)], {
    cwd: workspace,
    stdio: 'inherit',
  });
  return path.join(workspace, 'onnx_pb.ts');
}
