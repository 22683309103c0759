# What is needed and not ours, each with Debian's package for it. All that is missing is told at once.
set(needs
  boost/asio.hpp libboost-dev
  libboost_context.a libboost-context-dev
  CLI/CLI.hpp libcli11-dev
  dlpack/dlpack.h libdlpack-dev
  fmt/format.h libfmt-dev
  hwy/highway.h libhwy-dev
  nlohmann/json.hpp nlohmann-json3-dev
  sodium.h libsodium-dev
  toml++/toml.h libtomlplusplus-dev
  xxhash.h libxxhash-dev)
set(missing "")
while(needs)
  list(POP_FRONT needs file package)
  if(file MATCHES "\\.a$")
    find_library(TRANSLOAD_NEED_${package} ${file})
  else()
    find_path(TRANSLOAD_NEED_${package} ${file})
  endif()
  mark_as_advanced(TRANSLOAD_NEED_${package})
  if(NOT TRANSLOAD_NEED_${package})
    string(APPEND missing "\n  ${file} (Debian: ${package})")
  endif()
endwhile()
if(missing)
  message(FATAL_ERROR "missing:${missing}\n./dev installs what is missing on Debian.")
endif()
