import type { ActionName, Verdict } from '../receipt/index.ts';

/** What a receipt says to people, before anyone decides between Markdown and HTML. All texts are plain: no markup. */
export interface Section {
  action: ActionName;
  title: string;
  verdict: Verdict;
  /** What the step came to, in a few words, for a list of steps: `2 files, 1.07 GB, match`. */
  gist: string;
  /** The two models side by side. A page about several steps shows it once, above them all. */
  sides?: Table;
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

/** What a page says first. */
export interface Headline {
  /** `3.97 × smaller · 3.41 × faster · 0.994 alike · promoted`, or why not, and what to do. */
  text: string;
  verdict: Verdict;
}

/** A step that was to come and did not. */
export interface Skipped {
  title: string;
  why: string;
}

/** Steps in the order they ran, under one headline. */
export interface Page {
  title: string;
  headline?: Headline;
  sections: Section[];
  skipped: Skipped[];
  /** Why the whole ended, where no section says it. */
  failures: string[];
}

/** A section without a verdict: what something is like. */
export type Description = Pick<Section, 'title' | 'facts' | 'notes' | 'charts' | 'tables'>;

export interface GateRow {
  name: string;
  figure: string;
  limit: string;
  verdict: Verdict | 'info';
  /** Names the rows below it, up to the next. */
  group?: boolean;
}

/** Whether the columns of limit and verdict hold anything. */
export const isJudged = (gates: readonly GateRow[]): boolean =>
  gates.some(({ limit, verdict }) => limit !== '' || verdict !== 'info');

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

export type Chart = BarChart | StripChart | RunChart | TrendChart | TradeChart;

/** One bar per label, from zero. A limit is drawn across the bars that it limits, and no others. */
export interface BarChart {
  kind: 'bars';
  title: string;
  unit: string;
  bars: { label: string; value: number; limit?: number | undefined }[];
}

/** One value per label with the range about it, on an axis that need not begin at zero, each against its own limit. */
export interface StripChart {
  kind: 'strip';
  title: string;
  unit: string;
  rows: {
    label: string;
    value: number;
    low?: number | undefined;
    high?: number | undefined;
    limit?: number | undefined;
    /** What the value is the mean of, where that is known. */
    points?: number[];
  }[];
  /** A value that all are held against without its being a limit. */
  mark?: { value: number; label: string };
  /** The best that a value can be: where lines cannot show a range, bars show the distance from it. */
  ideal?: number;
}

/** Single measurements in the order they were made with their median, one series per model. */
export interface RunChart {
  kind: 'runs';
  title: string;
  unit: string;
  series: { name: string; values: number[] }[];
}

/** A figure over past runs. */
export interface TrendChart {
  kind: 'trend';
  title: string;
  unit: string;
  points: { label: string; value: number }[];
  limit?: number | undefined;
}

/** What was tried, by what is gained and what is kept: better lies to the right and up. */
export interface TradeChart {
  kind: 'trade';
  title: string;
  x: string;
  y: string;
  points: { label: string; x: number; y: number; chosen: boolean }[];
  /** Of what is kept. */
  limit?: number | undefined;
}
