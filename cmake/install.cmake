# cmake --install: headers, library, program and the package config.
include(CMakePackageConfigHelpers)

install(TARGETS transload EXPORT transload_targets)
if(TARGET transload_program)
  install(TARGETS transload_program)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/transload DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/transload)
install(EXPORT transload_targets FILE transload-targets.cmake NAMESPACE transload:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/transload-config.cmake.in
  ${PROJECT_BINARY_DIR}/transload-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/transload-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/transload-config.cmake ${PROJECT_BINARY_DIR}/transload-config-version.cmake
        ${PROJECT_SOURCE_DIR}/cmake/sodium.cmake DESTINATION ${package_dir})
