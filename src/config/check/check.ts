import { access, readdir } from 'node:fs/promises';
import path from 'node:path';
import { isScalar, visit } from 'yaml';
import { InputError, messageOf } from '../../errors.ts';
import { matchesGlob } from '../../glob.ts';
import { digestFiles } from '../../model/index.ts';
import { readRegularFileIfThere } from '../../read-file.ts';
import {
  createReceipt,
  type Receipt,
  receiptPath,
  silentLog,
  type Verdict,
  writeReceipt,
} from '../../receipt/index.ts';
import { environment } from '../../runtime/index.ts';
import { runGit } from '../delivery/git.ts';
import { manifestProblem } from '../evidence/models.ts';
import { type FiledReceipt, readReceipts } from '../evidence/receipts.ts';
import { readConfig } from '../live/files.ts';
import { type ConfigContext, DEFAULT_MEMORY_KEY, DEFAULT_MODEL_PATH_KEY } from '../options.ts';
import { UNKNOWN_ROOT } from '../outcome.ts';
import { scalarOf } from '../yaml/edit.ts';
import { allKeys, findKey, joinKey, type KeySite, splitKey } from '../yaml/keys.ts';
import { decodeYaml, parseYaml, syntaxProblems, type YamlFile } from '../yaml/parse.ts';
import { type Budget, computeBudget, gb, measuredFor } from './budget.ts';
import { annotations, type Finding, sortFindings } from './findings.ts';
import { nearMiss } from './near-miss.ts';
import { type BudgetRules, NO_RULES, parseRules } from './rules.ts';

export interface CheckOptions {
  /** The YAML config; a relative path starts at `projectRoot`. */
  config: string;
  projectRoot?: string | undefined;
  /** Rules of the memory budget; `model-budget.yaml` beside the config unless given. */
  budget?: string | undefined;
  /** Receipts, or folders of them; `receipts/` beside the config unless given. */
  receipts?: readonly string[] | undefined;
  /** Git ref to compare the budget with. */
  baseRef?: string | undefined;
  modelPathKey?: string | undefined;
  memoryKey?: string | undefined;
  /** Folder for the receipt; the config's own unless given. */
  report?: string | undefined;
}

export interface CheckResult {
  verdict: Verdict;
  failures: string[];
  /** All findings, errors first. */
  findings: Finding[];
  /** The same under GitHub's limits. */
  annotations: Finding[];
  budget?: { before?: Budget; after: Budget };
  receipt: Receipt;
  /** Path of the receipt. */
  report: string;
}

/**
 * Checks a config for a pull request: syntax, duplicate and almost-known keys, model files and their manifest, memory
 * limits against measurements, the memory budget before and after. Needs no model files and changes nothing.
 */
export async function checkConfig(options: CheckOptions, context: ConfigContext = {}): Promise<CheckResult> {
  const { log = silentLog, now = () => new Date() } = context;
  const projectRoot = path.resolve(options.projectRoot ?? '.');
  const configFile = path.resolve(projectRoot, options.config);
  const name = path.relative(projectRoot, configFile).replaceAll(path.sep, '/');
  const file = parseYaml(decodeYaml(await readConfig(configFile), name), name);

  const findings: Finding[] = [];
  let budget: CheckResult['budget'];
  const problems = syntaxProblems(file);
  for (const { offset, message } of problems) {
    findings.push({ severity: 'error', rule: 'syntax', message: `${message}.`, place: file.place(offset) });
  }
  if (problems.length === 0) {
    const receipts = await committedReceipts(options, configFile, projectRoot, context);
    const rules = await readRules(options, configFile, projectRoot);
    const base = options.baseRef ? await baseFile(options.baseRef, configFile, name, context) : undefined;
    findings.push(...duplicateKeys(file));
    findings.push(...nearMisses(file, rules, options));
    findings.push(...(await modelFiles(file, base, rules, receipts, projectRoot)));
    findings.push(...memoryLimits(file, receipts));
    if (rules !== NO_RULES && findings.every(({ rule }) => rule !== 'duplicate-key')) {
      try {
        budget = { after: computeBudget(file, rules, receipts) };
        if (base && syntaxProblems(base).length === 0) budget.before = computeBudget(base, rules, receipts);
        findings.push(...overBudget(file, rules, budget));
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        findings.push({ severity: 'error', rule: 'rules', message: error.message, place: { file: name, line: 1 } });
      }
    }
  }

  const sorted = sortFindings(findings);
  const errors = sorted.filter(({ severity }) => severity === 'error');
  const failures = errors.map(({ place, message }) => `${place.file}:${place.line ?? 1}: ${message}`);
  const verdict: Verdict = errors.length === 0 ? 'pass' : 'fail';
  const report = receiptPath(configFile, 'promote-config', options.report);
  const { files } = await digestFiles([configFile]);
  const receipt = createReceipt<Record<string, unknown>>({
    now: now(),
    action: 'promote-config',
    inputs: { mode: 'check', config: options.config, ...(options.baseRef ? { 'base-ref': options.baseRef } : {}) },
    modelRoot: UNKNOWN_ROOT,
    files: files.map(({ size, root }) => ({ path: path.basename(configFile), role: 'read', size, root })),
    environment: environment(),
    results: { findings: sorted, ...(budget ? { budget } : {}) },
    verdict,
  });
  await writeReceipt(receipt, report);
  log.info(`${name}: errors ${errors.length}, other findings ${sorted.length - errors.length}.`);
  return {
    verdict,
    failures,
    findings: sorted,
    annotations: annotations(sorted),
    ...(budget ? { budget } : {}),
    receipt,
    report,
  };
}

