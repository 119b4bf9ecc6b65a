#!/usr/bin/env bash
# actionlint over our workflows and the example consumer's; .github/actionlint.yaml explains what it ignores.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash scripts/ci/install-tools.sh
if [ ! -x .tools/bin/actionlint ]; then
  echo "skipped: actionlint needs Go"
  exit 0
fi
.tools/bin/actionlint -color -config-file .github/actionlint.yaml .github/workflows/*.yml examples/sarai/.github/workflows/*.yml
