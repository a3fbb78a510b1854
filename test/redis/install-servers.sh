#!/usr/bin/env bash
# Puts servers of other versions where redis-layout.test.ts looks for them: Redis 6 and 8 and Valkey 8, from other releases of
# Debian, from the mirror that this machine uses. Each runs with the libraries of its own release; nothing is installed.
set -euo pipefail
target=$(realpath -m "${1:-node_modules/.cache/redis-servers}")
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
libraries='libc6 libgcc-s1 libstdc++6 libatomic1 libjemalloc2 liblzf1 libsystemd0 libcap2 liblzma5 libzstd1 libgcrypt20 libgpg-error0'

# install NAME RELEASE PROGRAM PACKAGE...
install() {
  local name=$1 release=$2 program=$3
  shift 3
  [ ! -x "$target/$name/run" ] || return 0
  local apt=$work/$release root=$work/$name
  mkdir -p "$apt"/{lists/partial,cache/archives/partial} "$root/packages" "$target"
  echo "deb $mirror $release main" > "$apt/sources.list"
  local options=(
    -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
  )
  [ -e "$apt/updated" ] || apt-get "${options[@]}" -qq update
  touch "$apt/updated"
  (cd "$root/packages" && apt-get "${options[@]}" -qq download $(printf "%s/$release " "$@" $libraries))
  for package in "$root"/packages/*.deb; do dpkg -x "$package" "$root/files"; done
  rm -rf "${target:?}/$name"
  mv "$root/files" "$target/$name"
  local loader paths
  loader=$(find "$target/$name" -name 'ld-linux*' | sort | head -n 1)
  paths=$(find "$target/$name" -name '*.so*' -printf '%h\n' | sort -u | paste -sd :)
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$paths" "$target/$name/usr/bin/$program" > "$target/$name/run"
  chmod +x "$target/$name/run"
  "$target/$name/run" --version
}

install redis-6 bullseye redis-server redis-server redis-tools libssl1.1 liblua5.1-0 lua-cjson lua-bitop liblz4-1
install redis-8 trixie redis-server redis-server redis-tools libssl3t64
install valkey-8 trixie valkey-server valkey-server valkey-tools libssl3t64
