import { chmod, chown, copyFile, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from 'vitest';
import { memoryLimitMb, type PromoteOptions, promote } from '../../src/config/index.ts';
import { ModelProtoSchema } from '../../src/model/index.ts';
import { readReceipt } from '../../src/receipt/index.ts';
import { FP32, INT8, makeSite, remember, type Site } from './support/site.ts';

let site: Site;
afterEach(() => site?.close());

const options = (more: Partial<PromoteOptions> = {}): PromoteOptions => ({
  config: 'config/sarai.yaml',
  projectRoot: site.root,
  model: INT8,
  configMemoryMb: 1200,
  ...more,
});

describe('promote, file by file', () => {
  it('changes two lines, records who and what, and writes a receipt', async () => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    const context = remember();
    const result = await promote(options({ reason: 'quantize-v1' }), context);
    expect(result.failures).toEqual([]);
    expect(result.changed).toBe(true);
    expect(result.previousModelPath).toBe(FP32);
    expect(result.previousMemoryMb).toBe(4400);
    const after = await site.text();
    const changed = after.split('\n').filter((line, index) => line !== before.split('\n')[index]);
    expect(changed).toEqual([
      '    model_path: models/onnx/agi_audio_core_int8.onnx   # 4.3GB FP32',
      '    max_memory_mb: 1200      # residente tras el calentamiento, más margen',
    ]);
    expect(result.diff).toContain('-    max_memory_mb: 4400');
    expect(result.warnings.join()).toMatch(/comment behind models\.audio_omni\.model_path on line 62 still names/);
    const [entry] = await site.history();
    expect(entry).toMatchObject({
      action: 'promote',
      who: 'lucia',
      reason: 'quantize-v1',
      keys: [
        { key: 'models.audio_omni.model_path', from: FP32, to: INT8 },
        { key: 'models.audio_omni.max_memory_mb', from: 4400, to: 1200 },
      ],
      model: { path: INT8 },
      previous: { path: FP32 },
    });
    expect(entry?.receipts).toHaveLength(3);
    const receipt = await readReceipt(result.report!);
    expect(path.basename(result.report!)).toBe('agi_audio_core_int8.promote-config.json');
    expect(receipt.verdict).toBe('pass');
    expect(receipt.results.previousModelPath).toBe(FP32);
  });

  it('replaces stale comments when asked, and writes further keys', async () => {
    site = await makeSite();
    await site.receipts();
    const result = await promote(options({ updateComment: true, set: ['vision.max_image_px=640'] }), remember());
    expect(result.failures).toEqual([]);
    const text = await site.text();
    expect(text).toContain('model_path: models/onnx/agi_audio_core_int8.onnx   # 1.3MB INT8');
    expect(text).toContain('max_image_px: 640');
  });

  it('says that promoting the same again changes nothing', async () => {
    site = await makeSite();
    await site.receipts();
    await promote(options(), remember());
    const first = await site.text();
    const context = remember();
    const again = await promote(options(), context);
    expect(again.changed).toBe(false);
    expect(again.verdict).toBe('pass');
    expect(context.lines.join('\n')).toMatch(/already; nothing changes/);
    expect(await site.text()).toBe(first);
    expect((await site.history()).length).toBe(1);
  });

  it('keeps mode and owner, and leaves no draft, lock or journal', async () => {
    site = await makeSite();
    await site.receipts();
    await chmod(site.config, 0o640);
    if (process.getuid?.() === 0) await chown(site.config, 1234, 5678);
    const before = await stat(site.config);
    await promote(options(), remember());
    const after = await stat(site.config);
    expect([after.mode, after.uid, after.gid]).toEqual([before.mode, before.uid, before.gid]);
    expect(after.ino).not.toBe(before.ino);
    const left = (await site.leftovers()).filter((name) => !name.includes('backups/'));
    expect(left).toEqual(['.model-history.jsonl', '.model-promotion', '.model-promotion/backups', 'sarai.yaml']);
  });

  it('a dry run shows the change and writes nothing at all', async () => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    const result = await promote(options({ dryRun: true }), remember());
    expect(result.diff).toContain('+    max_memory_mb: 1200');
    expect(result.report).toBeUndefined();
    expect(await site.text()).toBe(before);
    expect(await site.leftovers()).toEqual(['sarai.yaml']);
  });

  it('takes the memory limit from the validate receipt', async () => {
    site = await makeSite();
    await site.receipts(INT8, {}, 1085);
    await promote(options({ configMemoryMb: 'auto' }), remember());
    expect(await site.text()).toContain('max_memory_mb: 1200 ');
    expect([memoryLimitMb(1085, 10), memoryLimitMb(1000, 10), memoryLimitMb(1091, 10), memoryLimitMb(999, 0)]).toEqual([
      1200, 1100, 1250, 1000,
    ]);
  });
});

