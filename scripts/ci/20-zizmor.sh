#!/usr/bin/env bash
# zizmor, pedantic, over workflows, actions and the example consumer: no finding at all.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash scripts/ci/install-tools.sh
if [ ! -x .tools/bin/zizmor ]; then
  echo "skipped: zizmor needs Python with venv"
  exit 0
fi
.tools/bin/zizmor --offline --no-progress --persona pedantic .github action.yml actions examples/sarai/.github
