# ./dev test: the tests in each configuration that this machine can build. Sourced by ./dev, whose functions it uses.

SKIPPED=()
BROKEN=0     # steps that failed without a test to blame
RESULTS=()   # JUnit files of ctest
EXTRA=()     # arguments for every ctest
HOST_OPTIONS=()  # of the preset host
AHEAD=0      # the process group that builds what is tested later

# The thread sanitizer cannot place its shadow under some kernels' address randomisation.
without_randomisation() {
  if setarch -R true 2>/dev/null; then setarch -R "$@"; else "$@"; fi
}

# run_ctest PRESET: writes a JUnit file. A failing test is reported by count_results, not here.
run_ctest() {
  local preset=$1 junit=$PWD/$LOGS/$1.xml
  rm -f "$junit"
  # Tests mostly wait, ranks for each other and for what is to come late, so more run than there are processors.
  without_randomisation ctest --preset "$preset" -j $((2 * JOBS)) --output-junit "$junit" "${EXTRA[@]}"
}

# build_ahead PRESET...: builds in processor time that tests leave, so that later steps find less to do. It reports
# nothing: what fails here fails again in its own step. Ninja itself, because cmake would end before it does.
build_ahead() {
  local preset target=()
  trap 'exit 1' TERM  # ninja gets the signal too, and ends first
  for preset in "$@"; do
    [[ $preset == fuzz ]] && target=(fuzz_programs)
    nice -n 19 cmake --preset "$preset" -DTRANSLOAD_TESTS=ON &&
      nice -n 19 ninja -C "build/$preset" -j "$JOBS" "${target[@]}" || return
  done
}

