import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.ts';
import { SourceError } from './desk.ts';
import type { Answer, Failure, Task } from './tasks.ts';
import { Workbench } from './workbench.ts';

/** What the pool hands a new worker. */
export interface WorkerData {
  kernels: WebAssembly.Module;
}

const workbench = new Workbench((workerData as WorkerData).kernels);

parentPort?.on('message', (task: Task) => {
  parentPort?.postMessage(answer(task));
});

function answer(task: Task): Answer {
  try {
    return { outcome: workbench.run(task) };
  } catch (error) {
    return { failure: failureOf(error) };
  }
}

function failureOf(error: unknown): Failure {
  const [cause, source] = error instanceof SourceError ? [error.cause, error.path] : [error, undefined];
  const { code, syscall } = (cause ?? {}) as NodeJS.ErrnoException;
  const stack = error instanceof Error ? error.stack : undefined;
  return { message: messageOf(cause ?? error), stack, code, syscall, source };
}