describe('promote refuses', () => {
  const refused = async (more: Partial<PromoteOptions> = {}) => {
    const before = await site.text();
    const result = await promote(options(more), remember());
    expect(result.verdict).toBe('fail');
    expect(result.changed).toBe(false);
    expect(await site.text()).toBe(before);
    expect(await site.history()).toEqual([]);
    expect((await readReceipt(result.report!)).verdict).toBe('fail');
    return result.failures.join('\n');
  };

  it('a model without receipts', async () => {
    site = await makeSite();
    expect(await refused()).toMatch(/No checksum receipt.*\n.*No validate receipt.*\n.*No compare receipt/);
  });

  it('a model whose bytes are not the ones that passed', async () => {
    site = await makeSite();
    await site.receipts();
    await writeFile(path.join(site.root, INT8), 'x', { flag: 'r+' });
    expect(await refused()).toMatch(/No validate receipt is about the bytes on disk now .* is about other bytes/);
  });

  it('a failed or inconclusive verdict', async () => {
    site = await makeSite();
    await site.receipts(INT8, { validate: 'fail', compare: 'inconclusive' });
    expect(await refused()).toMatch(/validate\.json says 'fail'.*\n.*compare\.json says 'inconclusive'/);
  });

  it('to go where there is no way back', async () => {
    site = await makeSite();
    await site.receipts();
    await rm(path.join(site.root, FP32));
    expect(await refused()).toMatch(/No rollback would be possible: .*agi_audio_core\.onnx/);
  });

  it('but lets noise pass where that is allowed, loudly, and records it; a cache it never lets pass', async () => {
    site = await makeSite();
    await site.receipts(INT8, { validate: 'inconclusive' });
    const file = path.join(site.root, INT8.replace('.onnx', '.validate.json'));
    const receipt = JSON.parse(await readFile(file, 'utf8'));
    const finding = (kind: string) => ({
      ...receipt,
      results: { ...receipt.results, hygiene: [{ kind, message: 'x' }] },
    });
    await writeFile(file, JSON.stringify(finding('cached')));
    const cached = await promote(options({ allowInconclusive: true }), remember());
    expect(cached.failures.join()).toMatch(/says 'inconclusive'/);
    await writeFile(file, JSON.stringify(finding('noisy')));
    expect(await refused()).toMatch(/says 'inconclusive'/);
    const context = remember();
    const result = await promote(options({ allowInconclusive: true }), context);
    expect(result.verdict).toBe('pass');
    expect(context.lines.join('\n')).toMatch(/^warning: .*inconclusive/im);
    const [entry] = await site.history();
    expect(entry?.inconclusive).toHaveLength(1);
  });

  it('but goes by force, loudly, and records it', async () => {
    site = await makeSite();
    const context = remember();
    const result = await promote(options({ force: true }), context);
    expect(result.verdict).toBe('pass');
    expect(context.lines.filter((line) => line.startsWith('warning: FORCED')).length).toBeGreaterThanOrEqual(4);
    const [entry] = await site.history();
    expect(entry?.forced).toHaveLength(3);
  });

  it("a user's mistakes, in one sentence", async () => {
    site = await makeSite();
    await site.receipts();
    const rejects = (more: Partial<PromoteOptions>, reason: RegExp) =>
      expect(promote(options(more), remember())).rejects.toThrow(reason);
    await rejects({ config: 'config/none.yaml' }, /no config/);
    await rejects({ model: 'models/none.onnx' }, /none\.onnx/);
    await rejects({ set: ['oops'] }, /write key=value/);
    await rejects({ modelPathKey: 'nowhere.model_path' }, /no 'nowhere'/);
    await rejects({ modelPathKey: 'model_path' }, /could be .*line \d+/);
    await rejects({ restartCommand: 'systemctl restart sarai && true' }, /without a shell/);
    await rejects({ healthUrl: 'localhost' }, /no address/);
    await rejects({ healthExpected: 'x' }, /health-json-path/);
    await rejects({ receipts: ['nope'] }, /'receipts' names/);
    await site.receipts(INT8);
    await truncate(path.join(site.root, INT8), 100);
    await rejects({ configMemoryMb: 'auto' }, /agi_audio_core_int8|auto/);
    expect(await site.history()).toEqual([]);
  });
});

