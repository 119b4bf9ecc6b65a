/** What a job's environment holds for actions alone: inputs (a token may be one), the services' keys, files that steer the job. */
const PRIVATE =
  /^(INPUT_.*|ACTIONS_.*|GITHUB_TOKEN|GH_TOKEN|GITHUB_(ENV|OUTPUT|PATH|STATE|STEP_SUMMARY)|NODE_AUTH_TOKEN|NPM_TOKEN)$/i;

/** The environment for programs that we start: ours, without what only actions may know. */
export function childEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !PRIVATE.test(name)));
}
