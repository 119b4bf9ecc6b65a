/** `quantize` as the action calls it. Arguments: model, output. Prints what it took, as JSON. */
import { quantize } from '../../lib/quantize/index.js';

const [model, output] = process.argv.slice(2);
const log = { info() {}, warning() {}, error() {}, debug() {}, progress() {} };
const { nodesQuantized, compressionRatio } = await quantize({ model, output }, { log });
console.log(JSON.stringify({ nodesQuantized, compressionRatio }));
