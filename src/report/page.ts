import type { ActionName, Verdict } from '../receipt/index.ts';

/** What a receipt says to people, before anyone decides between Markdown and HTML. All texts are plain: no markup. */
export interface Section {
  action: ActionName;
  title: string;
  verdict: Verdict;
  /** Each limit with the figure held against it; figures without a limit are `info`. */
  gates: GateRow[];
  /** A few things to know, as label and value. */
  facts: [label: string, value: string][];
  /** Sentences: why the verdict is not pass. */
  failures: string[];
  /** Sentences that are no failures. */
  notes: string[];
  charts: Chart[];
  /** Longer lists, folded in the summary. */
  tables: Table[];
  /** Text kept as it is, such as a diff. */
  blocks: Block[];
}

/** A section without a verdict: what something is like. */
export type Description = Pick<Section, 'title' | 'facts' | 'notes' | 'charts' | 'tables'>;

export interface GateRow {
  name: string;
  figure: string;
  limit: string;
  verdict: Verdict | 'info';
}

export interface Table {
  title: string;
  head: string[];
  rows: string[][];
  /** Columns of numbers, aligned to the right. */
  numeric?: number[];
  /** Columns of names, set as code. */
  code?: number[];
  /** Shown at once instead of folded. */
  open?: boolean;
}

export interface Block {
  title: string;
  language: 'diff' | 'text' | 'yaml' | 'python' | 'js';
  text: string;
}

export type Chart = BarChart | RunChart | TrendChart;

/** One bar per label, and a line for the limit. */
export interface BarChart {
  kind: 'bars';
  title: string;
  unit: string;
  bars: { label: string; value: number }[];
  limit?: number | undefined;
}

/** Single measurements in the order they were made, one series per model. */
export interface RunChart {
  kind: 'runs';
  title: string;
  unit: string;
  series: { name: string; values: number[] }[];
  limit?: number | undefined;
}

/** A figure over past runs. */
export interface TrendChart {
  kind: 'trend';
  title: string;
  unit: string;
  points: { label: string; value: number }[];
  limit?: number | undefined;
}
