#!/usr/bin/env bash
# Broken input for every parser, a minute in all, the same course each time, so that no change is stopped by chance;
# FUZZ_SECONDS=3600 for longer, FUZZ_SEED=… for another course.
set -euo pipefail
cd "$(dirname "$0")/../.."
npm run --silent build:lib
node test/fuzz/run.mjs
