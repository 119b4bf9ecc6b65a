#!/usr/bin/env bash
# usage: node-only.sh <command …>: runs it with a PATH that has node, npm and the shell npm itself needs, and nothing else.
set -euo pipefail

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
ln -s "$(command -v node)" "$bin/node"
# npm is a script of a folder: link to where it really is, so that it finds its own modules.
ln -s "$(readlink -f "$(command -v npm)")" "$bin/npm"
ln -s "$(command -v sh)" "$bin/sh"
PATH="$bin" CI=true "$@"
