import { readFileSync } from 'node:fs';
import os from 'node:os';

/** What else the machine did while something was measured, as far as the system says. */
export interface HostActivity {
  /** Wall time that was watched. */
  seconds: number;
  cores: number;
  /** Processors that other processes kept busy, on average. */
  othersBusy: number;
  /** Processors that the hypervisor gave to other machines meanwhile (Linux, `steal`). */
  stolen?: number;
  /** Threads that ran or waited to, the mean of both ends (Linux). */
  runnable?: number;
  /** Share of the time in which a thread of this machine waited for a processor (Linux pressure stall information). */
  waiting?: number;
  /** µs for which the quota of our control group held us back (Linux, version 2). */
  throttledUs?: number;
}

/** Counters at one moment, ms since some fixed point. */
export interface HostCounters {
  atMs: number;
  cores: number;
  busyMs: number;
  ownMs: number;
  stolenMs: number | undefined;
  runnable: number | undefined;
  waitingUs: number | undefined;
  throttledUs: number | undefined;
}

/** The counters now; `ownMs` is the CPU time of this process with all its threads. */
export function hostCounters(read: (path: string) => string | undefined = readOptional): HostCounters {
  const stat = read('/proc/stat');
  const { user, system } = process.cpuUsage();
  return {
    atMs: performance.now(),
    cores: os.availableParallelism(),
    ...(stat === undefined ? portable() : parseProcStat(stat)),
    ownMs: (user + system) / 1000,
    waitingUs: numberIn(read('/proc/pressure/cpu'), /^some .*total=(\d+)$/m),
    throttledUs: numberIn(read('/sys/fs/cgroup/cpu.stat'), /^throttled_usec (\d+)$/m),
  };
}

/** What happened between two moments. */
export function activityBetween(before: HostCounters, after: HostCounters): HostActivity {
  const ms = Math.max(1, after.atMs - before.atMs);
  const grown = (name: 'busyMs' | 'ownMs' | 'stolenMs' | 'waitingUs' | 'throttledUs'): number | undefined => {
    const [from, to] = [before[name], after[name]];
    return from === undefined || to === undefined ? undefined : Math.max(0, to - from);
  };
  const [stolenMs, waitingUs, throttledUs] = [grown('stolenMs'), grown('waitingUs'), grown('throttledUs')];
  const runnable = [before.runnable, after.runnable].filter((count) => count !== undefined);
  return {
    seconds: ms / 1000,
    cores: after.cores,
    othersBusy: Math.max(0, grown('busyMs')! - grown('ownMs')!) / ms,
    ...(stolenMs === undefined ? {} : { stolen: stolenMs / ms }),
    ...(runnable.length === 2 ? { runnable: (runnable[0]! + runnable[1]!) / 2 } : {}),
    ...(waitingUs === undefined ? {} : { waiting: Math.min(1, waitingUs / 1000 / ms) }),
    ...(throttledUs === undefined ? {} : { throttledUs }),
  };
}

/** Several stretches as one: averages by their length, and sums of what was lost. */
export function combinedActivity(parts: readonly HostActivity[]): HostActivity | undefined {
  const [first] = parts;
  if (!first) return undefined;
  const seconds = parts.reduce((sum, part) => sum + part.seconds, 0);
  const averaged = (name: 'othersBusy' | 'stolen' | 'runnable' | 'waiting') => {
    if (first[name] === undefined) return {};
    return { [name]: parts.reduce((sum, part) => sum + (part[name] ?? 0) * part.seconds, 0) / seconds };
  };
  return {
    seconds,
    cores: first.cores,
    othersBusy: 0,
    ...averaged('othersBusy'),
    ...averaged('stolen'),
    ...averaged('runnable'),
    ...averaged('waiting'),
    ...(first.throttledUs === undefined
      ? {}
      : { throttledUs: parts.reduce((sum, part) => sum + (part.throttledUs ?? 0), 0) }),
  };
}

/** Less than this share of a processor is what any machine does. */
const NEGLIGIBLE = 0.1;
/** Share of the wall time that a CPU quota took away. */
export const QUOTA_SHARE = 0.05;

/** Why times may vary, in words that continue a sentence; the largest cause first. */
export function causeOf(host: HostActivity | undefined): string {
  if (!host) return 'the cause is not known';
  const { seconds, cores, othersBusy, stolen = 0, runnable, waiting, throttledUs = 0 } = host;
  const causes: { weight: number; text: string }[] = [];
  if (othersBusy > NEGLIGIBLE) {
    const queue = runnable === undefined ? '' : `, ${show(runnable)} threads in the run queue`;
    const waited =
      waiting === undefined ? '' : `, a thread waiting for one ${(100 * waiting).toFixed(0)} % of the time`;
    causes.push({
      weight: othersBusy,
      text: `other processes kept ${show(othersBusy)} of ${cores} processors busy${queue}${waited}`,
    });
  }
  if (stolen > NEGLIGIBLE) {
    causes.push({
      weight: stolen,
      text: `the hypervisor gave ${show(stolen)} of ${cores} processors to other machines (steal)`,
    });
  }
  if (throttledUs / 1e6 > seconds * QUOTA_SHARE) {
    const lost = throttledUs / 1e6 / seconds;
    causes.push({
      weight: lost,
      text: `a CPU quota held this process back for ${(100 * lost).toFixed(0)} % of the time`,
    });
  }
  if (causes.length === 0) return 'the system shows no other work, steal or quota, so the cause is not known';
  return causes
    .sort((a, b) => b.weight - a.weight)
    .map(({ text }) => text)
    .join('; ');
}

/** Sums over all processors in the text of /proc/stat, whose unit is a hundredth of a second (proc_stat(5), USER_HZ). */
function parseProcStat(text: string): Pick<HostCounters, 'busyMs' | 'stolenMs' | 'runnable'> {
  const ticks = /^cpu +(.+)$/m.exec(text)?.[1]?.split(' ').map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal] = ticks;
  return {
    busyMs: 10 * (user + nice + system + irq + softirq),
    stolenMs: steal === undefined ? undefined : 10 * steal,
    runnable: numberIn(text, /^procs_running (\d+)$/m),
  };
}

function portable(): Pick<HostCounters, 'busyMs' | 'stolenMs' | 'runnable'> {
  const busyMs = os.cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
  return { busyMs, stolenMs: undefined, runnable: undefined };
}

function numberIn(text: string | undefined, pattern: RegExp): number | undefined {
  const match = pattern.exec(text ?? '');
  return match ? Number(match[1]) : undefined;
}

const show = (value: number): string => value.toFixed(1);

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // Another system, or a container that hides it.
  }
}
