#!/usr/bin/env bash
# kill -9 at random moments of promote and of rollback, 200 times each (KILLS), and what the next run makes of it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export KILLS="${KILLS:-200}" FIXTURE_KILLS="${FIXTURE_KILLS:-10}"
npx --no-install vitest run test/config/kills.test.ts -t 'during promote' &
promote=$!
npx --no-install vitest run test/config/kills.test.ts -t 'during rollback'
wait "$promote"
