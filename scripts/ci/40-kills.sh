#!/usr/bin/env bash
# kill -9 at random moments of promote and of rollback, 50 times each (KILLS=200 for longer), and what the next run makes of it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export KILLS="${KILLS:-50}"
npx --no-install vitest run test/config/kills.test.ts -t 'during promote' &
promote=$!
npx --no-install vitest run test/config/kills.test.ts -t 'during rollback'
wait "$promote"
