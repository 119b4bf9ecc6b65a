import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** The process that made something (a lock, a folder), told so that another one can see whether it is still there. */
export interface ProcessIdentity {
  host: string;
  /** The pid namespace that `pid` counts in, where the system says: containers may share a host's name and folders. */
  space?: string;
  pid: number;
  /** When it began and on which boot, where the system says: a pid that was used again is another process. */
  started?: string;
}

export function thisProcess(): ProcessIdentity {
  const space = attempt(() => readlinkSync('/proc/self/ns/pid'));
  const started = startOf(process.pid);
  return {
    host: hostname(),
    ...(space === undefined ? {} : { space }),
    pid: process.pid,
    ...(started === undefined ? {} : { started }),
  };
}

/** Whether a process counts its pid as we do, so that signals reach it. */
export function isHere({ host, space }: ProcessIdentity): boolean {
  const here = thisProcess();
  return host === here.host && (space ?? here.space) === here.space;
}

/** Whether a process surely no longer runs. Of one on another host or in another container that cannot be known. */
export function isGone(identity: ProcessIdentity): boolean {
  if (!isHere(identity)) return false;
  const { pid, started } = identity;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true;
  }
  const now = startOf(pid);
  return started !== undefined && now !== undefined && started !== now;
}

/** Boot and start tick of a process, from /proc; undefined elsewhere. */
function startOf(pid: number): string | undefined {
  return attempt(() => {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8);
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold blanks; start time is field 22, the 20th behind it.
    return `${boot}.${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  });
}

/** No /proc, or none that shows this process: pids alone have to do. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
