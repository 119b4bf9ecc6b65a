import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { bytes } from '../../bytes.ts';
import { logLine } from '../../receipt/index.ts';
import { modelBytes, modelFile, modelFilePaths, modelPathOf, verifyModel } from '../evidence/models.ts';
import { DEFAULT_MEMORY_KEY, DEFAULT_MODEL_PATH_KEY, type LiveOptions } from '../options.ts';
import { scalarOf } from '../yaml/edit.ts';
import { allKeys } from '../yaml/keys.ts';
import { decodeYaml, parseYaml } from '../yaml/parse.ts';
import type { Observed } from './observe.ts';
import type { State } from './states.ts';

/** A state as people see it. */
export interface ListedState {
  id: string;
  live: boolean;
  /** As the config names it; absent where it named none. */
  model?: string;
  root?: string;
  memoryMb?: number;
  /** Size of the model's files on disk, bytes; absent where they are not all there. */
  size?: number;
  /** What differs between the model's files and what was recorded; empty where they are whole. */
  problems: string[];
  /** ISO 8601: when it became live the last time. */
  since: string;
  by: State['by'];
  who: string;
  /** Whether the service was healthy on it. */
  proved: boolean;
  forced: boolean;
  /** What returns to it. */
  command?: string;
}

/** Where a config stands, and where it can go from here. */
export interface StateListing {
  config: string;
  modelPathKey: string;
  /** The live state first. */
  states: ListedState[];
  /** Files of models that were live and that nothing needs any more. Bytes. */
  unneeded: { path: string; size: number }[];
}

/** Lists the live state and the earlier ones, newest first, and looks at their files. */
export async function listStates(
  observed: Observed,
  config: { file: string; bytes: Buffer },
  options: LiveOptions,
  projectRoot: string,
): Promise<StateListing> {
  const { states, memoryKey } = observed;
  const listed: ListedState[] = [];
  for (const [index, state] of states.stack.toReversed().entries()) {
    const { model, keys, id, since, by, who, proved, forced } = state;
    const memory = index === 0 ? observed.memoryMb : keys.get(memoryKey)?.value;
    const size = model && (await modelBytes(model.path, projectRoot));
    const problems = model ? await stateProblems(state, projectRoot) : [];
    listed.push({
      id,
      live: index === 0,
      ...(model ? { model: model.path } : {}),
      ...(model?.root === undefined ? {} : { root: model.root }),
      ...(typeof memory === 'number' ? { memoryMb: memory } : {}),
      ...(size === undefined ? {} : { size }),
      problems,
      since,
      by,
      who,
      proved,
      forced: forced.length > 0,
      ...(index === 0 ? {} : { command: rollbackCommand(options, id) }),
    });
  }
  return {
    config: config.file,
    modelPathKey: observed.pathKey,
    states: listed,
    unneeded: await unneededFiles(observed, config, projectRoot),
  };
}

/** Why a state's model cannot be live; empty where its files are whole. */
export async function stateProblems({ model }: State, projectRoot: string, full = false): Promise<string[]> {
  if (model === undefined) return [];
  if (model.files.length > 0) return verifyModel(model, projectRoot, full);
  const file = modelFile(model.path, projectRoot);
  return existsSync(file) ? [] : [`${file} is not there; bring it back, from a backup or the artifact.`];
}

/** The listing as lines for a terminal or a log. */
export function listingText({ states, unneeded }: StateListing): string[] {
  const [live, ...earlier] = states;
  const lines = live ? [`Live: ${describeState(live)}, since ${live.since} through ${live.by} by ${live.who}.`] : [];
  if (earlier.length === 0) lines.push('There is no earlier state to return to.');
  else lines.push('Earlier states, newest first:');
  for (const state of earlier) {
    lines.push(`  ${state.id}  ${describeState(state)}`);
    lines.push(`    ${state.problems.length > 0 ? state.problems.join(' ') : state.command}`);
  }
  if (unneeded.length > 0) {
    const total = unneeded.reduce((sum, { size }) => sum + size, 0);
    lines.push(
      `Files of models that nothing needs any more (${bytes(total)}): ${unneeded.map((each) => each.path).join(', ')}`,
    );
  }
  return lines;
}

