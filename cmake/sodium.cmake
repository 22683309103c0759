# libsodium, linked statically: so that a binary can be carried to a machine without it. Defines sodium::sodium.
#
# Debian compiles the archive for programs. A module can have it all the same, if it shows none of its names.
if(NOT TARGET sodium::sodium)
  find_path(TRANSLOAD_SODIUM_INCLUDE sodium.h)
  find_library(TRANSLOAD_SODIUM_LIBRARY libsodium.a)
  if(NOT TRANSLOAD_SODIUM_INCLUDE OR NOT TRANSLOAD_SODIUM_LIBRARY)
    message(FATAL_ERROR "sodium.h or libsodium.a is missing (Debian: libsodium-dev)")
  endif()
  add_library(sodium::sodium STATIC IMPORTED)
  set_target_properties(sodium::sodium PROPERTIES IMPORTED_LOCATION "${TRANSLOAD_SODIUM_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${TRANSLOAD_SODIUM_INCLUDE}" INTERFACE_COMPILE_DEFINITIONS SODIUM_STATIC
    INTERFACE_LINK_OPTIONS -Wl,--exclude-libs,libsodium.a)
endif()
