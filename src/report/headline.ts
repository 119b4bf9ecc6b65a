import type { Receipt, Verdict } from '../receipt/index.ts';
import { share } from './format.ts';
import type { Headline, Section, Skipped } from './page.ts';
import { type Fields, fields, numberOf } from './sections/read.ts';

/**
 * The answer before all figures: how much smaller, how much faster, how alike, and whether the model is in use; if not,
 * the first thing that stood in the way, with what to do about it.
 * @param failures why the chain ended, where no receipt says so.
 */
export function headlineOf(
  receipts: readonly Receipt[],
  sections: readonly Section[],
  failures: readonly string[],
): Headline | undefined {
  if (receipts.length === 0) return undefined;
  const verdict = overall(sections, failures);
  const [because] = [
    ...sections.flatMap((section) => (section.verdict === 'pass' ? [] : section.failures)),
    ...failures,
  ];
  const parts = [...figures(receipts), ending(receipts, verdict, because)];
  return { text: parts.filter((part) => part !== '').join(' · '), verdict };
}

/** The steps of a chain that was ended before them. */
export function skippedSteps(receipts: readonly Receipt[], failures: readonly string[]): Skipped[] {
  const quantize = receipts.find(({ action }) => action === 'quantize');
  // Only a chain writes its promotion's inputs into its first receipt.
  if (quantize === undefined || quantize.inputs.delivery === undefined) return [];
  const made = new Set(receipts.map(({ action }) => action));
  const failed = failures.length > 0 || receipts.some(({ verdict }) => verdict !== 'pass');
  const why = failed ? 'skipped: a step before it did not pass' : 'skipped';
  const steps = [
    ['checksum', 'Checksum'],
    ['validate', 'Validate'],
    ['compare', 'Compare'],
    ...((quantize.inputs.config ?? '') === '' ? [] : [['promote-config', 'Promote'] as const]),
  ] as const;
  return steps.flatMap(([action, title]) => (made.has(action) ? [] : [{ title, why }]));
}

function overall(sections: readonly Section[], failures: readonly string[]): Verdict {
  const has = (wanted: Verdict) => sections.some(({ verdict }) => verdict === wanted);
  if (has('fail') || (failures.length > 0 && !has('inconclusive'))) return 'fail';
  return has('inconclusive') ? 'inconclusive' : 'pass';
}

function figures(receipts: readonly Receipt[]): string[] {
  const results = (action: Receipt['action']) => fields(receipts.findLast((each) => each.action === action)?.results);
  const compared = results('compare');
  const [was, is] = [numberOf(fields(compared.reference).size), numberOf(fields(compared.model).size)];
  const ratio = numberOf(results('quantize').compressionRatio) ?? (was && is ? was / is : undefined);
  const similarity = numberOf(compared.similarity);
  return [
    ...times(ratio, 'smaller', 'larger'),
    ...pace(fields(compared.speed)),
    ...(similarity === undefined ? [] : [`${rounded(similarity)} alike`]),
  ];
}

/** How much faster; `as fast` where the interval holds both, and where the digits that are shown tell no difference. */
function pace({ speedup, interval }: Fields): string[] {
  const [value, low, high] = [speedup, fields(interval).low, fields(interval).high].map(numberOf);
  if (value === undefined) return [];
  const open = low !== undefined && high !== undefined && low < 1 && high > 1;
  const same = Math.max(value, 1 / value).toPrecision(2) === '1.0';
  return open || same ? ['as fast'] : times(value, 'faster', 'slower');
}

/** `3.9 × smaller`, or the other way about for a ratio below one. */
function times(ratio: number | undefined, more: string, less: string): string[] {
  if (ratio === undefined || ratio <= 0) return [];
  return [ratio >= 1 ? `${ratio.toPrecision(2)} × ${more}` : `${(1 / ratio).toPrecision(2)} × ${less}`];
}

/** Three digits, without rounding up to 1 what is not. */
function rounded(similarity: number): string {
  return similarity < 1 && similarity > 0.9995 ? share(Math.floor(similarity * 1e5) / 1e5) : similarity.toFixed(3);
}

/** What became of the model. */
function ending(receipts: readonly Receipt[], verdict: Verdict, because: string | undefined): string {
  const promotion = receipts.findLast(
    ({ action, inputs }) => action === 'promote-config' && inputs.mode !== 'check' && inputs.mode !== 'verify',
  );
  const back = promotion?.inputs.mode === 'rollback';
  const done = back ? 'rolled back' : 'promoted';
  if (promotion?.verdict === 'pass') {
    const { changed } = fields(promotion.results);
    if (promotion.inputs['dry-run'] === 'true') return `would be ${done}`;
    return changed === false ? 'already in use' : done;
  }
  if (verdict === 'pass') return receipts.length > 1 ? 'all checks passed' : 'passed';
  const asked = promotion !== undefined || receipts.some(({ inputs }) => (inputs.config ?? '') !== '');
  const not = asked ? `not ${done}` : verdict === 'fail' ? 'failed' : 'undecided';
  // A sentence goes on: `The similarity …`, but not `P50 latency …`.
  const reason = because?.replace(/^[A-Z](?=[a-z]* )/, (letter) => letter.toLowerCase());
  return reason === undefined ? not : `${not} because ${reason}`;
}
