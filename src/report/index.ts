export { VERSION } from '../version.generated.ts';
export { type Log, type Place, type Progress, silentLog } from './log.ts';
export { codeBlock, escapeMarkdown, inlineCode, markdownTable, SUMMARY_BYTES } from './markdown.ts';
export type { Chart, Section, Table } from './page.ts';
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
export { replaceFile } from './replace-file.ts';
export { sectionOf } from './sections/index.ts';
export { actionSummary, pipelineSummary } from './summary.ts';
export { terminalTable } from './terminal.ts';