function duplicateKeys(file: YamlFile): Finding[] {
  const findings: Finding[] = [];
  for (const document of file.documents) {
    visit(document, {
      Map(_key, map) {
        const seen = new Map<string, number>();
        for (const pair of map.items) {
          if (!isScalar(pair.key)) continue;
          const key = String(pair.key.value);
          const offset = pair.key.range?.[0] ?? 0;
          const first = seen.get(key);
          // Several `<<` are common practice, although YAML does not allow them.
          if (first === undefined || key === '<<') seen.set(key, offset);
          else {
            findings.push({
              severity: 'error',
              rule: 'duplicate-key',
              message: `'${key}' stands here again after line ${file.at(first).line}: readers take one of the two silently; remove one.`,
              place: file.place(offset),
            });
          }
        }
      },
    });
  }
  return findings;
}

/** A key that is almost a known one is an error where the known one is missing beside it, else a warning. */
function nearMisses(file: YamlFile, rules: BudgetRules, options: CheckOptions): Finding[] {
  const known = new Set([
    ...splitKey(options.modelPathKey ?? DEFAULT_MODEL_PATH_KEY).slice(-2),
    ...splitKey(options.memoryKey ?? DEFAULT_MEMORY_KEY).slice(-2),
    ...(rules.limit ? splitKey(rules.limit) : []),
    ...[...rules.permanent, ...rules.onDemand].flatMap(({ key }) => (key ? splitKey(key) : [])),
    ...rules.knownKeys,
  ]);
  return allKeys(file).flatMap((site): Finding[] => {
    const key = site.path.at(-1)!;
    const meant = known.has(key) ? undefined : nearMiss(key, known);
    if (meant === undefined) return [];
    const beside = site.map.items.some((pair) => isScalar(pair.key) && pair.key.value === meant);
    return [
      {
        severity: beside ? 'warning' : 'error',
        rule: 'near-miss',
        message: `'${key}' is almost '${meant}'${beside ? ', which stands beside it' : ''}: mend the spelling, or add it to 'known-keys' of the budget rules if it is meant.`,
        place: file.place(site.offset),
      },
    ];
  });
}

const MODEL_FILE = /\.(onnx|gguf|safetensors|tflite|pt|pth)$/i;

/** Keys that name a model file: `model_path`, and any `…_path` whose value looks like one. */
function modelSites(file: YamlFile): { site: KeySite; modelPath: string }[] {
  return allKeys(file).flatMap((site) => {
    const key = site.path.at(-1)!;
    const value = scalarOf(site);
    if (typeof value !== 'string' || value === '') return [];
    const names = key === 'model_path' || (/(^|_)path$/.test(key) && MODEL_FILE.test(value));
    return names ? [{ site, modelPath: value }] : [];
  });
}

async function modelFiles(
  file: YamlFile,
  base: YamlFile | undefined,
  rules: BudgetRules,
  receipts: readonly FiledReceipt[],
  projectRoot: string,
): Promise<Finding[]> {
  const known = new Set(base && modelSites(base).map(({ modelPath }) => modelPath));
  const findings: Finding[] = [];
  for (const { site, modelPath } of modelSites(file)) {
    const place = file.place(site.pair.value?.range?.[0] ?? site.offset);
    const add = (severity: Finding['severity'], rule: Finding['rule'], message: string) =>
      findings.push({ severity, rule, message, place });
    const onDisk = path.resolve(projectRoot, modelPath);
    if (await exists(onDisk)) {
      const problem = await manifestProblem(modelPath, projectRoot);
      if (problem !== undefined) add('error', 'manifest', problem);
      continue;
    }
    if (rules.downloads.some((glob) => matchesGlob(modelPath, glob))) continue;
    const names = await readdir(path.dirname(onDisk)).catch(() => undefined);
    if (names !== undefined) {
      const wanted = path.basename(onDisk);
      const meant = names.find((each) => each.toLowerCase() === wanted.toLowerCase()) ?? nearMiss(wanted, names);
      const hint = meant
        ? `did you mean '${meant}'?`
        : "bring the file, or list it under 'downloads' of the budget rules.";
      add('error', 'model-file', `There is no model '${modelPath}' here; ${hint}`);
    } else if (
      receipts.some(({ file: receipt }) => path.basename(receipt).startsWith(`${path.parse(modelPath).name}.`))
    ) {
    } else if (base && !known.has(modelPath)) {
      add(
        'error',
        'model-file',
        `'${modelPath}' is new here, and neither its file nor a receipt of it is in the repository: commit its receipts under receipts/ beside the config, or list it under 'downloads'.`,
      );
    } else if (!base) {
      add('notice', 'model-file', `'${modelPath}' cannot be checked here: the models are not on this machine.`);
    }
  }
  return findings;
}

