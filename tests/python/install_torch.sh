#!/usr/bin/env bash
# torch and JAX for the tests, in a virtual environment of its own that is kept: build/python/torch.
# usage: install_torch.sh [--what]: --what says what would be fetched, and does nothing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/python/over_install.sh
. tests/python/torch_libraries.sh
python=${PYTHON:-python3} venv=build/python/torch mark=build/python/torch/installed.txt
pins=tests/python/torch.txt

if has_cuda_libraries; then
  only=(--no-deps) what="torch without CUDA 13's libraries, which are here, and JAX"
  size="1.2 GB"
else
  only=() what="torch with CUDA 13's libraries, and JAX"
  size="3.0 GB"
fi
wanted="$what, $("$python" -V)"$'\n'"$(cat "$pins")"

if [[ -f $mark && $(cat "$mark") == "$wanted" ]]; then
  echo "$what: in $venv already"
  exit
fi
echo "$what: $size to fetch, into $venv"
[[ ${1:-} != --what ]] || exit 0
want_python "$python"
rm -rf "$venv"
"$python" -m venv "$venv"
want_pypi "$venv/bin/pip"
"$venv/bin/pip" install -q --no-cache-dir "${only[@]}" -r "$pins"
LD_LIBRARY_PATH=$(library_path) "$venv/bin/python" -c \
  'import jax, torch; print("torch", torch.__version__, "jax", jax.__version__)'
printf '%s' "$wanted" >"$mark"
