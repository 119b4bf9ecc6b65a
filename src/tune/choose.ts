import { InputError } from '../errors.ts';
import type { Log } from '../receipt/index.ts';
import { type Bench, describe } from './bench.ts';
import { gapOf, lacksOf, preferred } from './gates.ts';
import type { Found } from './give-back.ts';
import type { Check, Trial } from './journal.ts';
import type { Gates } from './options.ts';

/** Those that pass all gates; what quantizes nothing is no choice. */
export const passing = (found: readonly Found[], gates: Gates, margin: boolean): Trial[] =>
  found
    .map(({ trial }) => trial)
    .filter((trial) => isModel(trial) && trial.slowdown !== null && lacksOf(trial, gates, margin).length === 0);

/** Those that lack quality only. */
export const failing = (found: readonly Found[], gates: Gates): Trial[] =>
  found
    .map(({ trial }) => trial)
    .filter(
      (trial) => isModel(trial) && gapOf(trial, gates) > 0 && lacksOf(trial, gates, true).every((lack) => lack.quality),
    );

const isModel = ({ refused, nodesQuantized }: Trial) => refused === null && nodesQuantized > 0;

/** A model that passes on all three parts. */
export interface Choice extends Found {
  confirmed: Check;
  final: Check;
  retries: number;
}

/**
 * Takes the preferred one that other samples confirm, and holds it against the last part. Where that refuses it, one that is
 * more alike on all that chose has another chance, and that is said: from then on the last part has a say too.
 */
export async function choose(
  found: readonly Found[],
  bench: Pick<Bench, 'check' | 'trials'>,
  gates: Gates,
  log: Log,
): Promise<Choice> {
  const clear = preferred(passing(found, gates, true), gates);
  // What passes without the margin is better than nothing, if other samples agree.
  const close = preferred(passing(found, gates, false), gates).filter((trial) => !clear.includes(trial));
  const missed: string[] = [];
  let refused: Trial | undefined;
  for (const trial of [...clear, ...close]) {
    if (refused && !isMoreAlike(trial, refused)) continue;
    const choice = found.find((each) => each.trial === trial)!;
    const lacking = (check: Check) => {
      const lacks = lacksOf({ ...trial, ...qualityOf(check) }, gates, false);
      return lacks.length > 0 ? `${choice.form} has ${lacks.map(({ text }) => text).join(' and ')}` : undefined;
    };
    const confirmed = await bench.check('confirm', choice);
    const unlike = lacking(confirmed);
    if (unlike) {
      missed.push(unlike);
      log.info(`On the samples that confirm, ${unlike}.`);
      continue;
    }
    const final = await bench.check('final', choice);
    const last = lacking(final);
    if (!last) return { ...choice, confirmed, final, retries: missed.length };
    missed.push(`${last} on the samples kept for the end`);
    if (refused) break;
    refused = trial;
    log.warning(
      `What \`auto\` chose passes on the samples that chose and confirmed it, but on those kept for the end ${last}. Now only what is more alike is taken, and figures on these samples may be better than those to come: give more \`calibration-data\`, in no particular order.`,
    );
  }
  throw new InputError(refusal(bench.trials, missed, gates));
}

const isMoreAlike = (one: Trial, other: Trial) =>
  one.similarity > other.similarity && (one.channelSimilarity ?? 1) >= (other.channelSimilarity ?? 1);

const qualityOf = ({ similarity, channelSimilarity, notFinite, unequal, metric }: Check) => ({
  similarity,
  channelSimilarity,
  notFinite,
  unequal,
  metric,
});

/** Why there is no choice: the best that was found, and what it lacks. */
function refusal(trials: readonly Trial[], missed: readonly string[], gates: Gates): string {
  const advice = 'lower that limit, give more `calibration-data`, or raise `max-seconds`';
  if (missed.length > 0) {
    return `Nothing that passes is confirmed by other samples: ${missed.join('; ')}; ${advice}.`;
  }
  const models = trials.filter(isModel);
  if (models.length === 0) return 'No way to quantize this model quantizes anything: nothing in it is there to gain.';
  const far = (trial: Trial) => lacksOf(trial, gates, false).reduce((sum, { gap }) => sum + gap, 0);
  const best = models.reduce((nearest, trial) => (far(trial) < far(nearest) ? trial : nearest));
  const lacks = lacksOf(best, gates, false).map(({ text }) => text);
  const lack = lacks.length > 0 ? lacks.join(' and ') : 'it was not timed, because the time was up';
  return `None of ${models.length} models passes. The best is ${describe(best)}, and it lacks: ${lack}; ${advice}.`;
}
