set(case pool_case.c pool_case_buffer.c pool_case_random.c pool_case_run.c)
gp_unit_test(NAME test_pool_shape SOURCES test_pool_shape.c LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_kernels SOURCES test_pool_kernels.c pool_case_tolerance.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_gradients SOURCES test_pool_gradients.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_draws SOURCES test_pool_draws.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_special SOURCES test_pool_special.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_accuracy SOURCES test_pool_accuracy.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_golden SOURCES test_pool_golden.c ${case} LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_limits SOURCES test_pool_limits.c LIBRARIES gp_operator)
gp_unit_test(NAME test_pool_elementary SOURCES test_pool_elementary.c LIBRARIES gp_operator)

# The CUDA kernels, compiled for the host: needs no more than a C++ compiler. Not where C++ might be another machine's or
# another compiler's than C.
include(CheckLanguage)
if(NOT CMAKE_CROSSCOMPILING AND NOT GAUSSPOOL_FUZZ)
  check_language(CXX)
endif()
if(CMAKE_CROSSCOMPILING OR GAUSSPOOL_FUZZ)
  # left out
elseif(CMAKE_CXX_COMPILER)
  enable_language(CXX)
  set(sources ${PROJECT_SOURCE_DIR}/src/pool/cuda/api.c ${PROJECT_SOURCE_DIR}/src/pool/cuda/plan.c)
  foreach(dtype float32 float64 bfloat16 float16)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/launch_${dtype}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"pool/cuda/launch_${dtype}.cu\"\n")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -O1) # compiles fastest
    list(APPEND sources ${source})
  endforeach()
  gp_unit_test(NAME test_pool_cuda SOURCES test_pool_cuda.c pool_cuda_host.c pool_case_tolerance.c ${case} ${sources}
               LIBRARIES gp_operator)
  set_target_properties(test_pool_cuda PROPERTIES CXX_STANDARD 17)
else()
  message(STATUS "no C++ compiler (Debian: g++): test_pool_cuda, the CUDA kernels on the host, is left out")
endif()

# The same tests on a GPU, skipped where there is none; and under compute-sanitizer, on request.
if(TARGET gausspool_cuda)
  find_package(CUDAToolkit REQUIRED)
  gp_unit_test(NAME test_pool_cuda_device
               SOURCES test_pool_cuda.c pool_cuda_device.c pool_case_tolerance.c ${case}
               LIBRARIES gp_operator CUDA::cudart_static)
  add_dependencies(test_pool_cuda_device gausspool_cuda)
  # Built, the library does not lie beside the program.
  set_tests_properties(test_pool_cuda_device PROPERTIES SKIP_RETURN_CODE 77
                       ENVIRONMENT GAUSSPOOL_CUDA_LIBRARY=$<TARGET_FILE:gausspool_cuda>)
  add_custom_target(cuda-sanitizer DEPENDS test_pool_cuda_device gausspool_cuda VERBATIM)
  foreach(tool memcheck racecheck initcheck)
    add_custom_command(TARGET cuda-sanitizer POST_BUILD COMMAND
      ${CMAKE_COMMAND} -E env GAUSSPOOL_CUDA_LIBRARY=$<TARGET_FILE:gausspool_cuda> GAUSSPOOL_TEST_CASES=400
      compute-sanitizer --tool ${tool} --error-exitcode 1 $<TARGET_FILE:test_pool_cuda_device> VERBATIM)
  endforeach()
endif()

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
