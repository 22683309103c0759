#!/usr/bin/env bash
# Installs a build into a folder of its own, then builds and runs each example against what was installed, and a module.
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
version=$("$work/installed/bin/transload" --version)

# try PROGRAM: an example that was built runs and says that it verified what it got, or that it needs a GPU.
try() {
  timeout --kill-after=5 300 "$1" | tee "$work/out" || true
  grep -qx -e verified -e 'skipped: no GPU is here' "$work/out"
}

for example in "$examples"/[0-9]*; do
  [[ -f $example/CMakeLists.txt ]] || continue  # Python's are run by tests/python
  name=$(basename "$example")
  if [[ -f $example/main.cu && -z $CUDACXX ]]; then
    echo "skipped: $name, as this build has no CUDA"
    continue
  fi
  cmake -G Ninja -S "$example" -B "$work/$name" -DCMAKE_PREFIX_PATH="$work/installed" -DCMAKE_BUILD_TYPE=Release
  cmake --build "$work/$name"
  try "$work/$name/${name#*_}"
done

# The library can be part of a module, which shows none of its names.
cmake -G Ninja -S "$(dirname "${BASH_SOURCE[0]}")/module" -B "$work/module" -DCMAKE_PREFIX_PATH="$work/installed" \
  -DCMAKE_BUILD_TYPE=Release
cmake --build "$work/module"
python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).rows_that_came() != 1)' "$work/module/libmodule.so"
names='transload::(Group|Control)::|sodium_|crypto_'
if shown=$(nm -D --defined-only -C "$work/module/libmodule.so" | grep -E "$names"); then
  echo "the module shows names of the library: $shown"
  exit 1
fi

# The same without CMake. The version is one, whoever is asked.
if ! command -v pkg-config >/dev/null; then
  echo "skipped: the pkg-config file: pkg-config is not here"
  exit 0
fi
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/installed" -name transload.pc)")
pkg_config_version=$(pkg-config --modversion transload)
[[ $version == "transload $pkg_config_version" ]] || {
  echo "the program says '$version', pkg-config says '$pkg_config_version'"
  exit 1
}
# shellcheck disable=SC2046  # flags are words
g++ -std=c++20 "$examples/01_one_node/main.cc" -o "$work/by_pkg_config" $(pkg-config --cflags --libs --static transload)
try "$work/by_pkg_config"