/** `max_memory_mb` beside a model path must be at least what validate has measured for that model. */
function memoryLimits(file: YamlFile, receipts: readonly FiledReceipt[]): Finding[] {
  return modelSites(file).flatMap(({ site, modelPath }): Finding[] => {
    const measured = measuredFor(modelPath, receipts);
    const limit = allKeys(file).find(({ map, path: at }) => map === site.map && at.at(-1) === 'max_memory_mb');
    const limitMb = limit && scalarOf(limit);
    if (measured === undefined || limit === undefined || typeof limitMb !== 'number' || limitMb >= measured) return [];
    return [
      {
        severity: 'error',
        rule: 'memory-limit',
        message: `'${joinKey(limit.path)}' is ${limitMb} MB, but validate measured ${Math.round(measured)} MB resident for ${modelPath}: raise it to at least ${Math.ceil(measured / 50) * 50}.`,
        place: file.place(limit.pair.value?.range?.[0] ?? limit.offset),
      },
    ];
  });
}

function overBudget(
  file: YamlFile,
  rules: BudgetRules,
  { before, after }: NonNullable<CheckResult['budget']>,
): Finding[] {
  const findings: Finding[] = [];
  const placeOf = (key: string | undefined) => {
    const site = key === undefined ? undefined : findKey(file, key);
    return site ? file.place(site.pair.value?.range?.[0] ?? site.offset) : { file: file.name, line: 1 };
  };
  const all = [...rules.permanent, ...rules.onDemand];
  for (const { name, source } of after.components) {
    if (source !== 'unknown') continue;
    const key = all.find((component) => component.name === name)?.key;
    findings.push({
      severity: 'warning',
      rule: 'rules',
      message: `The budget knows no memory for '${name}' (${key}): give it max_memory_mb in the config, or 'mb' in the budget rules.`,
      place: placeOf(rules.limit),
    });
  }
  if (rules.limit !== undefined && after.limitMb === undefined) {
    const message = `The budget's limit '${rules.limit}' is no number in the config: set it, in GB.`;
    findings.push({ severity: 'error', rule: 'rules', message, place: { file: file.name, line: 1 } });
  }
  if (after.limitMb === undefined || after.peakMb <= after.limitMb) return findings;
  const growth = (component: { name: string; mb: number }) =>
    component.mb - (before?.components.find(({ name }) => name === component.name)?.mb ?? 0);
  const grown = after.components.toSorted((a, b) => growth(b) - growth(a))[0];
  const culprit = all.find(({ name }) => name === grown?.name)?.key;
  const was = before ? ` (before: ${gb(before.peakMb)} GB)` : '';
  findings.push({
    severity: 'error',
    rule: 'memory-budget',
    message: `The models need ${gb(after.peakMb)} GB at peak${was}, and ${rules.limit} allows ${gb(after.limitMb)} GB: shrink one (largest growth: ${grown?.name}) or raise the limit.`,
    place: placeOf(before && culprit ? culprit : rules.limit),
  });
  return findings;
}

async function committedReceipts(
  options: CheckOptions,
  configFile: string,
  projectRoot: string,
  { log = silentLog }: ConfigContext,
): Promise<FiledReceipt[]> {
  const usual = path.join(path.dirname(configFile), 'receipts');
  const places = options.receipts?.length ? options.receipts : (await exists(usual)) ? [usual] : [];
  return readReceipts(places, projectRoot, log);
}

async function readRules(options: CheckOptions, configFile: string, projectRoot: string): Promise<BudgetRules> {
  const usual = path.join(path.dirname(configFile), 'model-budget.yaml');
  const file = options.budget ? path.resolve(projectRoot, options.budget) : usual;
  const bytes = await readRegularFileIfThere(file, 'budget:');
  if (bytes !== undefined) return parseRules(bytes, path.relative(projectRoot, file).replaceAll(path.sep, '/'));
  if (!options.budget) return NO_RULES;
  throw new InputError(`'budget' names '${file}', which does not exist; check the path.`);
}

/** The config at a git ref; undefined where it did not exist there. */
async function baseFile(
  ref: string,
  configFile: string,
  name: string,
  { log = silentLog, env = process.env }: ConfigContext,
): Promise<YamlFile | undefined> {
  const git = (...args: string[]) => runGit(path.dirname(configFile), args, { env });
  if (ref.startsWith('-')) throw new InputError(`'base-ref' is '${ref}', which is no git ref.`);
  try {
    await git('rev-parse', '--verify', '--quiet', `${ref}^{commit}`);
  } catch (cause) {
    throw new InputError(
      `'base-ref' is '${ref}', which git does not know here: fetch it first (actions/checkout with fetch-depth: 0).`,
      { cause },
    );
  }
  try {
    return parseYaml(decodeYaml(await git('show', `${ref}:./${path.basename(configFile)}`), name), name);
  } catch (cause) {
    log.info(`${name} is not in ${ref} (${messageOf(cause).split('\n')[0]}); there is nothing to compare with.`);
    return undefined;
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
