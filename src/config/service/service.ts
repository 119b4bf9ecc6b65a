import { setTimeout as sleep } from 'node:timers/promises';
import { InputError, shown } from '../../errors.ts';
import { runProgram, splitCommand } from '../../program.ts';
import type { Log } from '../../receipt/index.ts';
import { splitKey } from '../yaml/keys.ts';
import { type Accepted, acceptedValues, type Target } from './expected.ts';
import { type Answer, askUrl } from './http.ts';
import { excerpt } from './text.ts';

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
  /** How long health is asked for after a restart, s; by default what is known of the model's load time. */
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
  /** What stood last at `health-json-path`: what the service says that it runs. */
  reported?: string;
}

export interface ServiceContext {
  log: Log;
  projectRoot: string;
  /** Ends all waiting; its reason says why. */
  stop: AbortSignal;
  /** File that gets what the restart command, and what it leaves running, print. */
  restartLog: string;
}

/** A service, its commands parsed. */
export interface Service {
  /** Whether there is anything to do or to ask. */
  restarts: boolean;
  asks: boolean;
  restart(phase: Step['phase'], context: ServiceContext): Promise<Step>;
  /** Asks until healthy or for `waitMs`; the answer must name the target where one is expected. */
  health(phase: Step['phase'], target: Target, waitMs: number, context: ServiceContext): Promise<Step>;
  /** Keeps asking for `watchSeconds`; nothing where there is nothing to wait for. */
  watch(target: Target, context: ServiceContext): Promise<Step | undefined>;
}

const ASK_TIMEOUT_MS = 10_000;
/** The last question has this long too: cut shorter, it would put "no answer" in the place of what a busy service says. */
const LEAST_ASK_MS = 1000;
/** A service that misses one answer is busy; one that misses three in a row is not stable. */
const WATCH_MISSES = 3;

/** @throws InputError for commands and addresses that cannot be used, and inputs that do not go together. */
export function openService(options: ServiceOptions): Service {
  const restartArgv = options.restartCommand ? splitCommand(options.restartCommand, 'restart-command') : undefined;
  const healthArgv = options.healthCommand ? splitCommand(options.healthCommand, 'health-command') : undefined;
  const { healthUrl, healthJsonPath } = options;
  refuseOddInputs(options);

  const ask = async (accepted: Accepted, limitMs: number, context: ServiceContext): Promise<Reported> => {
    const answer = healthArgv
      ? await askCommand(healthArgv, limitMs, context)
      : await askUrl(String(healthUrl), limitMs, context.stop);
    return answer.ok && healthJsonPath ? judge(answer, healthJsonPath, accepted) : answer;
  };
  const acceptedFor = (target: Target, projectRoot: string) =>
    acceptedValues(options.healthExpected || '{model_path}', target, projectRoot);

  return {
    restarts: restartArgv !== undefined,
    asks: healthArgv !== undefined || Boolean(healthUrl),
    async restart(phase, { log, projectRoot, stop, restartLog }) {
      log.info(`Restarting: ${options.restartCommand}`);
      const limitMs = (options.restartTimeout ?? 120) * 1000;
      const run = await runProgram(restartArgv!, { cwd: projectRoot, limitMs, signal: stop, outputFile: restartLog });
      const detail = stop.aborted ? `${reasonOf(stop)} (${run.detail})` : run.detail;
      return { phase, name: 'restart', ok: run.ok && !stop.aborted, ms: run.ms, detail };
    },
    async health(phase, target, waitMs, context) {
      const started = performance.now();
      const accepted = await acceptedFor(target, context.projectRoot);
      const left = () => waitMs - (performance.now() - started);
      let answer: Reported = { ok: false, detail: 'never asked' };
      let reported: string | undefined;
      let attempts = 0;
      for (let pause = 100; ; pause = Math.min(pause * 1.5, 1000)) {
        answer = await ask(accepted, Math.min(ASK_TIMEOUT_MS, Math.max(left(), LEAST_ASK_MS)), context);
        reported = answer.reported ?? reported;
        attempts++;
        if (context.stop.aborted) answer = { ok: false, detail: reasonOf(context.stop) };
        if (answer.ok || context.stop.aborted || left() <= pause) break;
        context.log.debug(`Not healthy yet: ${answer.detail}`);
        await pauseFor(pause, context.stop);
      }
      const ms = performance.now() - started;
      const tries = `${attempts} ${attempts === 1 ? 'try' : 'tries'}`;
      const detail = `${answer.detail} (${tries}, ${Math.round(ms)} ms)`;
      return { phase, name: 'health', ok: answer.ok, ms, detail, ...(reported === undefined ? {} : { reported }) };
    },
    async watch(target, context) {
      if (!options.watchSeconds) return undefined;
      const started = performance.now();
      const accepted = await acceptedFor(target, context.projectRoot);
      const until = started + options.watchSeconds * 1000;
      const step = { phase: 'change', name: 'watch' } as const;
      let misses = 0;
      let asked = 0;
      let missed = 0;
      // A miss at the end is asked about until it is over or the third in a row.
      while (performance.now() < until || misses > 0) {
        await pauseFor(misses > 0 ? 1000 : Math.min(1000, Math.max(until - performance.now(), 0)), context.stop);
        const answer = await ask(accepted, ASK_TIMEOUT_MS, context);
        const ms = performance.now() - started;
        if (context.stop.aborted) return { ...step, ok: false, ms, detail: reasonOf(context.stop) };
        asked++;
        misses = answer.ok ? 0 : misses + 1;
        if (!answer.ok) missed++;
        if (misses >= WATCH_MISSES) {
          const detail = `${answer.detail} (${misses} times in a row, until second ${seconds(started)})`;
          return { ...step, ok: false, ms, detail };
        }
      }
      const hiccups = missed === 0 ? '' : `, ${missed} missed, never ${WATCH_MISSES} in a row`;
      const detail = `stable for ${seconds(started)} s (asked ${asked} times${hiccups})`;
      return { ...step, ok: true, ms: performance.now() - started, detail };
    },
  };
}

