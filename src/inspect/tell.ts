import path from 'node:path';
import { bytes } from '../bytes.ts';
import { loadEntry } from '../entry.ts';
import { logLine } from '../receipt/index.ts';
import { type Description, terminalTable } from '../report/index.ts';
import type { MethodEstimate, ModelDescription, SignatureValue } from './describe.ts';

/** The description as text for a terminal. */
export function inspectionText(model: ModelDescription): string {
  const parts = descriptions(model).map(({ title, facts, notes, tables }) => {
    const shown = facts.map((fact) => fact.map(logLine) as [string, string]);
    const width = Math.max(0, ...shown.map(([label]) => label.length));
    const lines = [
      ...shown.map(([label, value]) => `${label.padEnd(width)}  ${value}`),
      ...tables.filter(({ rows }) => rows.length > 0).map((table) => terminalTable(table)),
      ...notes.map(logLine),
    ];
    return `${logLine(title)}\n\n${lines.join('\n')}\n`;
  });
  return parts.join('\n');
}

/** The description as one HTML file that needs nothing else. */
export async function inspectionPage(model: ModelDescription): Promise<string> {
  const { htmlDescription } = await loadEntry<typeof import('../report/html-report.ts')>('html-report');
  return htmlDescription(path.basename(model.model), descriptions(model), [['model', model.model]]);
}

/** The same parts for a terminal and for a page. */
function descriptions(model: ModelDescription): Description[] {
  return [overview(model), signature(model), operators(model), weights(model), methods(model)];
}

function overview(model: ModelDescription): Description {
  const { subgraphs, functions, externalFiles } = model;
  const nodes = (list: readonly { nodes: number }[]) => list.reduce((sum, each) => sum + each.nodes, 0);
  const metadata = Object.entries(model.metadata).map(([key, value]): [string, string] => [key, shortened(value, 200)]);
  const facts: [string, string][] = [
    ['size', bytes(model.bytes)],
    ['opsets', model.opsets.map(({ domain, version }) => `${domain} ${version}`).join(', ')],
    ['IR version', String(model.irVersion)],
    ['producer', model.producer],
    ['subgraphs', subgraphs.length > 0 ? `${subgraphs.length} with ${nodes(subgraphs)} nodes` : ''],
    ['functions', functions.length > 0 ? `${functions.length} with ${nodes(functions)} nodes` : ''],
    ...metadata,
  ];
  const rows = externalFiles.map(({ path: file, bytes: size, unused, modified }) => {
    return [file, bytes(size), unused > 0 ? bytes(unused) : '', modified];
  });
  const files = {
    title: 'External data',
    head: ['file', 'size', 'unused', 'modified'],
    rows,
    numeric: [1, 2],
    open: true,
  };
  const filled = facts.filter(([, value]) => value !== '');
  return { title: path.basename(model.model), facts: filled, notes: [], charts: [], tables: [files] };
}

function signature({ inputs, outputs, sizes, states }: ModelDescription): Description {
  const row = (side: string, { name, type, dims }: SignatureValue) => [
    side,
    name,
    type,
    `[${dims.map((size) => shortened(String(size || '?'), 40)).join(', ')}]`,
  ];
  const rows = [...inputs.map((each) => row('input', each)), ...outputs.map((each) => row('output', each))];
  const table = { title: 'Inputs and outputs', head: ['', 'name', 'type', 'shape'], rows, code: [1], open: true };
  const notes: string[] = [];
  if (sizes.length > 0) {
    notes.push(
      `Sizes that would be tried first: ${sizes.map(({ name, role, size }) => `${name}=${size} (${role})`).join(', ')}.`,
    );
  }
  for (const { input, output } of states)
    notes.push(`${input} is a state: it takes what ${output} gave the time before.`);
  return { title: 'Signature', facts: [], notes, charts: [], tables: [table] };
}

function operators({ operators: list }: ModelDescription): Description {
  const rows = list.map(({ operator, count, weightBytes }) => [
    operator,
    String(count),
    weightBytes > 0 ? bytes(weightBytes) : '',
  ]);
  const table = {
    title: 'Operators',
    head: ['operator', 'nodes', 'weights'],
    rows,
    numeric: [1, 2],
    code: [0],
    open: true,
  };
  return { title: 'Operators', facts: [], notes: [], charts: [], tables: [table] };
}

function weights({ weights: { count, bytes: all, byType, largest, shared } }: ModelDescription): Description {
  const facts: [string, string][] = [
    ['in all', `${count}, ${bytes(all)}`],
    ...byType.map(({ type, count: n, bytes: size }): [string, string] => [type, `${n}, ${bytes(size)}`]),
    ['read in several places', shared.count > 0 ? `${shared.count}, ${bytes(shared.bytes)}` : 'none'],
  ];
  const rows = largest.map(({ name, type, dims, bytes: size, readers }) => [
    name,
    type,
    `[${dims.join(', ')}]`,
    bytes(size),
    String(readers),
  ]);
  const table = {
    title: 'Largest',
    head: ['weight', 'type', 'shape', 'size', 'readers'],
    rows,
    numeric: [3, 4],
    code: [0],
    open: true,
  };
  const bars = largest.map(({ name, bytes: size }) => ({ label: name, value: size / 1e6 }));
  return {
    title: 'Weights',
    facts,
    notes: [],
    charts: [{ kind: 'bars', title: 'Largest weights', unit: 'MB', bars }],
    tables: [table],
  };
}

function methods({ bytes: source, methods: list }: ModelDescription): Description {
  const cells = (each: MethodEstimate) =>
    'refused' in each
      ? ['–', '–', '–', '–', each.refused]
      : [
          range(bytes, each.bytes, each.mostBytes),
          range((size) => `${(source / Math.max(1, size)).toFixed(2)} ×`, each.bytes, each.mostBytes),
          String(each.nodesQuantized),
          bytes(each.loadedWeights),
          '',
        ];
  const rows = list.map((each) => [each.bits ? `${each.method}, ${each.bits} bits` : each.method, ...cells(each)]);
  const head = ['method', 'size, about', 'smaller', 'nodes', 'weights in memory', ''];
  const bars = list.flatMap((each) =>
    'refused' in each || !each.bits ? [] : [{ label: `${each.method} ${each.bits}`, value: each.bytes / 1e6 }],
  );
  const chart = {
    kind: 'bars' as const,
    title: 'Size on disk',
    unit: 'MB',
    bars: [{ label: 'as it is', value: source / 1e6 }, ...bars],
  };
  return {
    title: 'What each method would do',
    facts: [],
    notes: list.flatMap((each) => {
      const runs = each.method === 'static' || each.method === 'auto';
      return runs && !('refused' in each) ? each.notes.map((note) => `${each.method}: ${note}`) : [];
    }),
    charts: [chart],
    tables: [{ title: 'Methods', head, rows, numeric: [1, 2, 3, 4], open: true }],
  };
}

/** What lies between two figures, where they differ. */
const range = (text: (size: number) => string, least: number, most = least): string =>
  text(least) === text(most) ? text(least) : `${text(least)} to ${text(most)}`;

const shortened = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length)}…` : text);
