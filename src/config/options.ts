import { randomBytes } from 'node:crypto';
import os from 'node:os';
import type { Log } from '../receipt/index.ts';
import type { ServiceOptions } from './service/service.ts';

/** What promote and rollback have in common. Names are those of the action's inputs. */
export interface LiveOptions extends ServiceOptions {
  /** The YAML config; a relative path starts at `projectRoot`. */
  config: string;
  /** Folder that holds the live config and the models; the working directory unless given. */
  projectRoot?: string | undefined;
  /** Dotted key of the model path (default `audio_omni.model_path`). */
  modelPathKey?: string | undefined;
  /** Dotted key of the memory limit (default `audio_omni.max_memory_mb`). */
  memoryKey?: string | undefined;
  /** Why, for the history. */
  reason?: string | undefined;
  /** Say what would change and change nothing. */
  dryRun?: boolean | undefined;
  /** Folder for the receipt; the model's own unless given. */
  report?: string | undefined;
}

/** All of it optional: a library's caller may know none of it. */
export interface ConfigContext {
  log?: Log;
  /** Ends the waiting. A promotion returns to the previous config; a rollback stands, and the next one finishes it. */
  signal?: AbortSignal;
  now?: () => Date;
  /** `GITHUB_*`, for who, the run's address, the workspace and the API. The process's own unless given. */
  env?: NodeJS.ProcessEnv;
  /** Called at named moments; a test harness ends the process there. */
  fault?: Fault;
}

/** Moments at which a test may end the process, to prove that the next run can cope. */
export type FaultPoint =
  | 'locked'
  | 'checked'
  | 'backed-up'
  | 'journaled'
  | 'draft-written'
  | 'written'
  | 'restarted'
  | 'healthy'
  | 'proved'
  | 'recorded'
  | 'reverting'
  | 'reverted';

export type Fault = (point: FaultPoint) => void | Promise<void>;

export const DEFAULT_MODEL_PATH_KEY = 'audio_omni.model_path';
export const DEFAULT_MEMORY_KEY = 'audio_omni.max_memory_mb';

/** An id that sorts by time and is unique. */
export function newId(now: Date): string {
  return `${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${randomBytes(4).toString('hex')}`;
}

/** Who acts, where, and in which workflow run. */
export function actor(env: NodeJS.ProcessEnv): { who: string; host: string; run?: string } {
  const { GITHUB_ACTOR, GITHUB_SERVER_URL, GITHUB_REPOSITORY, GITHUB_RUN_ID } = env;
  const run =
    GITHUB_SERVER_URL && GITHUB_REPOSITORY && GITHUB_RUN_ID
      ? { run: `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}/actions/runs/${GITHUB_RUN_ID}` }
      : {};
  return { who: GITHUB_ACTOR || userName(), host: os.hostname(), ...run };
}

function userName(): string {
  try {
    return os.userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`; // A user without an entry in passwd, as in containers.
  }
}
