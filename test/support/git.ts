import { spawnSync } from 'node:child_process';

/** Whether git can be run: tests of what needs it are skipped on a machine that has Node and nothing else. */
export const hasGit = spawnSync('git', ['--version']).status === 0;
export const withoutGit = hasGit ? '' : ' (skipped: git is not installed)';