/** The listing as Markdown, for a job's summary. */
export function listingMarkdown(listing: StateListing): string {
  const rows = listing.states.map((state) => {
    const files = state.problems.length === 0 ? 'whole' : `**not whole**: ${cell(state.problems.join(' '))}`;
    const go = state.live ? '**live**' : state.problems.length > 0 ? '–' : `\`${cell(state.command ?? '')}\``;
    const memory = state.memoryMb === undefined ? '–' : `${state.memoryMb} MB`;
    const size = state.size === undefined ? '–' : bytes(state.size);
    const proved = state.proved ? 'healthy' : 'not proved';
    return `| \`${cell(state.id)}\` | \`${cell(state.model ?? '(none)')}\` | ${memory} | ${size} | ${files} | ${cell(state.since)} by ${cell(state.who)} (${state.by}, ${proved}) | ${go} |`;
  });
  const unneeded = listing.unneeded.map(({ path: name, size }) => `- \`${cell(name)}\`, ${bytes(size)}`);
  return [
    `## What is live: ${cell(listing.config)}`,
    '',
    '| id | model | memory | size | files | live since | to return |',
    '|---|---|---:|---:|---|---|---|',
    ...rows,
    ...(unneeded.length > 0 ? ['', 'Files of models that nothing needs any more:', '', ...unneeded] : []),
    '',
  ].join('\n');
}

/** "models/a.onnx (1200 MB, 1.1 GB on disk, forced)" */
export function describeState(state: Pick<ListedState, 'model' | 'memoryMb' | 'size' | 'forced'>): string {
  const facts = [
    ...(state.memoryMb === undefined ? [] : [`memory limit ${state.memoryMb} MB`]),
    ...(state.size === undefined ? [] : [`${bytes(state.size)} on disk`]),
    ...(state.forced ? ['forced'] : []),
  ];
  return `${state.model ?? 'no model'}${facts.length > 0 ? ` (${facts.join(', ')})` : ''}`;
}

/** What to type to return to a state; the service's inputs as they were given to this run. */
export function rollbackCommand(options: LiveOptions, to: string | undefined): string {
  return command('rollback', options, [['to', to]]);
}

export function promoteCommand(options: LiveOptions, model: string, memoryMb: number | undefined): string {
  return command('promote', options, [
    ['model', model],
    ['config-memory-mb', memoryMb === undefined ? undefined : String(memoryMb)],
  ]);
}

function command(mode: string, options: LiveOptions, more: [string, string | undefined][]): string {
  const flags: [string, string | number | undefined][] = [
    ['mode', mode],
    ['project-root', options.projectRoot],
    ['config', options.config],
    ...more,
    ['model-path-key', options.modelPathKey === DEFAULT_MODEL_PATH_KEY ? undefined : options.modelPathKey],
    ['memory-key', options.memoryKey === DEFAULT_MEMORY_KEY ? undefined : options.memoryKey],
    ['restart-command', options.restartCommand],
    ['health-command', options.healthCommand],
    ['health-url', options.healthUrl],
    ['health-json-path', options.healthJsonPath],
    ['health-expected', options.healthExpected],
  ];
  const given = flags.flatMap(([flag, value]) =>
    value === undefined || value === '' ? [] : [`--${flag} ${quoted(String(value))}`],
  );
  return `onnx-quantize-actions promote-config ${given.join(' ')}`;
}

function quoted(text: string): string {
  return /^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * Files of models that were live and that nothing needs: no state, no key of the config, no entry of another key or
 * config.
 */
async function unneededFiles(
  { history, states, list }: Observed,
  config: { file: string; bytes: Buffer },
  projectRoot: string,
): Promise<StateListing['unneeded']> {
  const inConfig = allKeys(parseYaml(decodeYaml(config.bytes, config.file), config.file)).map(scalarOf);
  const elsewhere = history.filter(
    (entry) => entry.list && entry.list.key + entry.list.config !== list.key + list.config,
  );
  const named = [...states.stack, ...elsewhere].map(({ model }) => model?.path);
  const needed = new Set<string>();
  for (const name of [...named, ...inConfig]) {
    if (typeof name !== 'string' || name === '') continue;
    for (const file of await modelFilePaths(name, projectRoot)) needed.add(file);
  }
  const found = new Map<string, number>();
  for (const { path: name, files } of history.flatMap(({ model, previous }) => [model ?? [], previous ?? []].flat())) {
    const file = modelFile(name, projectRoot);
    for (const each of [file, ...files.map((state) => path.join(path.dirname(file), state.path))]) {
      if (needed.has(each)) continue;
      const info = await stat(each).catch(() => undefined);
      if (info?.isFile()) found.set(each, info.size);
    }
  }
  return [...found].map(([file, size]) => ({ path: modelPathOf(file, projectRoot), size }));
}

/** Text in a cell of a table. */
function cell(text: string): string {
  return logLine(text).replaceAll('|', '\\|').replaceAll('`', "'").replaceAll('<', '&lt;');
}
