#!/usr/bin/env bash
# The Python package as a user gets it: an empty virtual environment, pip install, README's lines; then pytest there.
# usage: run.sh BUILD_FOLDER [pytest's arguments]; 77: skipped
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/python/over_install.sh
build=$PWD/$1 work=$PWD/build/python python=${PYTHON:-python3}
shift

want_python "$python"
rm -rf "$work/venv"
"$python" -m venv "$work/venv"
want_pypi "$work/venv/bin/pip"
install_over "$build" "$work/venv/bin/pip" install -q
# The lines that users read first, from a folder where nothing but the installed package is found.
for page in README.md docs/python.md; do
  sed -n '/^```python$/,/^```$/{//!p}' "$page" >"$work/first_lines.py"
  (cd "$work" && venv/bin/python first_lines.py)
done
"$work/venv/bin/pip" install -q pytest nanobind
"$work/venv/bin/python" -m pytest -q -p no:cacheprovider "$@" tests/python/test_*.py
