// Fills owner, commit and version into the example consumer: a commit cannot contain its own hash, so the examples in
// the repository carry placeholders and this runs at release.
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    repository: { type: 'string' },
    sha: { type: 'string' },
    version: { type: 'string' },
    output: { type: 'string' },
  },
});
const { repository = '', sha = '', version = '', output = '' } = values;
if (!/^[\w.-]+\/[\w.-]+$/.test(repository) || !/^[0-9a-f]{40}$/.test(sha) || version === '' || output === '') {
  console.error(
    'Usage: node scripts/render-examples.mjs --repository owner/name --sha <40 hex> --version v1.2.3 --output <folder>',
  );
  process.exitCode = 1;
} else {
  const source = fileURLToPath(new URL('../examples/sarai', import.meta.url));
  cpSync(source, output, { recursive: true });
  const workflows = path.join(output, '.github', 'workflows');
  for (const name of readdirSync(workflows)) {
    const file = path.join(workflows, name);
    if (!statSync(file).isFile()) continue;
    const text = readFileSync(file, 'utf8')
      .replaceAll('OWNER/onnx-quantize-actions', repository)
      .replaceAll('0000000000000000000000000000000000000000', sha)
      .replaceAll('# VERSION', `# ${version}`);
    writeFileSync(file, text);
  }
}
