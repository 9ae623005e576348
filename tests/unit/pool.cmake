gp_unit_test(NAME test_pool_shape SOURCES test_pool_shape.c LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_kernels SOURCES test_pool_kernels.c pool_case_tolerance.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_gradients SOURCES test_pool_gradients.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_draws SOURCES test_pool_draws.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_special SOURCES test_pool_special.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_accuracy SOURCES test_pool_accuracy.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_golden SOURCES test_pool_golden.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_limits SOURCES test_pool_limits.c LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_elementary SOURCES test_pool_elementary.c LIBRARIES gp_operator)

include(${CMAKE_CURRENT_SOURCE_DIR}/pool_cuda.cmake)

# Threads that wait do not spin: the tests use more of them than the machine may have to spare.
set_tests_properties(test_pool_kernels test_pool_limits PROPERTIES ENVIRONMENT OMP_WAIT_POLICY=passive)

# GCC 12 for ARM fails with an internal error (vect_transform_reduction) on this one's sums.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  set_source_files_properties(test_pool_draws.c PROPERTIES COMPILE_OPTIONS -fno-tree-vectorize)
endif()

# What the shared library exports begins with gp_.
add_test(NAME test_exported_symbols
         COMMAND sh -c "names=$(\"$1\" -D --defined-only \"$2\" | awk '{print $NF}') && test -n \"$names\" && \
! echo \"$names\" | grep -v '^gp_'" sh ${CMAKE_NM} $<TARGET_FILE:gausspool_shared>)
