import path from 'node:path';
import { silentLog } from '../../receipt/index.ts';
import { type ModelIdentity, modelFile } from '../evidence/models.ts';
import { type FiledReceipt, readReceipts } from '../evidence/receipts.ts';
import type { HistoryEntry } from '../states/history.ts';
import { longestWaits } from '../states/states.ts';

export interface WaitOptions {
  /** Given by the user, s. */
  healthTimeout?: number | undefined;
  receipts?: readonly string[] | undefined;
}

/** Waits are this long at least and at most, ms. The time limits of the workflows' jobs exceed the longest. */
const SHORTEST_WAIT_MS = 60_000;
const LONGEST_WAIT_MS = 900_000;
const UNKNOWN_LOAD_MS = 60_000;

/**
 * How long health is waited for, ms: what the user says; otherwise three times what is known of this model, and 30 s.
 * Known is the longest wait in the history, else the load time in a validate receipt, else that of the reference in a
 * compare receipt, else 60 s. A model that loads slowly is not a broken one.
 */
export async function healthWaitMs(
  { healthTimeout, receipts }: WaitOptions,
  model: ModelIdentity | undefined,
  history: readonly HistoryEntry[],
  projectRoot: string,
): Promise<number> {
  if (healthTimeout !== undefined) return healthTimeout * 1000;
  const waited = model && longestWaits(history).get(model.root ?? model.path);
  const loadMs = waited ?? (model && (await measuredLoadMs(model, receipts ?? [], projectRoot))) ?? UNKNOWN_LOAD_MS;
  return Math.min(Math.max(loadMs * 3 + 30_000, SHORTEST_WAIT_MS), LONGEST_WAIT_MS);
}

async function measuredLoadMs(
  model: ModelIdentity,
  places: readonly string[],
  projectRoot: string,
): Promise<number | undefined> {
  const file = modelFile(model.path, projectRoot);
  const all: FiledReceipt[] = [];
  for (const place of [path.dirname(file), ...places]) {
    // Receipts only make the guess better: one that cannot be read is passed over here.
    all.push(...(await readReceipts([place], projectRoot, silentLog).catch(() => [])));
  }
  const sorted = all.toSorted((a, b) => Date.parse(b.receipt.createdAt) - Date.parse(a.receipt.createdAt));
  const stem = path.parse(file).name;
  const isOurs = (root: string | undefined, name: string) =>
    model.root === undefined || root === undefined ? path.parse(name).name === stem : root === model.root;
  for (const { receipt } of sorted) {
    const { action, results, modelRoot, inputs } = receipt;
    if (action === 'validate' && isOurs(modelRoot, inputs.model ?? '')) {
      const ms = numberOf(results.loadMs);
      if (ms !== undefined) return ms;
    }
  }
  for (const { receipt } of sorted) {
    const { action, results, inputs } = receipt;
    const reference = (results.reference ?? {}) as { loadMs?: unknown; root?: unknown };
    if (action !== 'compare') continue;
    const root = typeof reference.root === 'string' ? reference.root : undefined;
    const ms = numberOf(reference.loadMs);
    if (ms !== undefined && isOurs(root, inputs.reference ?? '')) return ms;
  }
  return undefined;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
