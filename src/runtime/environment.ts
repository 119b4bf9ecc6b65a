import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { Environment } from '../receipt/index.ts';

/** Instruction sets that change INT8 results or speed, by the names the kernel gives them. */
const ISA_OF_INTEREST = [
  'sse4_2',
  'avx',
  'avx2',
  'fma',
  'f16c',
  'avx512f',
  'avx512bw',
  'avx512_vnni',
  'avx512_bf16',
  'avx_vnni',
  'amx_int8',
  'amx_tile',
  'sha_ni',
  'asimd',
  'asimddp',
  'asimdhp',
  'i8mm',
  'sve',
  'bf16',
];

/** What a machine-dependent figure was made on. `governor` is the CPU frequency policy where it can be read. */
export interface Machine extends Environment {
  physicalCores: number;
  governor?: string;
  /** Bytes of physical memory. */
  memoryBytes: number;
}

/** The machine this process runs on. Linux says its instruction sets; elsewhere the list is empty. */
export function environment(read: (path: string) => string | undefined = readOptional): Machine {
  const cpuinfo = read('/proc/cpuinfo') ?? '';
  const governor = read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')?.trim();
  return {
    os: `${os.type()} ${os.release()}`,
    arch: os.arch(),
    cpu: os.cpus()[0]?.model.trim() || /^model name\s*:\s*(.+)$/m.exec(cpuinfo)?.[1] || 'unknown',
    cores: os.availableParallelism(),
    physicalCores: physicalCores(cpuinfo),
    isa: parseIsa(cpuinfo),
    node: process.version,
    memoryBytes: os.totalmem(),
    ...(governor ? { governor } : {}),
  };
}

/** Instruction sets of interest in the text of /proc/cpuinfo (`flags` on x86, `Features` on ARM). */
export function parseIsa(cpuinfo: string): string[] {
  const flags = new Set((/^(?:flags|Features)\s*:\s*(.+)$/m.exec(cpuinfo)?.[1] ?? '').split(/\s+/));
  return ISA_OF_INTEREST.filter((name) => flags.has(name));
}

/** Cores that are no hyper-threads of another, at most those this process may use: what ONNX Runtime uses by default. */
export function physicalCores(cpuinfo: string): number {
  const usable = os.availableParallelism();
  const cores = new Set<string>();
  for (const block of cpuinfo.split(/\n\n+/)) {
    const socket = /^physical id\s*:\s*(\d+)$/m.exec(block)?.[1];
    const core = /^core id\s*:\s*(\d+)$/m.exec(block)?.[1];
    if (socket !== undefined && core !== undefined) cores.add(`${socket}:${core}`);
  }
  return cores.size === 0 ? usable : Math.min(cores.size, usable);
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // Another platform, or a container that hides it.
  }
}
