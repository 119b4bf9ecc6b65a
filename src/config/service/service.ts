import { setTimeout as sleep } from 'node:timers/promises';
import { InputError, messageOf } from '../../errors.ts';
import { runProgram, splitCommand } from '../../program.ts';
import type { Log } from '../../receipt/index.ts';
import { graphSha256, modelFile } from '../evidence/models.ts';
import { splitKey } from '../yaml/keys.ts';

/** How the service that reads the config is restarted and asked. */
export interface ServiceOptions {
  /** Command line, run without a shell. */
  restartCommand?: string | undefined;
  /** Longest time the restart command may take, s (default 120). */
  restartTimeout?: number | undefined;
  /** Command line that exits 0 when the service is healthy. */
  healthCommand?: string | undefined;
  /** Address that answers 2xx when the service is healthy. */
  healthUrl?: string | undefined;
  /** Dotted path into the JSON answer (of the URL, or of the command's output). */
  healthJsonPath?: string | undefined;
  /**
   * What must stand there: text, where `{model_path}` is the model path in the config (or its absolute form) and
   * `{model_sha256}` the SHA-256 of that model's graph file. `{model_path}` unless given.
   */
  healthExpected?: string | undefined;
  /** How long health is asked for after a restart, s (default 60). */
  healthTimeout?: number | undefined;
  /** How long to keep asking once healthy, s (default 0). */
  watchSeconds?: number | undefined;
}

/** One thing that was done to the service, for the log and the receipt. */
export interface Step {
  /** `change` on the way to the new config, `revert` on the way back. */
  phase: 'change' | 'revert';
  name: 'write' | 'restart' | 'health' | 'watch';
  ok: boolean;
  ms: number;
  /** What the command or the service said last. */
  detail: string;
}

export interface ServiceContext {
  log: Log;
  projectRoot: string;
  /** Why the waiting should stop, where there is a reason: a cancelled run, a rollback that was asked for. */
  interrupted(): Promise<string | undefined>;
}

/** What the service should be running when it is asked. */
export interface Target {
  /** Model path in the config now. */
  modelPath: string | undefined;
  /**
   * Model path that the change puts into the config. An expected value that is just this text means "the model path of
   * the config", so that on the way back the other one is expected.
   */
  promotedPath: string | undefined;
}

/** A service, its commands parsed. */
export interface Service {
  /** Whether there is anything to do or to ask. */
  restarts: boolean;
  asks: boolean;
  restart(phase: Step['phase'], context: ServiceContext): Promise<Step>;
  /** Asks until healthy or `healthTimeout`; the answer must name the target where one is expected. */
  health(phase: Step['phase'], target: Target, context: ServiceContext): Promise<Step>;
  /** Keeps asking for `watchSeconds`; nothing where there is nothing to wait for. */
  watch(target: Target, context: ServiceContext): Promise<Step | undefined>;
}

const ASK_TIMEOUT_MS = 10_000;
/** A service that misses one answer is busy; one that misses three in a row is not stable. */
const WATCH_MISSES = 3;

