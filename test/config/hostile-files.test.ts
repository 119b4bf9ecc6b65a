import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canMakePipes } from '../support/pipes.ts';
import { runCli } from '../support/program.ts';
import { useTemp } from '../support/temp.ts';
import { FP32, INT8, makeSite, type Site } from './support/site.ts';

const temp = useTemp();
const budget = fileURLToPath(new URL('../../examples/sarai/config/model-budget.yaml', import.meta.url));

/** What a pull request may put in the place of a file, and what is said then. */
const ODD: [string, (file: string) => unknown, RegExp][] = [
  ['a named pipe', (file) => execFileSync('mkfifo', [file]), /is a named pipe, not a file/],
  ['a link to /dev/zero', (file) => symlinkSync('/dev/zero', file), /is a device, not a file/],
  ['a link to nothing', (file) => symlinkSync('nowhere', file), /is a link to nothing/],
  ['a folder', (file) => mkdirSync(file), /is a folder, not a file|EISDIR/],
];

// Windows has no such files.
describe.skipIf(process.platform === 'win32')('in the place of a file', () => {
  let site: Site;
  beforeAll(async () => {
    site = await makeSite();
  });
  afterAll(() => site.close());

  for (const [what, put, said] of ODD) {
    it.skipIf(!canMakePipes && what === 'a named pipe')(
      `${what} is one sentence, at once: config, budget, receipt, history and manifest`,
      async () => {
        const root = temp();
        for (const folder of ['config/receipts', 'models/onnx'])
          mkdirSync(path.join(root, folder), { recursive: true });
        for (const model of [FP32, INT8]) copyFileSync(path.join(site.root, model), path.join(root, model));
        const config = path.join(root, 'config/sarai.yaml');
        const sound = () => copyFileSync(site.config, config);
        const swap = async (file: string, args: string[], expected = said) => {
          rmSync(path.join(root, file), { recursive: true, force: true });
          put(path.join(root, file));
          const { code, stderr, stdout } = await runCli([...args, '--project-root', root], root);
          rmSync(path.join(root, file), { recursive: true, force: true });
          const all = stderr + stdout;
          expect(all, file).toMatch(expected);
          expect(all).not.toMatch(/This is a bug|\n\s+at /);
          return code;
        };
        const check = ['promote-config', '--mode', 'check', '--config', 'config/sarai.yaml'];
        expect(await swap('config/sarai.yaml', check)).toBe(1);
        sound();
        copyFileSync(budget, path.join(root, 'config/model-budget.yaml'));
        expect(await swap('config/model-budget.yaml', check)).toBe(1);
        const history = ['promote-config', '--mode', 'history', '--config', 'config/sarai.yaml'];
        expect(await swap('config/.model-history.jsonl', history)).toBe(1);
        writeFileSync(path.join(root, 'other.json'), '{}');
        const promote = ['promote-config', '--mode', 'promote', '--config', 'config/sarai.yaml', '--model', INT8];
        const receipts = [...promote, '--config-memory-mb', '1200', '--receipts', 'config/receipts/r.validate.json'];
        // A folder is one of receipts, and this one has none.
        const none = /is a link to nothing|which cannot be read|No validate receipt/;
        const receiptSaid = /nothing|folder/.test(what) ? none : said;
        expect(await swap('config/receipts/r.validate.json', receipts, receiptSaid)).toBe(1);
        const manifest = path.join(root, 'models/onnx/SHA256SUMS');
        put(manifest);
        const verified = await runCli(['checksum', '--mode', 'verify', '--manifest', manifest], root);
        expect(verified.code).toBe(1);
        expect(verified.stderr).toMatch(said);
      },
      60_000,
    );
  }
});

it('more YAML than anybody writes by hand is one sentence, before it is parsed', async () => {
  const root = temp();
  mkdirSync(path.join(root, 'config'));
  const [config, rules] = ['config/sarai.yaml', 'config/model-budget.yaml'];
  const check = ['promote-config', '--mode', 'check', '--config', config, '--project-root', root];
  // Well-formed; the parser takes minutes and gigabytes for it.
  const long = `x: [${'1,'.repeat(4e6)}]\n`;
  for (const file of [config, rules]) {
    writeFileSync(path.join(root, config), 'audio_omni: { model_path: a.onnx }\n');
    writeFileSync(path.join(root, file), long);
    const { code, stderr, stdout } = await runCli(check, root);
    expect(code).toBe(1);
    expect(stderr + stdout).toMatch(/has 8000006 bytes, and YAML of at most 262144 is read/);
  }
});
