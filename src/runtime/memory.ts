import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { ProcessMemory } from './types.ts';

/**
 * Physical memory of this process, in bytes.
 * Linux: VmRSS and VmHWM of /proc/self/status, because a child's ru_maxrss starts at its parent's. Windows and macOS
 * start it at zero for a new process; libuv fills it from PeakWorkingSetSize there and from the task's high-water mark.
 */
export function ownMemory(): ProcessMemory {
  if (process.platform === 'linux') return parseProcStatus(readFileSync('/proc/self/status', 'utf8'));
  return { residentBytes: process.memoryUsage.rss(), peakBytes: process.resourceUsage().maxRSS * 1024 };
}

/** Physical memory of another process where the system shows it (Linux). */
export function memoryOf(pid: number): ProcessMemory | undefined {
  const text = readOptional(`/proc/${pid}/status`);
  return text?.includes('VmHWM:') ? parseProcStatus(text) : undefined;
}

/** VmRSS and VmHWM of the text of /proc/<pid>/status; the kernel's kB are KiB. */
export function parseProcStatus(text: string): ProcessMemory {
  const field = (name: string): number => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text);
    if (!match) throw new Error(`/proc status without ${name}`);
    return Number(match[1]) * 1024;
  };
  return { residentBytes: field('VmRSS'), peakBytes: field('VmHWM') };
}

/** Bytes that this machine, or the control group we run in, can still give; what a prediction is held against. */
export function availableMemory(files: (path: string) => string | undefined = readOptional): number {
  const free = /^MemAvailable:\s+(\d+) kB$/m.exec(files('/proc/meminfo') ?? '');
  const machine = free ? Number(free[1]) * 1024 : undefined;
  const limit = Number(files('/sys/fs/cgroup/memory.max')?.trim());
  const used = Number(files('/sys/fs/cgroup/memory.current')?.trim());
  const group = Number.isFinite(limit) && Number.isFinite(used) ? Math.max(0, limit - used) : undefined;
  return Math.min(machine ?? os.freemem(), group ?? Number.POSITIVE_INFINITY);
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // Not Linux, or no control group of this version.
  }
}
