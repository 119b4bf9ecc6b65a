import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readModel } from '../../src/model/index.ts';
import { stepwise } from '../../src/quantize/breathe.ts';
import { quantize, settingsOf } from '../../src/quantize/index.ts';
import { admit, drafting } from '../../src/quantize/plan/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const NODES = 25_000;

/** A chain of nodes with one product at its end. */
function chain(folder: string): string {
  const nodes = Array.from({ length: NODES }, (_, i) => node('Relu', [i === 0 ? 'x' : `r${i - 1}`], [`r${i}`]));
  const main = graph({
    nodes: [...nodes, node('MatMul', [`r${NODES - 1}`, 'W'], ['y'])],
    inputs: [value('x', [1, 8])],
    outputs: [value('y', [1, 8])],
    initializers: [floats('W', [8, 8], new Float32Array(64).fill(0.5))],
  });
  return saveModel(folder, model(main));
}

test('planning is left after the step in which a cancellation comes, and a large graph takes many steps', async () => {
  const file = chain(temp());
  const settings = settingsOf({ model: file });
  const prepared = admit(await readModel(file));
  const steps = () => drafting(prepared, settings, { skip: new Map(), notes: [], warnings: [] });
  const all = [...steps()].length;
  expect(all).toBeGreaterThanOrEqual(NODES / 10_000 + 2);

  const stop = new AbortController();
  let done = 0;
  const counted = (function* () {
    for (const step of steps()) {
      done++;
      if (done === 3) setImmediate(() => stop.abort(new Error('stopped')));
      yield step;
    }
  })();
  await expect(stepwise(counted, stop.signal)).rejects.toThrow('stopped');
  expect(done).toBeLessThan(all);
});

test.each([1, 3, 5, 7])('a run that is cancelled %i turns after its start leaves nothing', async (turns) => {
  const folder = temp();
  const stop = new AbortController();
  const count = (left: number) => setImmediate(() => (left === 0 ? stop.abort(new Error('stopped')) : count(left - 1)));
  count(turns);
  await expect(quantize({ model: chain(folder) }, { log: silentLog, signal: stop.signal })).rejects.toThrow('stopped');
  expect(readdirSync(folder)).toEqual(['model.onnx']);
});