describe('promote with a real service', () => {
  it('restarts it and proves that it serves the INT8 model', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const old = await site.health();
    expect(old?.models.audio_omni.model_path).toBe(FP32);
    const result = await promote(options({ ...site.service, watchSeconds: 1 }), remember());
    expect(result.failures).toEqual([]);
    const now = await site.health();
    expect(now?.models.audio_omni.model_path).toBe(INT8);
    expect(now?.pid).not.toBe(old?.pid);
    expect(result.steps.map(({ name, ok }) => [name, ok])).toEqual([
      ['write', true],
      ['restart', true],
      ['health', true],
      ['watch', true],
    ]);
  });

  it('accepts the SHA-256 that the service reports', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const service = { ...site.service, healthJsonPath: 'models.audio_omni.sha256', healthExpected: '{model_sha256}' };
    const result = await promote(options(service), remember());
    expect(result.failures).toEqual([]);
    expect(result.steps.at(-1)?.detail).toMatch(/sha256 is '[0-9a-f]{64}'/);
  });

  it('comes back by itself where the service cannot load the model', async () => {
    site = await makeSite();
    await copyFile(path.join(site.root, FP32), path.join(site.root, INT8));
    // Valid to our reader, refused by ONNX Runtime: an opset of the future.
    await corruptOpset(path.join(site.root, INT8));
    await site.receipts();
    await site.serve();
    const before = await site.text();
    const context = remember();
    const result = await promote(options({ ...site.service, healthTimeout: 5 }), context);
    expect(result.verdict).toBe('fail');
    expect(result.changed).toBe(false);
    expect(result.failures[0]).toMatch(/The health with the new config failed: no answer/);
    expect(result.failures[1]).toMatch(/previous config is back and the service is healthy on it/);
    expect(await site.text()).toBe(before);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
    expect(result.steps.map(({ phase, name, ok }) => `${phase} ${name} ${ok}`)).toEqual([
      'change write true',
      'change restart true',
      'change health false',
      'revert write true',
      'revert restart true',
      'revert health true',
    ]);
    expect((await site.history()).map(({ action }) => action)).toEqual(['revert']);
  });

  it('comes back where the service becomes unstable while it is watched', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const context = remember();
    const { info } = context.log;
    context.log.info = (message) => {
      info(message);
      if (message.startsWith('health:') && message.includes(INT8)) void site.fail();
    };
    const result = await promote(options({ ...site.service, watchSeconds: 30 }), context);
    expect(result.failures[0]).toMatch(/The watch with the new config failed: HTTP 500.*3 times in a row/);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
  });

  it('comes back where the restart command fails, and shows what it said', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const command = `"${process.execPath}" -e 'console.error("no such unit"); process.exit(5)'`;
    const result = await promote(options({ ...site.service, restartCommand: command }), remember());
    expect(result.failures[0]).toMatch(/The restart with the new config failed: exit 5\nno such unit/);
    expect(result.failures[1]).toMatch(/previous config is back.*but the service is not healthy/s);
    expect(await site.text()).toContain(FP32);
  });

  it('is told by an expected value that the service did not take the config', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const command = `"${process.execPath}" -e 0`;
    const result = await promote(options({ ...site.service, restartCommand: command, healthTimeout: 3 }), remember());
    expect(result.failures[0]).toMatch(/is 'models\/onnx\/agi_audio_core.onnx' where '.*int8.onnx' is expected/);
    expect(result.failures[1]).toMatch(/healthy on it/);
  });

  it('rolls back when the run is cancelled', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const controller = new AbortController();
    const cancel = setTimeoutUntil(
      async () => (await site.health())?.models.audio_omni.model_path === INT8,
      async () => controller.abort(),
    );
    const context = { ...remember(), signal: controller.signal };
    const result = await promote(options({ ...site.service, watchSeconds: 30 }), context);
    await cancel;
    expect(result.failures[0]).toMatch(/the run was cancelled/);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
  });
});

/** Raises the default opset in a model to one that no runtime knows. */
async function corruptOpset(file: string): Promise<void> {
  const model = fromBinary(ModelProtoSchema, await readFile(file));
  for (const opset of model.opsetImport) opset.version = 9999n;
  await writeFile(file, toBinary(ModelProtoSchema, model));
}

async function setTimeoutUntil(condition: () => Promise<boolean>, then: () => Promise<void>): Promise<void> {
  for (let i = 0; i < 2400; i++) {
    if (await condition()) return then();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('The condition never came true.');
}
