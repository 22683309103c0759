# What every target of ours is compiled with, and the sanitizers, which must be everywhere or nowhere.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")

find_program(TRANSLOAD_CCACHE ccache)
if(TRANSLOAD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TRANSLOAD_CCACHE})
endif()

# Of undefined behaviour not what the address sanitizer finds too, when it happens: who follows a null pointer, or
# reads beyond an object or one that has gone. These checks are most of what that sanitizer's code takes to compile.
set(undefined undefined -fno-sanitize=null,object-size,vptr -fno-sanitize-recover=undefined)
if(TRANSLOAD_SANITIZE STREQUAL "address")
  set(sanitizer -fsanitize=address,${undefined})
elseif(TRANSLOAD_SANITIZE STREQUAL "thread")
  set(sanitizer -fsanitize=thread)
elseif(TRANSLOAD_SANITIZE STREQUAL "fuzzer")
  set(sanitizer -fsanitize=fuzzer-no-link,address,${undefined})
elseif(TRANSLOAD_SANITIZE)
  message(FATAL_ERROR "TRANSLOAD_SANITIZE is '${TRANSLOAD_SANITIZE}': address, thread, fuzzer or empty")
endif()
if(TRANSLOAD_SANITIZE)
  add_compile_options(${sanitizer} -fno-omit-frame-pointer)
  add_link_options(${sanitizer})
endif()

# Sums must round as the contract says on every compiler, so nothing is fused.
function(transload_flags target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-ffp-contract=off>"
    "$<$<AND:$<BOOL:${TRANSLOAD_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>")
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  if(TRANSLOAD_SITUATIONS)
    target_compile_definitions(${target} PRIVATE TRANSLOAD_SITUATIONS)
  endif()
  if(TRANSLOAD_HOST_PLANTS)
    target_compile_definitions(${target} PRIVATE TRANSLOAD_HOST_PLANTS)
  endif()
  if(TRANSLOAD_HAS_CUDA)
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${TRANSLOAD_CUDA_FLAGS}>")
    target_compile_definitions(${target} PRIVATE TRANSLOAD_CUDA)
    if(TRANSLOAD_GPU_CHECKS)
      target_compile_definitions(${target} PRIVATE TRANSLOAD_GPU_CHECKS)
    endif()
    target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  endif()
  if(TRANSLOAD_LIBFABRIC_INCLUDE)
    target_compile_definitions(${target} PRIVATE TRANSLOAD_LIBFABRIC)
    target_include_directories(${target} SYSTEM PRIVATE ${TRANSLOAD_LIBFABRIC_INCLUDE})
  endif()
endfunction()

# What no row passes through costs more to make fast than it costs when it is slow.
set(TRANSLOAD_COLD_FLAGS "" CACHE STRING "Flags of the C++ compiler for cold sources, behind all others")
function(cold_sources)
  set_property(SOURCE ${ARGN} PROPERTY TRANSLOAD_COLD ON)
endfunction()

# Most of what a source costs to compile is in its headers, so who builds once compiles many as one. That finds no
# include that is forgotten: tools/tidy finds most, by the names that a source uses, and tools/lint, which reads each
# source by itself, all of those that it is given (with `./dev test --long`, every one).
set(TRANSLOAD_UNITY "" CACHE STRING "Compiled together: tests (those of a folder), all (the library too), or nothing")
set_property(CACHE TRANSLOAD_UNITY PROPERTY STRINGS "" tests all)

# Cold sources get their flags, and with TRANSLOAD_UNITY eight at a time are one, if no other source has flags like it.
function(group_sources target)
  get_target_property(sources ${target} SOURCES)
  set(hot 0)
  set(cold 0)
  foreach(source IN LISTS sources)
    get_source_file_property(own ${source} COMPILE_OPTIONS)
    get_source_file_property(is_cold ${source} TRANSLOAD_COLD)
    set(flags "")
    set(kind hot)
    if(is_cold AND TRANSLOAD_COLD_FLAGS)
      set(flags $<$<COMPILE_LANGUAGE:CXX>:${TRANSLOAD_COLD_FLAGS}>)
      set(kind cold)
    endif()
    if(own OR NOT source MATCHES "\\.cc$" OR NOT TRANSLOAD_UNITY STREQUAL "all")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS ${flags})
      continue()
    endif()
    math(EXPR batch "${${kind}} / 8")
    math(EXPR ${kind} "${${kind}} + 1")
    set_property(SOURCE ${source} PROPERTY UNITY_GROUP ${kind}${batch})
    set_property(SOURCE ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${target}.dir/Unity/unity_${kind}${batch}_cxx.cxx
      PROPERTY COMPILE_OPTIONS ${flags})
  endforeach()
  if(TRANSLOAD_UNITY STREQUAL "all")
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
    # What is nameless in a source is in one source all the same.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()
