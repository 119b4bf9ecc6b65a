// Runs promote or rollback in a process of its own, as the action does, and can be killed at a named moment.
// usage: run.mjs <promote|rollback> <JSON options> [fault point | tell]; tell: says each moment when it comes
import { writeSync } from 'node:fs';
import { promote, rollback } from '../../../lib/config/index.js';

const [verb, options, faultAt] = process.argv.slice(2);
const log = {
  info: (message) => console.log(message),
  warning: (message) => console.log(`warning: ${message}`),
  error: (message) => console.log(`error: ${message}`),
  debug() {},
  progress() {},
};
const fault = (point) => {
  if (faultAt === 'tell') writeSync(1, `at ${point}\n`);
  if (point === faultAt) process.kill(process.pid, 'SIGKILL');
};
try {
  const result = await { promote, rollback }[verb](JSON.parse(options), { log, fault });
  console.log(JSON.stringify({ changed: result.changed, failures: result.failures, steps: result.steps }));
  process.exitCode = result.verdict === 'pass' ? 0 : 1;
} catch (error) {
  console.log(`error: ${error.name}: ${error.message}`);
  process.exitCode = 1;
}
