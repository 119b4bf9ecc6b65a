// What only a runner, a pull request or a download needs: workflow commands, the cache service, GitHub's API, HTTP through
// proxies. In dist/ it is a bundle of its own, because these clients are larger than all the rest and share an HTTP
// client; `loadRunnerServices` brings it in.
export { restoreCache, saveCache } from '@actions/cache';
export * as core from '@actions/core';
export { exec } from '@actions/exec';
export { getOctokit } from '@actions/github';
export { Agent, ProxyAgent, request } from 'undici';
