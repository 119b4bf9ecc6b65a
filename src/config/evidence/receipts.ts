import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import type { Log } from '../../receipt/index.ts';
import { parseReceipt, type Receipt } from '../../receipt/index.ts';
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
      const bytes = await readFile(file);
      try {
        found.set(file, { file, bytes, receipt: parseReceipt(bytes.toString('utf8'), file) });
      } catch (error) {
        if (!folder || !(error instanceof InputError)) throw error;
        log.warning(error.message);
      }
    }
  }
  return [...found.values()];
}

/** The newest receipt of each action about exactly these bytes. */
export function receiptsFor(root: string, receipts: readonly FiledReceipt[]): Map<string, FiledReceipt> {
  const newest = new Map<string, FiledReceipt>();
  for (const filed of receipts) {
    const { action, modelRoot, createdAt } = filed.receipt;
    if (modelRoot !== root) continue;
    const known = newest.get(action);
    if (!known || known.receipt.createdAt <= createdAt) newest.set(action, filed);
  }
  return newest;
}

/** Why these receipts do not allow a promotion of the model with this root; empty where they do. */
export function gateReceipts(model: string, root: string, receipts: readonly FiledReceipt[]): string[] {
  const newest = receiptsFor(root, receipts);
  return REQUIRED.flatMap((action) => {
    const filed = newest.get(action);
    if (filed === undefined) {
      const other = receipts.find(({ receipt }) => receipt.action === action);
      const seen = other
        ? `; ${other.file} is about other bytes (root ${other.receipt.modelRoot.slice(0, 12)}…)`
        : `, and no ${action} receipt was found at all`;
      return [
        `No ${action} receipt is about the bytes on disk now (${model}, root ${root.slice(0, 12)}…)${seen}: run ${action} on this file.`,
      ];
    }
    if (filed.receipt.verdict === 'pass') return [];
    return [
      `${filed.file} says '${filed.receipt.verdict}': a model is promoted only when ${action} passes; see that receipt for the figure, mend it and run ${action} again.`,
    ];
  });
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
