export { inputName, inputsOf } from './inputs.ts';
export { appendJsonLine, isJsonObject, type JsonLine, parseJsonLines, syncFolder } from './json-lines.ts';
export { guardedLog, jsonLine, type Log, logLine, logLines, type Place, type Progress, silentLog } from './log.ts';
export {
  type ActionName,
  createReceipt,
  type Environment,
  type FileIdentity,
  isActionName,
  isVerdict,
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
