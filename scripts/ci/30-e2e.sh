#!/usr/bin/env bash
# The example consumer through a real runner, and the bundles on the Windows build of Node.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash scripts/ci/install-tools.sh
npm run --silent e2e
