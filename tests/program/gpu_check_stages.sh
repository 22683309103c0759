#!/usr/bin/env bash
# tools/gpu_check with programs that only say how they were called: stages, what is remembered, failures, the table.
set -uo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
wrong=0

expect() {
  [[ $1 == *"$2"* ]] && return
  printf 'no "%s" in:\n%s\n' "$2" "$1"
  wrong=1
}
# program NAME line...
program() {
  printf '%s\n' '#!/usr/bin/env bash' "${@:2}" >"$folder/$1"
  chmod +x "$folder/$1"
}
check() { tools/gpu_check --gpus 2 --carried "$folder" --out "$folder/out" "$@" 2>&1; }

for name in regions_check layout_check ladder_check trip agree; do program $name 'echo "called with $*"'; done
program regions_check 'echo "skipped: no such memory"; exit 77'
program litmus_check 'echo "a promise was broken"; exit 1'
case='{"case":"combine_bf16","gpus":2,"node_sizes":[1,1],"sms":16,"us":{"min":1.5,"median":2.5,"max":3.5}}'
program bench_gpu_trip 'echo "{\"memory\":{}}"' "echo '$case'"

out=$(check regions layout litmus shapes proxy_faults bench_two_nodes agree) &&
  { echo "a failed stage, and exit status 0"; wrong=1; }
expect "$out" 'skipped'
expect "$out" 'called with 1 10'
expect "$out" 'FAILED'
expect "$out" '  | a promise was broken'
expect "$out" '--gtest_filter=Shapes.*'
expect "$out" '--gtest_filter=Each/AbsentRank*:Faults.*:Each/LeavingRank*:Each/LateRank*'
expect "$out" '--gtest_filter=*Gpus*'
expect "$(grep combine_bf16 <<<"$out" | tail -n 1)" '2.5'
expect "$(cat "$folder/out/results.jsonl")" "$case"
expect "$(cat "$folder/out/log.txt")" 'called with 1 10'

program litmus_check 'echo "every promise was kept"'
program layout_check 'echo "called again"; exit 1'
out=$(check layout litmus bench_two_nodes) || { echo "all is well, and not exit status 0"; wrong=1; }
expect "$out" 'every promise was kept'
expect "$out" 'before'
[[ $out != *'called again'* ]] || { echo "what was done was done again"; wrong=1; }
out=$(check --again layout) && { echo "--again did nothing"; wrong=1; }

out=$(check --nccl none bench_nccl) || { echo "NCCL that is none is a failure"; wrong=1; }
expect "$out" 'skipped   '
expect "$out" 'no libnccl.so.2'
out=$(check --again --nccl "$folder/libnccl.so.2" bench_nccl) && { echo "no case of NCCL is well"; wrong=1; }
expect "$out" 'NCCL was not measured'
program bench_gpu_trip 'echo "called with $*" >&2' "echo '$case'" "echo '${case/combine/nccl_combine}'"
out=$(check --nccl "$folder/libnccl.so.2" bench_nccl) || { echo "NCCL was measured, and it failed"; wrong=1; }
expect "$out" "--nccl $folder/libnccl.so.2"
expect "$(grep nccl_combine <<<"$out" | tail -n 1)" '2.5'

program bench_gpu_trip 'echo "nothing to say"'
out=$(check --again bench_two_nodes) && { echo "a bench without a case is well"; wrong=1; }
out=$(check no_such_stage) && { echo "a stage that is none"; wrong=1; }
expect "$out" "no stage 'no_such_stage'"
printf 'ok 1500\n' >"$folder/out/done/spent"
out=$(check --again litmus) && { echo "a stage without time for it is well"; wrong=1; }
expect "$out" 'NO TIME'

# Its patterns name tests that its programs have.
list='printf "%s\n" "Shapes." "  OneRank" "Each/AbsentRank." "  Comes/0  # GetParam() = 0" "Faults." "  Killed"'
program trip "$list"
out=$(check --filters) && { echo "patterns without a test are well"; wrong=1; }
expect "$out" "stage proxy_calls: no test of $folder/trip matches 'Replays.*'"
[[ $out != *"'Shapes.*'"* && $out != *"'Each/AbsentRank*'"* ]] || { echo "tests that are there are missed"; wrong=1; }
rm "$folder/trip" "$folder/agree"
out=$(check --filters) && { echo "no program, and all patterns are well"; wrong=1; }

((wrong)) || echo "gpu_check does its stages"
exit "$wrong"
