# gp_install_library(): puts libgausspool where other programs find it. All files say where the others are relative to
# themselves, so that the installed tree may be moved.
#
# Components of cmake --install: runtime (what a linked program needs to run), devel (what is needed to link one),
# program (all else).
include(CMakePackageConfigHelpers)

function(gp_install_library)
  # What the archive needs beside it: by name, since another machine keeps it elsewhere, and of the compiler that built
  # the archive, since two OpenMP runtimes in one program get in each other's way.
  set(libraries pthread m ${CMAKE_DL_LIBS})
  if(GAUSSPOOL_OPENMP)
    set(libraries ${OpenMP_C_LIB_NAMES} m ${CMAKE_DL_LIBS})
  endif()
  foreach(library ${libraries})
    target_link_libraries(gausspool_static INTERFACE $<INSTALL_INTERFACE:${library}>)
  endforeach()

  set_target_properties(gausspool_shared PROPERTIES EXPORT_NAME gausspool)
  install(TARGETS gausspool_shared gausspool_static EXPORT gausspoolTargets
          LIBRARY COMPONENT runtime NAMELINK_COMPONENT devel
          ARCHIVE COMPONENT devel)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/gausspool DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT devel
          FILES_MATCHING PATTERN "*.h")

  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/gausspool)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/gausspoolConfig.cmake.in gausspoolConfig.cmake
                                INSTALL_DESTINATION ${package} NO_SET_AND_CHECK_MACRO)
  # Before 1.0 a new minor version may change the interface.
  write_basic_package_version_file(gausspoolConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(EXPORT gausspoolTargets NAMESPACE gausspool:: DESTINATION ${package} COMPONENT devel)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gausspoolConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/gausspoolConfigVersion.cmake
          DESTINATION ${package} COMPONENT devel)

  # A library folder given as an absolute path has no fixed way to the prefix.
  set(pc_prefix ${CMAKE_INSTALL_PREFIX})
  if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
    file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "^(.*)/$" "\${pcfiledir}/\\1" pc_prefix ${pc_prefix})
  endif()
  cmake_path(APPEND pc_libdir "\${prefix}" ${CMAKE_INSTALL_LIBDIR})
  cmake_path(APPEND pc_includedir "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})
  list(TRANSFORM libraries PREPEND -l)
  list(JOIN libraries " " pc_libs_private)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/gausspool.pc.in gausspool.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gausspool.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT devel)
endfunction()
