import type { Receipt } from '../../receipt/index.ts';
import type { Section } from '../page.ts';
import { fields, sentences } from './read.ts';

/** A section with what all receipts have; an action fills in the rest. */
export function baseSection(receipt: Receipt, title: string): Section {
  const { failures, warnings, notes } = fields(receipt.results);
  return {
    action: receipt.action,
    title,
    verdict: receipt.verdict,
    gates: [],
    facts: [],
    failures: sentences(failures),
    notes: [...sentences(warnings), ...sentences(notes)],
    charts: [],
    tables: [],
    blocks: [],
  };
}

/** Name of the model that the receipt is about, for titles: its file name without folders. */
export function modelName({ inputs, files, action }: Receipt): string {
  const name =
    (action === 'quantize' ? files.find(({ role }) => role === 'written')?.path : inputs.model) ?? files[0]?.path;
  return name?.split(/[\\/]/).at(-1) ?? '';
}
