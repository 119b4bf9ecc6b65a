import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { type SettleOptions, settleInputs } from '../../src/inputs/index.ts';
import { DataType, declaredInputs, type Model, readModel } from '../../src/model/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { loadSamples, resolveRuntime, type SettledInputs, valueInfoOf, viewAs } from '../../src/runtime/index.ts';
import { graph, int64s, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { realModels } from '../support/real-models.ts';
import { smallModel } from '../support/small-model.ts';
import { useTemp } from '../support/temp.ts';
import { brought, save, unguessable } from './models.ts';

const temp = useTemp();

async function settle(file: string, options: SettleOptions = {}, spell?: (input: string, value: string) => string) {
  const read = await readModel(file);
  const said: string[] = [];
  let loads = 0;
  const runtime = () => {
    loads++;
    return resolveRuntime({});
  };
  const log = { ...silentLog, info: (message: string) => void said.push(message) };
  const context = { runtime, temporaryFolder: temp(), log, ...(spell ? { spell } : {}) };
  const settled = await settleInputs(read, options, context);
  return { settled, loads, said, model: read };
}

const samplesOf = (read: Model, settled: SettledInputs | undefined, count = 8) =>
  loadSamples(undefined, declaredInputs(read).map(valueInfoOf), {
    ...(settled ? { settled } : {}),
    count,
  });

/** The sizes in `Sizes that nobody gave: batch=1, seq=24.` */
function sizesOf(settled: SettledInputs | undefined): Record<string, number> {
  const [note = ''] = settled?.notes ?? [];
  return Object.fromEntries([...note.matchAll(/([^ ]+)=(\d+)/g)].map(([, name, size]) => [name, Number(size)]));
}

describe('inputs that nobody gave', () => {
  for (const each of brought) {
    it(`are settled for ${each.what}`, async () => {
      const { settled, said, model: read } = await settle(save(temp(), each));
      expect(sizesOf(settled)).toEqual(each.sizes);
      expect(said).toEqual(settled?.notes);
      const samples = await samplesOf(read, settled);
      if (each.says) expect(samples.notes.join('\n')).toMatch(each.says);
    });
  }

  it('are settled for every published model of the tests, whatever its author left open', async () => {
    const found: Record<string, Record<string, number>> = {};
    for (const [name, file] of Object.entries(realModels)) found[name] = sizesOf((await settle(file)).settled);
    const image = { 'p2o.DynamicDimension.0': 1, 'p2o.DynamicDimension.1': 320 };
    const window = { batch: 1, sequence: 512 };
    expect(found).toMatchObject({
      ocrDetection: { ...image, 'p2o.DynamicDimension.2': 320 },
      ocrRecognition: image,
      ocrDirection: { ...image, 'p2o.DynamicDimension.2': 320 },
      speech: { 'input.0': 1, 'input.1': 512, 'state.1': 1 },
      speech16k: window,
      speechHalf: window,
      speechIfless: window,
    });
  });

  it('keep what the user gave and fill in the rest', async () => {
    const detector = save(temp(), brought[2]!);
    const { settled } = await settle(detector, { dims: 'height=64' });
    expect(settled?.shapes).toEqual({ images: [1, 3, 64, 160] });
    expect(sizesOf(settled)).toEqual({ batch: 1, width: 160 });
    await expect(settle(detector, { dims: 'depth=64' })).rejects.toThrow('no input has a dimension depth');
  });

  it('cost no load where only the batch is open, where all is given, or where they are settled already', async () => {
    const plain = saveModel(temp(), smallModel());
    expect(await settle(plain)).toMatchObject({ settled: { states: [], carried: [] }, loads: 0 });
    const given = await settle(save(temp(), brought[0]!), { dims: 'batch=2,seq=24' });
    expect(given).toMatchObject({ settled: { shapes: { input_ids: [2, 24] } }, loads: 0 });
    const { settled } = await settle(realModels.speechHalf);
    const again = await settleInputs(
      await readModel(realModels.speechHalf),
      {},
      {
        settled: settled!,
        runtime: () => Promise.reject(new Error('asked for the runtime')),
        temporaryFolder: temp(),
      },
    );
    expect(again).toBe(settled);
  });

  it('carry states: each sample has those that the model gave for the one before', async () => {
    const { settled, model: read } = await settle(realModels.speechHalf, { count: 3 });
    const samples = await samplesOf(read, settled, 3);
    const states = [];
    for (let index = 0; index < 3; index++) {
      const { state } = await samples.get(index);
      states.push([...(viewAs('float32', state!.data) as Float32Array)]);
    }
    expect(states[0]!.every((each) => each === 0)).toBe(true);
    expect(states[1]!.some((each) => each !== 0)).toBe(true);
    expect(states[2]).not.toEqual(states[1]);
    // The same again: what is carried depends on the model and the seed only.
    expect((await settle(realModels.speechHalf, { count: 3 })).settled).toEqual(settled);
  });

  it('take sizes of -1, 0 and "?" for open ones, each its own', async () => {
    const each = brought[3]!.build();
    const [input] = each.graph!.input;
    const odd = value(input!.name, ['?', 3, '?', -1]);
    const file = saveModel(temp(), { ...each, graph: { ...each.graph!, input: [odd] } });
    expect(sizesOf((await settle(file)).settled)).toEqual({ 'x.0': 1, 'x.2': 384, 'x.3': 384 });
  });

  it('follow a graph that goes in circles no further than it can', async () => {
    const circle = model(
      graph({
        inputs: [value('x', ['batch', 'width'])],
        outputs: [value('y', ['batch', 'width'])],
        nodes: [
          node('Cast', ['b'], ['a'], { to: 1 }),
          node('Cast', ['a'], ['b'], { to: 1 }),
          node('Add', ['x', 'a'], ['y']),
        ],
      }),
    );
    await expect(settle(saveModel(temp(), circle))).rejects.toThrow('does not load');
  });
});

describe('a model that cannot be guessed', () => {
  it.each([
    [undefined, 'dims: width=<size>', 'samples: <file>'],
    [(input: string, text: string) => `--${input} "${text}"`, '--dims "width=<size>"', '--samples "<file>"'],
  ])(
    'gets the question in the words of where it is asked, with what was tried and what was said',
    async (spell, dims, samples) => {
      const file = saveModel(temp(), unguessable());
      const question = await settle(file, {}, spell).catch((error: unknown) => error);
      expect(question).toBeInstanceOf(InputError);
      const { message } = question as InputError;
      // One name for both inputs, and the batch is none of the question.
      expect(message).toContain('leaves width open and runs with none of the sizes that were tried');
      expect(message).toMatch(/batch=1, width=\d+; batch=1, width=\d+; batch=1, width=\d+ and \d+ more/);
      expect(message).toMatch(/of the first the runtime says: Reshape fold: input_shape_size .*7919/);
      expect(message).toContain(`Say what it takes: ${dims}, or bring ${samples}.`);
      expect(message.split('\n')).toHaveLength(1);
    },
  );

  it('is asked for samples where it leaves nothing open', async () => {
    const stubborn = model(
      graph({
        inputs: [value('x', [1, 4]), value('state', [1, 4])],
        outputs: [value('y', [null, null, null, null]), value('stateN', [1, 4])],
        initializers: [int64s('first', [1], [0])],
        nodes: [
          node('Cast', ['x'], ['rows'], { to: DataType.INT64 }),
          node('Squeeze', ['rows', 'first'], ['row']),
          node('Reshape', ['x', 'row'], ['y'], {}, { name: 'fold' }),
          node('Identity', ['state'], ['stateN']),
        ],
      }),
    );
    await expect(settle(saveModel(temp(), stubborn))).rejects.toThrow(
      /does not run on inputs made for it .*samples: <file>/,
    );
  });

  it('runs with what the answer to the question was', async () => {
    const { settled, loads } = await settle(saveModel(temp(), unguessable()), { dims: 'width=7919' });
    expect(settled?.shapes).toEqual({ mystery: [1, 7919], other: [1, 7919] });
    expect(loads).toBe(0);
  });
});
