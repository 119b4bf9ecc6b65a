/** `validate` as the action calls it. Arguments: model, dims, runs. Prints how many inferences were timed, as JSON. */
import { rmSync } from 'node:fs';
import { validate } from '../../lib/validate/index.js';

const [model, dims, runs] = process.argv.slice(2);
const log = { info() {}, warning() {}, error() {}, debug() {}, progress() {} };
const { receipt, report, verdict } = await validate({ model, dims, runs: Number(runs), maxSeconds: 600 }, { log });
rmSync(report);
const { measurements, timings, loadMs, memoryMb, peakMemoryMb } = receipt.results;
const inferences = timings.warmup + measurements * timings.runs.length;
console.log(JSON.stringify({ verdict, inferences, loadMs, p50: timings.p50, memoryMb, peakMemoryMb }));
