# Sourced by the scripts beside it: what they share about pip. What is compiled already is not compiled again: the
# package is built over an install of a build folder.

export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

say_skipped() {
  echo "SKIPPED: $*"
  exit 77
}

# want_python PYTHON: or the script is skipped.
want_python() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || say_skipped "$1 is older than 3.10"
  "$1" -c 'import ensurepip, venv' || say_skipped "$1 has no venv (Debian: python3-venv)"
}

# want_pypi PIP...: or the script is skipped.
want_pypi() {
  mkdir -p build/python
  "$@" download -q --no-deps -d build/python/reach nanobind >/dev/null 2>build/python/reach.log ||
    say_skipped "PyPI cannot be reached: $(tail -n 1 build/python/reach.log)"
}

# install_over BUILD_FOLDER PIP...: pip's command and arguments, which name what else it is to install.
install_over() {
  copy_install "$1"
  shift
  install_over_copy "$@"
}

copy_install() {
  local installed=$PWD/build/python/installed
  rm -rf "$installed"
  mkdir -p build/python
  cmake --install "$1" --prefix "$installed" >"$installed.log"
}

install_over_copy() {
  local installed=$PWD/build/python/installed begin=$SECONDS
  "$@" '.[numpy]' --config-settings=cmake.source-dir=python --config-settings=build.targets=transload_python \
    --config-settings=cmake.define.transload_ROOT="$installed" --config-settings=cmake.define.TRANSLOAD_WERROR=ON \
    --config-settings="build-dir=build/python/over_install/{wheel_tag}"
  echo "pip install: $((SECONDS - begin)) s"
}
