#!/usr/bin/env bash
# Installs a build into a folder of its own, then builds and runs each example against what was installed.
# usage: examples.sh BUILD_FOLDER
set -euo pipefail
build=$1
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../examples" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/installed"
"$work/installed/bin/transload" --help >/dev/null
export CUDACXX
CUDACXX=$(cat "$build"/CMakeFiles/*/CMakeCUDACompiler.cmake 2>/dev/null |
  sed -n 's/^set(CMAKE_CUDA_COMPILER "\(.*\)")$/\1/p' || true)
for example in "$examples"/[0-9]*; do
  name=$(basename "$example")
  if [[ -f $example/main.cu && -z $CUDACXX ]]; then
    echo "skipped: $name, as this build has no CUDA"
    continue
  fi
  cmake -G Ninja -S "$example" -B "$work/$name" -DCMAKE_PREFIX_PATH="$work/installed" -DCMAKE_BUILD_TYPE=Release
  cmake --build "$work/$name"
  timeout --kill-after=5 60 "$work/$name/${name#*_}" | tee "$work/$name.out" || true
  grep -qx verified "$work/$name.out" || { [[ -f $example/main.cu ]] && grep -q '^skipped: no GPU' "$work/$name.out"; }
done
