# Tests under Valgrind's memcheck, which sees what AddressSanitizer does not: reads of memory that nobody has written, in the
# kernels as they are shipped. Only `ctest -C valgrind -L valgrind` runs them.
#
# Left out are test_pool_gradients and test_pool_accuracy, which are the scalar reference's and take minutes here, and
# test_pool_limits, which starts more threads than Valgrind has room for.
find_program(VALGRIND valgrind)
if(NOT VALGRIND OR GAUSSPOOL_SANITIZE OR CMAKE_CROSSCOMPILING)
  return()
endif()

# Memory that is still reachable at exit belongs to OpenMP's threads and to what oneDNN keeps.
set(memcheck ${VALGRIND} --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite
             --errors-for-leak-kinds=definite)
# Valgrind runs one thread at a time, so waiting ones must not spin. It knows AVX2, but not AVX-512.
set(environment OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 GAUSSPOOL_ISA=avx2 DNNL_MAX_CPU_ISA=AVX2
                ONEDNN_MAX_CPU_ISA=AVX2 GAUSSPOOL_TEST_CASES=500)

# gp_valgrind_test(NAME COMMAND…)
function(gp_valgrind_test name)
  add_test(NAME valgrind_${name} CONFIGURATIONS valgrind COMMAND ${ARGN})
  set_tests_properties(valgrind_${name} PROPERTIES TIMEOUT 600 LABELS valgrind ENVIRONMENT "${environment}")
endfunction()

foreach(name base half philox pool_shape pool_kernels pool_draws pool_special pool_golden pool_elementary)
  gp_valgrind_test(test_${name} ${memcheck} $<TARGET_FILE:test_${name}>)
endforeach()
if(TARGET gausspool)
  gp_valgrind_test(train ${CMAKE_CURRENT_SOURCE_DIR}/valgrind_train $<TARGET_FILE:gausspool> ${memcheck})
endif()
