// Generates src/model/onnx_pb.ts from src/model/onnx.proto with buf and protoc-gen-es (both devDependencies).
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const workspace = mkdtempSync(path.join(tmpdir(), 'onnx-proto-'));
try {
  const bin = path.join(root, 'node_modules', '.bin');
  copyFileSync(path.join(root, 'src', 'model', 'onnx.proto'), path.join(workspace, 'onnx.proto'));
  const template = {
    version: 'v2',
    plugins: [
      {
        local: path.join(bin, 'protoc-gen-es'),
        out: path.join(root, 'src', 'model'),
        opt: ['target=ts', 'import_extension=ts'],
      },
    ],
  };
  execFileSync(path.join(bin, 'buf'), ['generate', workspace, '--template', JSON.stringify(template)], {
    cwd: workspace,
    stdio: 'inherit',
  });
} finally {
  rmSync(workspace, { recursive: true, force: true });
}
