#!/usr/bin/env bash
# The first of the README's two commands in a clean clone, with node, npm and sh on PATH. The second runs that way in .ci/run.
set -euo pipefail
cd "$(dirname "$0")/../.."
node_only="$PWD/scripts/ci/node-only.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git clone --quiet --no-local . "$scratch/clone"
cd "$scratch/clone"
for command in 'npm ci --no-audit --no-fund' 'npm start'; do
  echo "-- $command"
  bash "$node_only" sh -c "$command"
done
[ -z "$(git status --porcelain)" ] || {
  git status --short
  echo 'the commands changed files of the clone' >&2
  exit 1
}
