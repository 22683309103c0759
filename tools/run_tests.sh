# ./dev test: the tests in each configuration that this machine can build. Sourced by ./dev, whose functions it uses.

SKIPPED=()
BROKEN=0     # steps that failed without a test to blame
RESULTS=()   # JUnit files of ctest
EXTRA=()     # arguments for every ctest

# The thread sanitizer cannot place its shadow under some kernels' address randomisation.
without_randomisation() {
  if setarch -R true 2>/dev/null; then setarch -R "$@"; else "$@"; fi
}

# run_ctest PRESET: writes a JUnit file. A failing test is reported by count_results, not here.
run_ctest() {
  local preset=$1 junit=$PWD/$LOGS/$1.xml
  rm -f "$junit"
  # Tests mostly wait: ranks for each other, and for what is to come late.
  without_randomisation ctest --preset "$preset" -j $((2 * JOBS)) --output-junit "$junit" "${EXTRA[@]}"
}

# test_preset PRESET: configure, build, run.
test_preset() {
  local preset=$1 junit=$LOGS/$1.xml
  configure "$preset" -DTRANSLOAD_TESTS=ON && step "build $preset" cmake --build --preset "$preset" -j "$JOBS" || {
    BROKEN=$((BROKEN + 1))
    return 0
  }
  if [[ $preset == tsan ]] && ! tsan_starts; then
    SKIPPED+=("tsan: $(grep -m 1 -a . "$LOGS/tsan-probe.log" || echo 'its programs do not start on this kernel')")
    return 0
  fi
  local SHOW_END=0  # the results name each failure
  step "test $preset" run_ctest "$preset" || [[ -f $junit ]] || BROKEN=$((BROKEN + 1))
  [[ ! -f $junit ]] || RESULTS+=("$preset=$junit")
}

tsan_starts() {
  local program
  for program in build/tsan/tests/*; do
    [[ -f $program && -x $program ]] || continue
    without_randomisation "$program" --gtest_list_tests >"$LOGS/tsan-probe.log" 2>&1
    return
  done
}

run_tests() {
  local long=0 begin=$SECONDS
  while (($#)); do
    case $1 in
      --long) long=1 ;;
      --only)
        (($# > 1)) || fail "--only needs a regular expression"
        EXTRA+=(-R "$2" --no-tests=ignore)
        shift
        ;;
      *) fail "test: no option '$1'; see ./dev help" ;;
    esac
    shift
  done
  ((long)) || EXTRA+=(-LE '^long$')

  set_up "to build the program" "${BUILD_PACKAGES[@]}"
  set_up "to test it" "${TEST_PACKAGES[@]}"
  test_preset host
  local preset
  for preset in asan tsan fuzz; do
    if command -v clang++ >/dev/null; then test_preset "$preset"; else SKIPPED+=("$preset: clang++ is not here"); fi
  done

  local reason status=0
  for reason in "${SKIPPED[@]}"; do say "skipped: $reason"; done
  say "all of it: $((SECONDS - begin)) s"
  python3 tools/test_results --broken "$BROKEN" "${RESULTS[@]}" || status=$?
  return "$status"
}
