if(NOT TARGET gp_dist)
  return()
endif()
gp_unit_test(NAME test_dist SOURCES test_dist.c LIBRARIES gp_dist)

# Between ranks, more of them than processors if need be: those that wait give theirs up. Under AddressSanitizer without its search
# for leaks, of which MPI itself has thousands.
get_property(mpiexec GLOBAL PROPERTY GP_MPIEXEC)
if(NOT mpiexec)
  return()
endif()
set(ranks_environment
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
  OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
  OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0:strict_string_checks=1:detect_stack_use_after_return=0)

# gp_ranks_test(PROGRAM ranks libraries …): test_PROGRAM_ranks; the program is told how many.
function(gp_ranks_test program ranks)
  if(NOT TARGET ${program})
    add_executable(${program} ${program}.c)
    target_link_libraries(${program} PRIVATE ${ARGN})
  endif()
  add_test(NAME test_${program}_${ranks} COMMAND ${mpiexec} ${ranks} $<TARGET_FILE:${program}> ${ranks})
  set_tests_properties(test_${program}_${ranks} PROPERTIES TIMEOUT 120 LABELS dist PROCESSORS 2 ENVIRONMENT "${ranks_environment}")
endfunction()

foreach(ranks 2 3 4 5) # powers of two and others
  gp_ranks_test(ranks_program ${ranks} gp_dist)
endforeach()
# It looks at how MPI adds up.
get_property(mpi_include GLOBAL PROPERTY GP_MPI_INCLUDE)
get_property(mpi_libraries GLOBAL PROPERTY GP_MPI_LIBRARIES)
target_include_directories(ranks_program SYSTEM PRIVATE ${mpi_include})
target_link_libraries(ranks_program PRIVATE ${mpi_libraries})
if(TARGET gp_train)
  gp_ranks_test(replicas_program 3 gp_train gp_nn gp_operator)
endif()
