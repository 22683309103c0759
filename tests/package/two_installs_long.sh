#!/usr/bin/env bash
# Two `pip install .` in one clone at the same moment, for two environments: they take turns, and both packages work.
# usage: two_installs_long.sh BUILD_FOLDER; 77: skipped
set -euo pipefail
build=$(realpath "$1")
work=$(mktemp -d -t transload-test-XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/clone" "$work/doubles"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
git ls-files -z | xargs -0 cp --parents -t "$work/clone"
cd "$work/clone"
. tests/python/over_install.sh
want_python python3
for which in one two; do
  python3 -m venv "$work/$which"
done
want_pypi "$work/one/bin/pip"
copy_install "$build"

# A double of cmake notes when a build begins and ends, and whose it is.
cat >"$work/doubles/cmake" <<END
#!/usr/bin/env bash
[[ " \$* " == *' --build '* ]] || exec '$(command -v cmake)' "\$@"
echo "\$WHOSE begins" >>'$work/builds'
status=0
'$(command -v cmake)' "\$@" || status=\$?
echo "\$WHOSE ends" >>'$work/builds'
exit "\$status"
END
chmod +x "$work/doubles/cmake"
PATH=$work/doubles:$PATH

started=()
for which in one two; do
  WHOSE=$which install_over_copy "$work/$which/bin/pip" install >"$work/$which.log" 2>&1 &
  started+=($!)
done
for process in "${started[@]}"; do
  wait "$process" || {
    tail -n 30 "$work"/*.log
    exit 1
  }
done

sed -n '/^```python$/,/^```$/{//!p}' README.md >"$work/first_lines.py"
for which in one two; do
  (cd "$work" && "$which/bin/python" first_lines.py)
done
cat "$work/builds"
turns=$(sort "$work/builds" | tr '\n' ' ')
[[ $turns == 'one begins one ends two begins two ends ' ]] || {
  echo "not a build for each: $turns"
  exit 1
}
# Whoever begins ends before the other one begins.
awk 'NR % 2 == 1 { whose = $1; next } $1 != whose || $2 != "ends" { exit 1 }' "$work/builds"