start_building_ahead() {
  (($#)) && command -v clang++ >/dev/null || return 0
  set -m  # a group of its own, to be ended as a whole
  build_ahead "$@" >>"$LOGS/build-ahead.log" 2>&1 </dev/null &
  AHEAD=$!
  set +m
}

stop_building_ahead() {
  ((AHEAD)) || return 0
  kill -TERM -- "-$AHEAD" 2>/dev/null || true
  wait "$AHEAD" 2>/dev/null || true
  AHEAD=0
}

# test_preset PRESET LATER...: configure, build, run, while what is tested later is built.
test_preset() {
  local preset=$1 junit=$LOGS/$1.xml options=()
  shift
  [[ $preset == host ]] && options=("${HOST_OPTIONS[@]}")
  stop_building_ahead
  configure "$preset" -DTRANSLOAD_TESTS=ON "${options[@]}" &&
    step "build $preset" cmake --build --preset "$preset" -j "$JOBS" || {
    BROKEN=$((BROKEN + 1))
    return 0
  }
  start_building_ahead "$@"
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

# pytest_step NAME COMMAND...: a step that leaves a JUnit file of pytest, or says why it was skipped.
pytest_step() {
  local name=$1 junit=$PWD/$LOGS/$1.xml status=0
  local SHOW_END=0  # the results name each failure
  shift
  rm -f "$junit"
  step "test $name" "$@" --junitxml "$junit" || status=$?
  if ((status == SKIPPED_STATUS)); then
    SKIPPED+=("$name: $(sed -n 's/^SKIPPED: //p' "$LOGS/test-$name.log")")
  elif [[ -f $junit ]]; then
    RESULTS+=("$name=$junit")
  else
    tail -n 25 "$LOGS/test-$name.log" | sed 's/^/  | /'
    BROKEN=$((BROKEN + 1))
  fi
}

# Tests the Python package over the build of the preset host, in a virtual environment that this makes, and, where torch
# is, the part that needs it.
test_python() {
  if [[ -z $only || python =~ $only ]]; then pytest_step python tests/python/run.sh build/host; fi
  if [[ -z $only || torch =~ $only ]]; then pytest_step torch tests/python/run_torch.sh build/host; fi
}

install_torch() {
  local status=0
  say "torch: $(tests/python/install_torch.sh --what)"
  step "install torch" tests/python/install_torch.sh || status=$?
  if ((status == SKIPPED_STATUS)); then
    SKIPPED+=("torch: $(sed -n 's/^SKIPPED: //p' "$LOGS/install-torch.log")")
  elif ((status != 0)); then
    BROKEN=$((BROKEN + 1))
  fi
}

# Fetches what an emulated machine with RDMA needs. If something is missing, its tests are skipped and say why.
emulate() {
  (set_up "to emulate a machine" "${GUEST_PACKAGES[@]}") || true
  step "fetch a kernel for the emulated machine" tools/guest_kernel || true
}

# gpu_architectures LONG: kernels that cannot run here are compiled for one kind of GPU alone, unless LONG is 1.
gpu_architectures() {
  command -v nvcc >/dev/null || return 0
  if (($1)) || nvidia-smi -L >/dev/null 2>&1; then
    HOST_OPTIONS+=("-DTRANSLOAD_GPU_ARCHITECTURES=90a;100a")
  else
    HOST_OPTIONS+=(-DTRANSLOAD_GPU_ARCHITECTURES=90a)
    SKIPPED+=("kernels for sm_100a, which build/host is now without; --long compiles them too")
  fi
}

# In a first build many sources are compiled as one, because headers are most of a source's cost, and sources that no
# row passes are optimised less. To change sources one at a time: cmake --preset host -DTRANSLOAD_UNITY=.
first_build() {
  [[ -f build/host/CMakeCache.txt ]] || HOST_OPTIONS+=(-DTRANSLOAD_UNITY=all -DTRANSLOAD_COLD_FLAGS=-O1)
}

# Fetches what kernels that drive a NIC are compiled with. To compile them takes minutes for each kind of GPU.
nic_headers() {
  command -v nvcc >/dev/null || return 0
  if ! (set_up "to compile kernels that drive a NIC" libibverbs-dev); then
    SKIPPED+=("kernels that drive a NIC: libibverbs-dev is not here")
  elif ! step "fetch headers of NVSHMEM" tools/nvshmem_headers; then
    SKIPPED+=("kernels that drive a NIC: $(tail -n 1 "$LOGS/fetch-headers-of-NVSHMEM.log")")
  elif (($1)); then
    HOST_OPTIONS+=("-DTRANSLOAD_IBGDA_ARCHITECTURES=90a;100a")
  else
    HOST_OPTIONS+=(-DTRANSLOAD_IBGDA_ARCHITECTURES=90a)
    SKIPPED+=("kernels that drive a NIC: those for sm_100a; --long compiles them too")
  fi
}

run_tests() {
  local long=0 torch=0 only="" begin=$SECONDS
  while (($#)); do
    case $1 in
      --long) long=1 ;;
      --torch) torch=1 ;;
      --only)
        (($# > 1)) || fail "--only needs a regular expression"
        only=$2
        EXTRA+=(-R "$only" --no-tests=ignore)
        shift
        ;;
      *) fail "test: no option '$1'; see ./dev help" ;;
    esac
    shift
  done
  alone
  ((long)) || EXTRA+=(-LE '^long$')

  set_up "to build the program" "${BUILD_PACKAGES[@]}"
  set_up "to test it" "${TEST_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}"
  ((!torch)) || install_torch
  emulate
  first_build
  gpu_architectures "$long"
  nic_headers "$long"
  rm -f "$LOGS/build-ahead.log"
  trap stop_building_ahead EXIT
  test_preset host asan tsan fuzz
  test_python
  local later=(asan tsan fuzz) preset
  while ((${#later[@]})); do
    preset=${later[0]}
    if command -v clang++ >/dev/null; then
      test_preset "${later[@]}"
    else
      SKIPPED+=("$preset: clang++ is not here")
    fi
    later=("${later[@]:1}")
  done

  local reason status=0
  for reason in "${SKIPPED[@]}"; do say "skipped: $reason"; done
  say "all of it: $((SECONDS - begin)) s"
  python3 tools/test_results --broken "$BROKEN" "${RESULTS[@]}" || status=$?
  return "$status"
}
