import type { FiledReceipt } from '../evidence/receipts.ts';
import { residentMb } from '../evidence/receipts.ts';
import { scalarOf } from '../yaml/edit.ts';
import { findKey } from '../yaml/keys.ts';
import type { YamlFile } from '../yaml/parse.ts';
import type { BudgetRules, Component } from './rules.ts';

/** What a component counts with, and where the figure comes from. */
export interface ComponentMemory {
  name: string;
  when: 'permanent' | 'on-demand';
  /** MB. */
  mb: number;
  source: 'measured' | 'limit' | 'fixed' | 'off' | 'unknown';
  modelPath?: string;
}

/** The memory that a config asks for. MB of 10^6 bytes. */
export interface Budget {
  components: ComponentMemory[];
  /** Sum of the permanent components. */
  baseMb: number;
  /** Base and the largest on-demand component. */
  peakMb: number;
  limitMb?: number;
  hostMb?: number;
}

/** Adds up a config by the rules; measured figures come from validate receipts, by the model's file name. */
export function computeBudget(file: YamlFile, rules: BudgetRules, receipts: readonly FiledReceipt[]): Budget {
  const components = [
    ...rules.permanent.map((component) => memoryOf(file, component, 'permanent', receipts)),
    ...rules.onDemand.map((component) => memoryOf(file, component, 'on-demand', receipts)),
  ];
  const sum = (when: ComponentMemory['when']) => components.filter((each) => each.when === when).map(({ mb }) => mb);
  const baseMb = sum('permanent').reduce((total, mb) => total + mb, 0);
  const limitGb = rules.limit === undefined ? undefined : numberAt(file, rules.limit);
  return {
    components,
    baseMb,
    peakMb: baseMb + Math.max(0, ...sum('on-demand')),
    ...(limitGb === undefined ? {} : { limitMb: limitGb * 1000 }),
    ...(rules.hostRamGb === undefined ? {} : { hostMb: rules.hostRamGb * 1000 }),
  };
}

/** The newest validate receipt about a model of this file name. */
export function measuredFor(modelPath: string, receipts: readonly FiledReceipt[]): number | undefined {
  const stem = stemOf(modelPath);
  const found = receipts
    .filter(({ file, receipt }) => receipt.action === 'validate' && stemOf(file) === `${stem}.validate`)
    .toSorted((a, b) => a.receipt.createdAt.localeCompare(b.receipt.createdAt));
  const last = found.at(-1);
  return last && residentMb(last.receipt);
}

/** GB of 10^9 bytes with one decimal. */
export function gb(mb: number): string {
  return (mb / 1000).toFixed(1);
}

function memoryOf(
  file: YamlFile,
  component: Component,
  when: ComponentMemory['when'],
  receipts: readonly FiledReceipt[],
): ComponentMemory {
  const { name, key, mb } = component;
  if (key === undefined) return { name, when, mb: mb ?? 0, source: 'fixed' };
  if (valueAt(file, `${key}.enabled`) === false) return { name, when, mb: 0, source: 'off' };
  const modelPath = valueAt(file, `${key}.model_path`);
  const named = typeof modelPath === 'string' ? { modelPath } : {};
  const measured = typeof modelPath === 'string' ? measuredFor(modelPath, receipts) : undefined;
  if (measured !== undefined) return { name, when, mb: measured, source: 'measured', ...named };
  const limit = numberAt(file, `${key}.max_memory_mb`);
  if (limit !== undefined) return { name, when, mb: limit, source: 'limit', ...named };
  return { name, when, mb: mb ?? 0, source: mb === undefined ? 'unknown' : 'fixed', ...named };
}

function valueAt(file: YamlFile, key: string): unknown {
  const site = findKey(file, key);
  return site && scalarOf(site);
}

function numberAt(file: YamlFile, key: string): number | undefined {
  const value = valueAt(file, key);
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function stemOf(file: string): string {
  return (file.split(/[\\/]/).at(-1) ?? file).replace(/\.[^.]*$/, '');
}
