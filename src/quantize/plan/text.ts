import { bytes } from '../../bytes.ts';
import { logLine } from '../../receipt/index.ts';
import type { Plan, PlannedNode } from './plan.ts';

/** The plan as text for a terminal: what happens to each node and why, then the totals. */
export function planText(plan: Plan): string {
  const tells = ({ before, form }: PlannedNode) => before > 0 || form !== 'kept';
  const withWeights = plan.nodes.filter(tells);
  const rows = [
    ['node', 'operator', 'form', 'before', 'after', 'why'],
    ...withWeights.map((node) => [
      shortened(node.name),
      node.opType,
      node.form,
      bytes(node.before),
      bytes(node.after),
      node.reason,
    ]),
  ];
  const { before, quantized, after } = plan.weights;
  const share = before > 0 ? ((100 * quantized) / before).toFixed(1) : '0.0';
  return [
    `Plan for ${plan.model} (${plan.method}) → ${plan.output}`,
    '',
    ...aligned(rows.map((row) => row.map(logLine))),
    '',
    ...others(plan.nodes.filter((node) => !tells(node))).map(logLine),
    `Nodes quantized: ${plan.nodesQuantized} of ${plan.nodes.filter((node) => node.before > 0).length} with weights`,
    `Weights: ${bytes(before)} → ${bytes(after)}; ${share} % of the bytes are quantized`,
    `Disk: about ${bytes(plan.disk)} for the result; what stands at the output stays until it is complete`,
    `Memory: at most ${bytes(plan.quantizeMemory)} to quantize; about ${bytes(plan.loadedWeights)} of weights once loaded`,
    ...plan.notes.map((note) => logLine(`Note: ${note}`)),
  ].join('\n');
}

/** Nodes without weights, counted by operator and reason. */
function others(nodes: readonly PlannedNode[]): string[] {
  const counts = new Map<string, number>();
  for (const { opType, reason } of nodes) {
    const key = `${opType}: ${reason}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  if (counts.size === 0) return [];
  return ['Kept without weights:', ...[...counts].map(([key, count]) => `  ${count} × ${key}`), ''];
}

function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (RIGHT.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** Columns of numbers. */
const RIGHT = new Set([3, 4]);
const LONGEST_NAME = 60;

/** The end of a long name tells more than its beginning. */
function shortened(name: string): string {
  return name.length > LONGEST_NAME ? `…${name.slice(1 - LONGEST_NAME)}` : name;
}
