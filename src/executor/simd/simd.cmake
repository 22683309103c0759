# Instructions of each kernel file, and the arithmetic of the contract. Included where the library's target is made:
# properties of source files hold only in the directory that sets them.
set(TRANSLOAD_SIMD_DIR ${CMAKE_CURRENT_LIST_DIR})
set(TRANSLOAD_SIMD_SOURCES ${TRANSLOAD_SIMD_DIR}/simd_baseline.cc ${TRANSLOAD_SIMD_DIR}/simd_avx2.cc
    ${TRANSLOAD_SIMD_DIR}/simd_avx512.cc)
# At -O2 loops over the vectors of a block stay loops, with the sums in memory.
set(TRANSLOAD_SIMD_FLAGS -ffp-contract=off $<$<CONFIG:Release,RelWithDebInfo>:-O3>)
set_source_files_properties(${TRANSLOAD_SIMD_SOURCES} PROPERTIES COMPILE_OPTIONS "${TRANSLOAD_SIMD_FLAGS}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND TRANSLOAD_SIMD_FLAGS -mavx2 -mfma -mbmi -mbmi2)
  set_source_files_properties(${TRANSLOAD_SIMD_DIR}/simd_avx2.cc PROPERTIES COMPILE_OPTIONS "${TRANSLOAD_SIMD_FLAGS}")
  list(APPEND TRANSLOAD_SIMD_FLAGS -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd)
  set_source_files_properties(${TRANSLOAD_SIMD_DIR}/simd_avx512.cc PROPERTIES COMPILE_OPTIONS "${TRANSLOAD_SIMD_FLAGS}")
endif()
