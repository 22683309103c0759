#!/usr/bin/env bash
# The tests that need torch, which are those in folders of tests/python: by the Python of install_torch.sh, else by the
# caller's if it has torch.
# usage: run_torch.sh BUILD_FOLDER [pytest's arguments]; 77: skipped
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/python/over_install.sh
. tests/python/torch_libraries.sh
build=$PWD/$1 beside=$PWD/build/python/beside_torch python=${PYTHON:-python3}
shift

LD_LIBRARY_PATH=$(library_path)
export LD_LIBRARY_PATH
[[ ! -f build/python/torch/installed.txt ]] || python=build/python/torch/bin/python
want_python "$python"
"$python" -c 'import torch' 2>/dev/null || say_skipped "$python has no torch; ./dev test --torch installs it"
want_pypi "$python" -m pip
# Beside torch's environment, which may be anyone's, and is left as it is.
rm -rf "$beside"
install_over "$build" "$python" -m pip install -q --target "$beside" pytest scikit-build-core
PYTHONPATH=$beside "$python" -m pytest -q -p no:cacheprovider "$@" tests/python/*/
