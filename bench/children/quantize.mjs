/** `quantize` as the action calls it. Arguments: model, output, source digest (false: none), other options as JSON. */
import { quantize } from '../../lib/quantize/index.js';

const [model, output, sourceDigest, others = '{}'] = process.argv.slice(2);
const log = { info() {}, warning() {}, error() {}, debug() {}, progress() {} };
const { nodesQuantized, compressionRatio } = await quantize(
  { model, output, sourceDigest: sourceDigest !== 'false', ...JSON.parse(others) },
  { log },
);
console.log(JSON.stringify({ nodesQuantized, compressionRatio }));
