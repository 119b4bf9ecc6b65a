export { codeBlock, escapeMarkdown, inlineCode, markdownTable, SUMMARY_BYTES } from './markdown.ts';
export type { Chart, Description, Section, Table } from './page.ts';
export { sectionOf } from './sections/index.ts';
export { actionSummary, pipelineSummary } from './summary.ts';
export { terminalTable } from './terminal.ts';
export { terminalReport } from './terminal-report.ts';
