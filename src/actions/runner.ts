import { tmpdir } from 'node:os';
import type { AnnotationProperties } from '@actions/core';
import { loadRunnerServices } from '../entry.ts';
import { guardedLog, logLine, type Place } from '../receipt/index.ts';
import { runnerCache } from './cache.ts';
import { type Host, outputText } from './host.ts';
import { progressLine, throttle } from './progress.ts';

/** How often a long piece of work says in the job log how far it is. */
const PROGRESS_INTERVAL_MS = 5000;

/** The GitHub runner: inputs from `INPUT_*`, outputs and summary to the files it names, annotations in the log. */
export async function runnerHost(env: NodeJS.ProcessEnv, now: () => number): Promise<Host> {
  const { core } = await loadRunnerServices();
  const due = throttle(PROGRESS_INTERVAL_MS, now);
  const log = guardedLog({
    info: (message) => core.info(message),
    warning: (message, place) => core.warning(message, annotation(place)),
    error: (message, place) => core.error(message, annotation(place)),
    debug: (message) => core.debug(message),
    progress: (progress) => {
      if (due(progress)) core.info(progressLine(progress));
    },
  });
  let grouped = false;
  const endSteps = () => {
    if (grouped) core.endGroup();
    grouped = false;
  };
  const cache = runnerCache(env, log);
  return {
    log,
    debug: core.isDebug(),
    ...(cache ? { cache } : {}),
    temporaryFolder: env.RUNNER_TEMP || tmpdir(),
    step: (title) => {
      endSteps();
      core.startGroup(logLine(title));
      grouped = true;
    },
    endSteps,
    input: (name) => env[`INPUT_${name.replaceAll(' ', '_').toUpperCase()}`],
    spell: (input, value) => `${input}: ${value}`,
    output: (name, value) => core.setOutput(name, outputText(value)),
    secret: (value) => core.setSecret(value),
    summary: async (markdown) => {
      if (!env.GITHUB_STEP_SUMMARY || markdown === '') return;
      await core.summary.addRaw(markdown, true).write();
    },
    fail: (message) => core.setFailed(logLine(message)),
  };
}

function annotation(place: Place | undefined): AnnotationProperties {
  if (!place) return {};
  return {
    file: place.file,
    ...(place.line === undefined ? {} : { startLine: place.line }),
    ...(place.column === undefined ? {} : { startColumn: place.column }),
  };
}
