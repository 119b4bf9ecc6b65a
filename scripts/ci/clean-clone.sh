#!/usr/bin/env bash
# The two commands of the README in a clean clone, with a PATH that has node, npm and the shell npm itself needs.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git clone --quiet --no-local . "$scratch/clone"
mkdir "$scratch/bin"
node=$(command -v node)
ln -s "$node" "$scratch/bin/node"
# npm is a script of a folder: link to where it really is, so that it finds its own modules.
ln -s "$(readlink -f "$(command -v npm)")" "$scratch/bin/npm"
ln -s "$(command -v sh)" "$scratch/bin/sh"

cd "$scratch/clone"
for command in 'npm ci --no-audit --no-fund' 'npm start' ${FULL:+'npm test'}; do
  echo "-- $command"
  PATH="$scratch/bin" CI=true sh -c "$command"
done
[ -z "$(git -C "$scratch/clone" status --porcelain)" ] || {
  git -C "$scratch/clone" status --short
  echo 'the commands changed files of the clone' >&2
  exit 1
}
