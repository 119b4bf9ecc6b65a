import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { choose } from '../../src/tune/choose.ts';
import type { Found } from '../../src/tune/give-back.ts';
import type { Check, Trial } from '../../src/tune/journal.ts';
import { gatesOf } from '../../src/tune/options.ts';

const gates = gatesOf({ model: 'm.onnx' });

/** Figures of one model on the three parts of the samples: similarity, the same of channels. */
interface Figures {
  choose: number;
  confirm: number;
  final: number;
  /** Time of an inference ÷ that of the source. */
  time: number;
}

/** A search that has found these models; what it asks of the last two parts is in `asked`. */
function searched(models: Record<string, Figures>) {
  const asked: string[] = [];
  const figures = (similarity: number) => ({
    similarity,
    channelSimilarity: similarity,
    notFinite: 0,
    unequal: 0,
    metric: null,
    sizeRatio: 0.3,
    slowdown: null,
    residentBytes: null,
  });
  const found = Object.entries(models).map(([form, { choose: similarity, time }]): Found => {
    const slowdown = { value: time, low: time, high: time, p50Ms: time, referenceP50Ms: 1 };
    const made = { refused: null, root: form, size: 1, nodesQuantized: 1, seconds: 1 };
    const trial: Trial = { ...figures(similarity), slowdown, ...made, kind: 'trial', name: form, form };
    return { form, recipe: {}, given: [], trial };
  });
  const check = async (part: 'confirm' | 'final', { form }: { form: string }): Promise<Check> => {
    asked.push(`${part} ${form}`);
    return { ...figures(models[form]![part]), kind: part, name: form, seconds: 1 };
  };
  const warnings: string[] = [];
  const log = { ...silentLog, warning: (text: string) => warnings.push(text) };
  const bench = { check, trials: found.map(({ trial }) => trial) };
  return { asked, warnings, choice: choose(found, bench, gates, log) };
}

describe('choosing', () => {
  it('takes the fastest that the other parts confirm, and asks the last one once', async () => {
    const { choice, asked, warnings } = searched({
      fast: { choose: 0.999, confirm: 0.95, final: 0.999, time: 0.4 },
      sound: { choose: 0.999, confirm: 0.999, final: 0.999, time: 0.5 },
      slow: { choose: 0.999, confirm: 0.999, final: 0.999, time: 0.9 },
    });
    expect(await choice).toMatchObject({ form: 'sound', retries: 1 });
    expect(asked).toEqual(['confirm fast', 'confirm sound', 'final sound']);
    expect(warnings).toEqual([]);
  });

  it('takes only what is more alike where the last part refuses, and says so', async () => {
    const { choice, asked, warnings } = searched({
      fast: { choose: 0.995, confirm: 0.995, final: 0.97, time: 0.4 },
      other: { choose: 0.99, confirm: 0.999, final: 0.999, time: 0.5 },
      sound: { choose: 0.999, confirm: 0.999, final: 0.998, time: 0.9 },
    });
    expect(await choice).toMatchObject({ form: 'sound', retries: 1, final: { similarity: 0.998 } });
    expect(asked).toEqual(['confirm fast', 'final fast', 'confirm sound', 'final sound']);
    expect(warnings).toEqual([
      expect.stringMatching(/on those kept for the end fast has similarity 0\.97 below 0\.98\. Now/),
    ]);
  });

  it('refuses where the last part refuses twice', async () => {
    const { choice, asked } = searched({
      fast: { choose: 0.995, confirm: 0.995, final: 0.97, time: 0.4 },
      sound: { choose: 0.998, confirm: 0.999, final: 0.975, time: 0.5 },
      slow: { choose: 0.999, confirm: 0.999, final: 0.999, time: 0.9 },
    });
    await expect(choice).rejects.toThrow(InputError);
    await expect(choice).rejects.toThrow(
      /^Nothing that passes is confirmed by other samples: fast has similarity 0\.97 below 0\.98 on the samples kept for the end; sound has similarity 0\.975/,
    );
    expect(asked).not.toContain('final slow');
  });
});