function refuseOddInputs({ healthCommand, healthUrl, healthJsonPath, healthExpected }: ServiceOptions): void {
  if (healthCommand && healthUrl) {
    throw new InputError("'health-command' and 'health-url' are both given; give the one that tells health best.");
  }
  if (healthUrl && !/^https?:$/.test(URL.canParse(healthUrl) ? new URL(healthUrl).protocol : '')) {
    throw new InputError(
      `'health-url' is '${healthUrl}', which is no address; write it as http://127.0.0.1:8080/health.`,
    );
  }
  if (healthExpected && !healthJsonPath) {
    throw new InputError("'health-expected' needs 'health-json-path', which says where in the answer it stands.");
  }
  if (healthJsonPath && !healthCommand && !healthUrl) {
    throw new InputError("'health-json-path' needs a 'health-url' or a 'health-command' that answers in JSON.");
  }
}

/** An answer, and what stood at `health-json-path`. */
interface Reported extends Answer {
  reported?: string;
}

function judge(answer: Answer, jsonPath: string, accepted: Accepted): Reported {
  let value: unknown;
  try {
    value = JSON.parse(answer.body ?? '');
  } catch {
    return { ok: false, detail: `the answer is no JSON: ${excerpt(answer.body ?? '')}` };
  }
  for (const segment of splitKey(jsonPath)) {
    const within: object = value !== null && typeof value === 'object' ? value : {};
    value = Object.hasOwn(within, segment) ? (within as Record<string, unknown>)[segment] : undefined;
  }
  if (value === undefined || value === null) {
    return { ok: false, detail: `the answer has nothing at '${jsonPath}': ${excerpt(answer.body ?? '')}` };
  }
  const text = typeof value === 'object' ? shown(value) : String(value);
  const reported = excerpt(text);
  if (accepted === undefined || accepted.includes(text)) {
    return { ok: true, detail: `${answer.detail}, ${jsonPath} is '${reported}'`, reported };
  }
  return { ok: false, detail: `'${jsonPath}' is '${reported}' where '${accepted[0]}' is expected`, reported };
}

async function askCommand(argv: readonly string[], limitMs: number, context: ServiceContext): Promise<Answer> {
  const { projectRoot, stop } = context;
  const run = await runProgram(argv, { cwd: projectRoot, limitMs, signal: stop });
  return { ok: run.ok, detail: run.ok ? 'exit 0' : run.detail, body: run.stdout };
}

async function pauseFor(ms: number, stop: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal: stop }).catch(() => undefined); // Whoever pauses looks at the signal itself.
}

/** Why the waiting was ended, as half a sentence. */
export function reasonOf(stop: AbortSignal): string {
  return stop.reason instanceof Error ? stop.reason.message : String(stop.reason);
}

function seconds(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(0);
}
