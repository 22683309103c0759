# cmake --install: headers, library, program, the package config and the pkg-config file.
include(CMakePackageConfigHelpers)

install(TARGETS transload EXPORT transload_targets)
if(TARGET transload_program)
  set_target_properties(transload_program PROPERTIES EXPORT_NAME program)
  install(TARGETS transload_program EXPORT transload_targets)
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

# The archives by their paths, so that a program gets those that CMake's users get.
set(pc_archives "$<TARGET_FILE:Boost::context> ${TRANSLOAD_SODIUM_LIBRARY}")
if(TRANSLOAD_HAS_CUDA)
  string(APPEND pc_archives " $<TARGET_FILE:CUDA::cudart_static> -lrt")
endif()
file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/cmake/transload.pc.in ${PROJECT_BINARY_DIR}/transload.pc.in @ONLY)
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/transload.pc INPUT ${PROJECT_BINARY_DIR}/transload.pc.in)
install(FILES ${PROJECT_BINARY_DIR}/transload.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
