import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.ts';
import type { Answer, Failure, Task } from './tasks.ts';
import { SourceShrank, Workbench } from './workbench.ts';

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
    return { failure: failureOf(error, task) };
  }
}

function failureOf(error: unknown, task: Task): Failure {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return {
    message: messageOf(error),
    stack: error instanceof Error ? error.stack : undefined,
    code,
    path:
      error instanceof SourceShrank ? error.path : task.kind === 'write' && syscall === 'write' ? task.path : undefined,
    shrunk: error instanceof SourceShrank,
  };
}
