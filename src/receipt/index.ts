export { inputName, inputsOf } from './inputs.ts';
export { guardedLog, type Log, logLine, type Place, type Progress, silentLog } from './log.ts';
export {
  type ActionName,
  createReceipt,
  type Environment,
  type FileIdentity,
  parseReceipt,
  pathInReceipt,
  type Receipt,
  type ReceiptContent,
  readReceipt,
  receiptPath,
  type Verdict,
  writeReceipt,
} from './receipt.ts';
export { removeLeftovers, replaceFile } from './replace-file.ts';
