import { spawnSync } from 'node:child_process';

/** Not on every machine that has Node: Windows has no named pipes of this kind, and a bare PATH no tool to make one. */
export const canMakePipes = !spawnSync('mkfifo', ['--version']).error;
