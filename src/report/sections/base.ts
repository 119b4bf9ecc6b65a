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
    gist: '',
    gates: [],
    facts: [],
    failures: sentences(failures),
    notes: [...sentences(warnings), ...sentences(notes)],
    charts: [],
    tables: [],
    blocks: [],
  };
}

/** What the two models of a comparison are called. */
export interface ModelNames {
  source: string;
  model: string;
}

/**
 * By their precision, where a receipt says how the model was quantized (only FP32 weights are), and otherwise by their
 * files.
 */
export function modelNames(receipt: Receipt): ModelNames {
  const { method, bits, model, reference } = receipt.inputs;
  // What `auto` chose, a comparison's receipt does not say: it may be FP16.
  if (method !== undefined && method !== 'auto')
    return { source: 'FP32', model: method === 'fp16' ? 'FP16' : `INT${bits ?? '8'}` };
  const names = { source: fileName(reference ?? ''), model: fileName(model ?? '') };
  return names.source === names.model ? { source: reference ?? '', model: model ?? '' } : names;
}

function fileName(file: string): string {
  return file.split(/[\\/]/).at(-1) ?? '';
}

/** Name of the model that the receipt is about, for titles: its file name without folders. */
export function modelName({ inputs, files, action }: Receipt): string {
  const name =
    (action === 'quantize' ? files.find(({ role }) => role === 'written')?.path : inputs.model) ?? files[0]?.path;
  return fileName(name ?? '');
}
