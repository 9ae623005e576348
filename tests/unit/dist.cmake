if(NOT TARGET gp_dist)
  return()
endif()
gp_unit_test(NAME test_dist SOURCES test_dist.c LIBRARIES gp_dist)

# Between ranks, more of them than processors if need be: those that wait give theirs up. Powers of two and others. Under
# AddressSanitizer without its search for leaks, of which MPI itself has thousands.
get_property(mpiexec GLOBAL PROPERTY GP_MPIEXEC)
if(mpiexec)
  add_executable(ranks_program ranks_program.c)
  target_link_libraries(ranks_program PRIVATE gp_dist)
  foreach(ranks 2 3 4 5)
    add_test(NAME test_ranks_${ranks} COMMAND ${mpiexec} ${ranks} $<TARGET_FILE:ranks_program> ${ranks})
    set_tests_properties(test_ranks_${ranks} PROPERTIES TIMEOUT 120 LABELS dist PROCESSORS 2 ENVIRONMENT
      "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_mpi_yield_when_idle=1;OMPI_MCA_hwloc_base_binding_policy=none;OMPI_MCA_btl_vader_single_copy_mechanism=none;ASAN_OPTIONS=detect_leaks=0:strict_string_checks=1:detect_stack_use_after_return=0")
  endforeach()
endif()
