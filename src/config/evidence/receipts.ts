import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { readRegularFile } from '../../read-file.ts';
import type { Log } from '../../receipt/index.ts';
import { type ActionName, parseReceipt, type Receipt } from '../../receipt/index.ts';
import { sha256 } from '../live/files.ts';
import type { ReceiptMention } from '../states/history.ts';

/** A receipt as it lies on disk. */
export interface FiledReceipt {
  file: string;
  bytes: Buffer;
  receipt: Receipt;
}

const REQUIRED = ['checksum', 'validate', 'compare'] as const;
const RECEIPT_NAME = /\.(quantize|checksum|validate|compare|promote-config)\.json$/;

/** Reads receipts: named files must be receipts; of a folder, those that look like receipts by their name. */
export async function readReceipts(places: readonly string[], base: string, log: Log): Promise<FiledReceipt[]> {
  const found = new Map<string, FiledReceipt>();
  for (const place of places) {
    const named = path.resolve(base, place);
    let folder: boolean;
    try {
      folder = (await stat(named)).isDirectory();
    } catch (cause) {
      throw new InputError(`'receipts' names '${named}', which cannot be read (${messageOf(cause)}); check the path.`, {
        cause,
      });
    }
    const names = folder ? (await readdir(named)).filter((name) => RECEIPT_NAME.test(name)).sort() : [];
    for (const file of folder ? names.map((name) => path.join(named, name)) : [named]) {
      try {
        const bytes = await readRegularFile(file, 'The receipt');
        found.set(file, { file, bytes, receipt: parseReceipt(bytes.toString('utf8'), file) });
      } catch (error) {
        if (!folder || !(error instanceof InputError)) throw error;
        log.warning(error.message);
      }
    }
  }
  return [...found.values()];
}

/** The newest receipt of each action about exactly these bytes; of two of the same moment the later one in the list. */
export function receiptsFor(root: string, receipts: readonly FiledReceipt[]): Map<ActionName, FiledReceipt> {
  const newest = new Map<ActionName, FiledReceipt>();
  for (const filed of receipts) {
    const { action, modelRoot, createdAt } = filed.receipt;
    if (modelRoot !== root) continue;
    const known = newest.get(action);
    if (!known || Date.parse(known.receipt.createdAt) <= Date.parse(createdAt)) newest.set(action, filed);
  }
  return newest;
}

/** What receipts say of a promotion. */
export interface ReceiptGate {
  /** Why they do not allow it; empty where they do. */
  problems: string[];
  /** Verdicts that are inconclusive and were let through. */
  inconclusive: string[];
}

/** Whether receipts allow a promotion of the model with this root. */
export function gateReceipts(
  model: string,
  root: string,
  receipts: readonly FiledReceipt[],
  allowInconclusive: boolean,
): ReceiptGate {
  const newest = receiptsFor(root, receipts);
  const gate: ReceiptGate = { problems: [], inconclusive: [] };
  for (const action of REQUIRED) {
    const filed = newest.get(action);
    if (filed === undefined) gate.problems.push(missingReceipt(model, root, action, receipts));
    else if (filed.receipt.verdict === 'inconclusive' && allowInconclusive && !answeredByCache(filed.receipt)) {
      gate.inconclusive.push(`${filed.file} says 'inconclusive' of ${model}.`);
    } else if (filed.receipt.verdict !== 'pass') {
      gate.problems.push(
        `${filed.file} says '${filed.receipt.verdict}': a model is promoted only when ${action} passes; see that receipt for the figure, mend it and run ${action} again.`,
      );
    }
  }
  return gate;
}

/** Whether times are too good to be the model's: noise may be allowed, that may not. */
function answeredByCache({ results }: Receipt): boolean {
  const { hygiene } = results as { hygiene?: unknown };
  return Array.isArray(hygiene) && hygiene.some((finding) => (finding as { kind?: unknown } | null)?.kind === 'cached');
}

/** Receipts are named after their model: those of other models in the same folder say nothing about this one. */
function missingReceipt(
  model: string,
  root: string,
  action: (typeof REQUIRED)[number],
  receipts: readonly FiledReceipt[],
): string {
  const name = `${path.posix.parse(model).name}.${action}.json`;
  const others = receipts
    .filter(({ file, receipt }) => receipt.action === action && path.basename(file) === name)
    .map(({ file, receipt }) => `${file} is about other bytes (root ${receipt.modelRoot.slice(0, 12)}…)`);
  const seen =
    others.length > 0 ? `; ${others.join(', and ')}` : `, and there is no ${name} where receipts are looked for`;
  return `No ${action} receipt is about the bytes on disk now (${model}, root ${root.slice(0, 12)}…)${seen}: run ${action} on this file.`;
}

/** Resident memory in MB that the newest validate receipt has measured for these bytes. */
export function measuredMemoryMb(root: string, receipts: readonly FiledReceipt[]): number | undefined {
  const receipt = receiptsFor(root, receipts).get('validate')?.receipt;
  return receipt && residentMb(receipt);
}

/** The resident memory (MB) in a validate receipt. */
export function residentMb({ results }: Receipt): number | undefined {
  const { memoryMb } = results;
  return typeof memoryMb === 'number' && Number.isFinite(memoryMb) ? memoryMb : undefined;
}

/** A memory limit from a measurement: plus headroom, rounded up to 50 MB. */
export function memoryLimitMb(measuredMb: number, headroomPercent: number): number {
  // Rounding off the float noise first: 1000 × 1.1 is 1100.0000000000002, and would become 1150.
  const needed = Number((measuredMb * (1 + headroomPercent / 100)).toFixed(6));
  return Math.ceil(needed / 50) * 50;
}

export function mention({ file, bytes, receipt }: FiledReceipt): ReceiptMention {
  const { action, verdict, createdAt } = receipt;
  return { action, file, sha256: sha256(bytes), verdict, createdAt };
}
