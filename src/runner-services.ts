// What only a runner or a pull request needs: workflow commands, the cache service, GitHub's API. In dist/ it is a bundle
// of its own, because these clients are larger than all the rest and share theirs; `loadRunnerServices` brings it in.
export { restoreCache, saveCache } from '@actions/cache';
export * as core from '@actions/core';
export { getOctokit } from '@actions/github';
