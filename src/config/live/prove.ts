import type { ModelIdentity } from '../evidence/models.ts';
import { actor, newId } from '../options.ts';
import type { Service, Step } from '../service/service.ts';
import type { HistoryEntry } from '../states/history.ts';
import { appendHistory } from '../states/history-file.ts';
import { type LiveContext, runSteps } from './change.ts';
import type { LiveConfig } from './files.ts';

/** What is to be proved, although no bytes of the config change any more. */
export interface Proof {
  live: LiveConfig;
  /** The model that the config names. */
  model: ModelIdentity | undefined;
  /** Model path that a fixed `health-expected` speaks of. */
  promotedPath: string | undefined;
  waitMs: number;
  /** Whether to restart first; otherwise the service is only asked. */
  restart: boolean;
  watch: boolean;
  /** Records the answer; absent where nothing new was learned. */
  record?: (facts: Pick<HistoryEntry, 'proved' | 'healthMs' | 'failure'>) => HistoryEntry | undefined;
}

export interface ProofResult {
  ok: boolean;
  steps: Step[];
  /** The step that failed. */
  failed?: Step;
  entry?: HistoryEntry;
  warnings: string[];
}

/** Restarts the service, asks for health on the config as it is, and records the answer. Nothing is ever undone. */
export async function proveLive(proof: Proof, service: Service, context: LiveContext): Promise<ProofResult> {
  const { live, model, promotedPath, waitMs } = proof;
  const steps: Step[] = [];
  const target = { modelPath: model?.path, promotedPath };
  const failed = await runSteps(steps, context, [
    ...(service.restarts && proof.restart ? [() => service.restart('change', context)] : []),
    async () => void (await context.fault('restarted')),
    ...(service.asks ? [() => service.health('change', target, waitMs, context)] : []),
    async () => void (await context.fault('healthy')),
    ...(service.asks && proof.watch ? [() => service.watch(target, context)] : []),
  ]);
  const warnings: string[] = [];
  const ok = failed === undefined;
  const health = steps.find(({ name }) => name === 'health');
  const facts = {
    ...(service.asks || !ok ? { proved: ok } : {}),
    ...(ok && health ? { healthMs: Math.round(health.ms) } : {}),
    ...(failed ? { failure: failed.detail } : {}),
  };
  // Cut short is not answered: the next run asks.
  const entry = context.stop.aborted || facts.proved === undefined ? undefined : proof.record?.(facts);
  if (entry) {
    try {
      await appendHistory(live.history, entry);
      await context.fault('recorded');
    } catch (error) {
      warnings.push(`${String(error instanceof Error ? error.message : error)} The answer is not recorded.`);
    }
  }
  return { ok, steps, ...(failed ? { failed } : {}), ...(entry ? { entry } : {}), warnings };
}

/** Why the service is not healthy, and what it says that it runs: half a sentence each. */
export function whyUnproved({ name, detail, reported }: Step): string {
  const said = reported === undefined ? 'it has not said what it runs' : `it last reported '${reported}'`;
  return `${detail} (${name}); ${said}`;
}

/** The entry that records an answer about what an earlier entry put live. */
export function proofOf(
  entry: HistoryEntry,
  facts: Partial<HistoryEntry>,
  { now, env }: Pick<LiveContext, 'now' | 'env'>,
): HistoryEntry {
  const at = now();
  const { config, configSha256, model, list, target, left } = entry;
  return {
    schema: 1,
    id: newId(at),
    at: at.toISOString(),
    action: 'proof',
    ...actor(env),
    config,
    configSha256: { before: configSha256.after, after: configSha256.after },
    keys: [],
    ...(model ? { model } : {}),
    receipts: [],
    ...(list ? { list } : {}),
    ...(left ? { left } : {}),
    ...(entry.replaces || target === undefined ? { target: entry.id } : { target }),
    ...facts,
  };
}