/** @throws InputError for commands and addresses that cannot be used, and inputs that do not go together. */
export function openService(options: ServiceOptions): Service {
  const restartArgv = options.restartCommand ? splitCommand(options.restartCommand, 'restart-command') : undefined;
  const healthArgv = options.healthCommand ? splitCommand(options.healthCommand, 'health-command') : undefined;
  const { healthUrl, healthJsonPath } = options;
  if (healthArgv && healthUrl) {
    throw new InputError("'health-command' and 'health-url' are both given; give the one that tells health best.");
  }
  if (healthUrl && !URL.canParse(healthUrl)) {
    throw new InputError(
      `'health-url' is '${healthUrl}', which is no address; write it as http://127.0.0.1:8080/health.`,
    );
  }
  if (options.healthExpected && !healthJsonPath) {
    throw new InputError("'health-expected' needs 'health-json-path', which says where in the answer it stands.");
  }
  if (healthJsonPath && !healthArgv && !healthUrl) {
    throw new InputError("'health-json-path' needs a 'health-url' or a 'health-command' that answers in JSON.");
  }
  const timeoutMs = (options.healthTimeout ?? 60) * 1000;
  const asks = healthArgv !== undefined || Boolean(healthUrl);

  const ask = async (accepted: Accepted, limitMs: number, projectRoot: string): Promise<Answer> => {
    const answer = healthArgv
      ? await askCommand(healthArgv, limitMs, projectRoot)
      : await askUrl(String(healthUrl), limitMs);
    return answer.ok && healthJsonPath ? judge(answer, healthJsonPath, accepted) : answer;
  };
  const acceptedFor = (target: Target, projectRoot: string) =>
    acceptedValues(options.healthExpected || '{model_path}', target, projectRoot);

  return {
    restarts: restartArgv !== undefined,
    asks,
    async restart(phase, { log, projectRoot }) {
      log.info(`Restarting: ${options.restartCommand}`);
      const run = await runProgram(restartArgv!, {
        limitMs: (options.restartTimeout ?? 120) * 1000,
        cwd: projectRoot,
      });
      return { phase, name: 'restart', ok: run.ok, ms: run.ms, detail: run.detail };
    },
    async health(phase, target, context) {
      const started = performance.now();
      const accepted = await acceptedFor(target, context.projectRoot);
      const left = () => timeoutMs - (performance.now() - started);
      let answer: Answer = { ok: false, detail: 'never asked' };
      let attempts = 0;
      for (let pause = 100; ; pause = Math.min(pause * 1.5, 1000)) {
        answer = await ask(accepted, Math.min(ASK_TIMEOUT_MS, Math.max(left(), 100)), context.projectRoot);
        attempts++;
        if (answer.ok || left() <= pause) break;
        const reason = await context.interrupted();
        if (reason !== undefined) {
          answer = { ok: false, detail: reason };
          break;
        }
        context.log.debug(`Not healthy yet: ${answer.detail}`);
        await sleep(pause);
      }
      const ms = performance.now() - started;
      const tries = `${attempts} ${attempts === 1 ? 'try' : 'tries'}`;
      return { phase, name: 'health', ok: answer.ok, ms, detail: `${answer.detail} (${tries}, ${Math.round(ms)} ms)` };
    },
    async watch(target, context) {
      if (!options.watchSeconds) return undefined;
      const started = performance.now();
      const accepted = await acceptedFor(target, context.projectRoot);
      const until = started + options.watchSeconds * 1000;
      let misses = 0;
      let asked = 0;
      while (performance.now() < until) {
        await sleep(Math.min(1000, Math.max(until - performance.now(), 0)));
        const answer = await ask(accepted, ASK_TIMEOUT_MS, context.projectRoot);
        asked++;
        misses = answer.ok ? 0 : misses + 1;
        const reason = await context.interrupted();
        if (reason !== undefined || misses >= WATCH_MISSES) {
          const detail = reason ?? `${answer.detail} (${misses} times in a row, at second ${seconds(started)})`;
          return { phase: 'change', name: 'watch', ok: false, ms: performance.now() - started, detail };
        }
      }
      const detail = `stable for ${seconds(started)} s (asked ${asked} times)`;
      return { phase: 'change', name: 'watch', ok: misses === 0, ms: performance.now() - started, detail };
    },
  };
}

interface Answer {
  ok: boolean;
  detail: string;
  body?: string;
}

/** Values that may stand at the JSON path; undefined where any will do. */
type Accepted = string[] | undefined;

async function acceptedValues(
  expected: string,
  { modelPath, promotedPath }: Target,
  projectRoot: string,
): Promise<Accepted> {
  const promotedFile = promotedPath && modelFile(promotedPath, projectRoot);
  const template = expected === promotedPath || expected === promotedFile ? '{model_path}' : expected;
  if (!template.includes('{model_')) {
    // A fixed text describes the promoted model; of another one it says nothing.
    return modelPath === promotedPath ? [template] : undefined;
  }
  if (modelPath === undefined) return undefined;
  const digest = template.includes('{model_sha256}') ? await graphSha256(modelPath, projectRoot) : undefined;
  const filled = template.replaceAll('{model_sha256}', digest ?? '');
  return [modelPath, modelFile(modelPath, projectRoot)].map((text) => filled.replaceAll('{model_path}', text));
}

function judge(answer: Answer, jsonPath: string, accepted: Accepted): Answer {
  let value: unknown;
  try {
    value = JSON.parse(answer.body ?? '');
  } catch {
    return { ok: false, detail: `the answer is no JSON: ${excerpt(answer.body ?? '')}` };
  }
  for (const segment of splitKey(jsonPath)) {
    if (value === null || typeof value !== 'object') {
      value = undefined;
      break;
    }
    value = (value as Record<string, unknown>)[segment];
  }
  if (value === undefined || value === null) {
    return { ok: false, detail: `the answer has nothing at '${jsonPath}': ${excerpt(answer.body ?? '')}` };
  }
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  if (accepted === undefined || accepted.includes(text)) {
    return { ok: true, detail: `${answer.detail}, ${jsonPath} is '${text}'` };
  }
  return { ok: false, detail: `'${jsonPath}' is '${excerpt(text)}' where '${accepted[0]}' is expected` };
}

async function askUrl(url: string, limitMs: number): Promise<Answer> {
  try {
    const response = await fetch(url, {
      signal: AbortSignal.timeout(Math.ceil(limitMs)),
      headers: { accept: 'application/json' },
    });
    const body = (await response.text()).slice(0, 2 ** 20);
    const detail = `HTTP ${response.status}${response.ok ? '' : `: ${excerpt(body)}`}`;
    return { ok: response.ok, detail, body };
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
    return { ok: false, detail: `no answer (${cause})` };
  }
}

async function askCommand(argv: string[], limitMs: number, cwd: string): Promise<Answer> {
  const run = await runProgram(argv, { limitMs, cwd });
  return { ok: run.ok, detail: run.ok ? 'exit 0' : run.detail, body: run.stdout };
}

function excerpt(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}

function seconds(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(0);
}
