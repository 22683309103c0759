# Fuzz targets: NAME_fuzz.cc with seeds in corpus/NAME, under libFuzzer and the sanitizers. A fixed number of
# inputs from a fixed seed for each, many more with the label long; what breaks one is left beside the program.
#
# Only what they need is built: these sources, once for all.
set(fuzzed
  src/base/check.cc src/base/status.cc src/base/type_names.cc
  src/os/fork.cc src/os/free_memory.cc src/os/host.cc
  src/transport/scaleup/greeting.cc src/transport/scaleup/region_offer.cc src/transport/scaleup/nvlink/device_offer.cc
  src/transport/scaleout/libfabric/address.cc
  src/control/bootstrap.cc src/control/frame.cc src/control/invitation.cc src/control/meetings.cc src/control/secret.cc
  src/control/member.cc src/control/verdict.cc
  src/runtime/arena.cc src/runtime/call/check_inputs.cc src/runtime/device_share.cc src/runtime/group_options.cc
  src/runtime/network/heap_facts.cc src/runtime/said.cc src/runtime/tensor.cc
  src/sim/scenario/scenario.cc
  cli/options.cc cli/parser.cc cli/link/said.cc cli/run/payload.cc cli/run/result.cc cli/run/safetensors.cc cli/text.cc)
list(TRANSFORM fuzzed PREPEND ${PROJECT_SOURCE_DIR}/)
add_library(transload_fuzzed STATIC EXCLUDE_FROM_ALL ${fuzzed} ${PROJECT_BINARY_DIR}/sim/embedded_scenarios.cc)
transload_flags(transload_fuzzed)
if(TRANSLOAD_UNITY)  # a layer is one source
  foreach(source IN LISTS fuzzed)
    if(NOT source MATCHES "/text\\.cc$" AND source MATCHES "/(os|transport|control|runtime|cli)/")
      set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${CMAKE_MATCH_1})
    endif()
  endforeach()
  set_target_properties(transload_fuzzed PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endif()
target_include_directories(transload_fuzzed PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
  ${TRANSLOAD_DLPACK_INCLUDE})
target_include_directories(transload_fuzzed SYSTEM PRIVATE ${TRANSLOAD_TOML_INCLUDE})
target_link_libraries(transload_fuzzed PUBLIC Threads::Threads PRIVATE sodium::sodium)

add_custom_target(fuzz_programs)

# add_fuzz_test(NAME LABEL TARGET SECONDS INPUTS)
function(add_fuzz_test name label target seconds inputs)
  file(GLOB seeds CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${target}/*)
  if(target STREQUAL "scenario")
    file(GLOB seeds CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/sim/scenarios/*.toml)
  endif()
  list(JOIN seeds "," seeds)
  add_test(NAME ${name} COMMAND fuzz_${target} -seed=1 -runs=${inputs} -max_len=2048 -timeout=20 -rss_limit_mb=1024
    -print_final_stats=1 -artifact_prefix=${CMAKE_BINARY_DIR}/fuzz/${target}- -seed_inputs=${seeds})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${seconds})
endfunction()

# As many inputs as about five seconds take.
set(inputs_bootstrap 100000)
set(inputs_counts 100000)
set(inputs_frames 250000)
set(inputs_greetings 50000)
set(inputs_headers 2000)
set(inputs_link 30000)
set(inputs_meetings 15000)
set(inputs_member 50000)
set(inputs_offers 100000)
set(inputs_options 2500)
set(inputs_safetensors 50000)
set(inputs_scenario 15000)

file(GLOB targets CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/*_fuzz.cc)
foreach(source IN LISTS targets)
  get_filename_component(target ${source} NAME_WE)
  string(REGEX REPLACE "_fuzz$" "" target ${target})
  add_executable(fuzz_${target} EXCLUDE_FROM_ALL ${source})
  set_target_properties(fuzz_${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  transload_flags(fuzz_${target})
  target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(fuzz_${target} PRIVATE transload_fuzzed)
  add_dependencies(fuzz_programs fuzz_${target})
  math(EXPR long "${inputs_${target}} * 100")
  add_fuzz_test(fuzz.${target} core ${target} 300 ${inputs_${target}})
  add_fuzz_test(fuzz.${target}_long long ${target} 1800 ${long})
endforeach()
