# libgausspool_cuda: its kernels on the host, how it is found, and the same tests on a GPU. Included by pool.cmake.

# libgausspool_cuda_host is that library without CUDA, for tests: its functions work on the machine's own memory, and the threads of a
# grid run in a loop. GAUSSPOOL_CUDA_LIBRARY names it to libgausspool. It needs no more than a C++ compiler. Not where C++ might be
# another machine's or another compiler's than C.
include(CheckLanguage)
if(NOT CMAKE_CROSSCOMPILING AND NOT GAUSSPOOL_FUZZ)
  check_language(CXX)
endif()
if(CMAKE_CROSSCOMPILING OR GAUSSPOOL_FUZZ)
  # left out
elseif(CMAKE_CXX_COMPILER)
  enable_language(CXX)
  set(pool ${PROJECT_SOURCE_DIR}/src/pool)
  set(sources ${pool}/cuda/api.c ${pool}/cuda/plan.c ${pool}/arguments.c ${pool}/kinds.c ${pool}/params.c ${pool}/shape.c
              ${PROJECT_SOURCE_DIR}/src/base/status.c cuda_host_device.c)
  foreach(dtype float32 float64 bfloat16 float16)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/launch_${dtype}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"pool/cuda/launch_${dtype}.cu\"\n")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-O1;${gp_lean_sanitizers}") # compiles fastest
    list(APPEND sources ${source})
  endforeach()
  add_library(gausspool_cuda_host SHARED ${sources})
  target_compile_definitions(gausspool_cuda_host PRIVATE GP_VERSION="${PROJECT_VERSION}")
  target_link_libraries(gausspool_cuda_host PRIVATE gp_options m)
  set_target_properties(gausspool_cuda_host PROPERTIES CXX_STANDARD 17 CXX_VISIBILITY_PRESET hidden)
  if(GAUSSPOOL_OPENMP)
    find_package(OpenMP REQUIRED COMPONENTS CXX)
    target_link_libraries(gausspool_cuda_host PRIVATE OpenMP::OpenMP_CXX)
  endif()

  gp_unit_test(NAME test_pool_cuda SOURCES test_pool_cuda.c pool_cuda_on_host.c pool_case_tolerance.c ${case}
               LIBRARIES gp_operator)
  add_dependencies(test_pool_cuda gausspool_cuda_host)

  # The same, in few cases, on the stand-in for cmocka.
  add_executable(test_pool_cuda_plain test_pool_cuda.c pool_cuda_on_host.c pool_case_tolerance.c ${case})
  target_link_libraries(test_pool_cuda_plain PRIVATE gp_options gp_operator no_cmocka m)
  target_include_directories(test_pool_cuda_plain PRIVATE no_cmocka ${CMAKE_CURRENT_SOURCE_DIR})
  add_dependencies(test_pool_cuda_plain gausspool_cuda_host)
  add_test(NAME test_pool_cuda_plain COMMAND test_pool_cuda_plain)
  set_tests_properties(test_pool_cuda_plain PROPERTIES TIMEOUT 300 LABELS pool ENVIRONMENT GAUSSPOOL_TEST_CASES=100)

  add_library(cuda_other_version MODULE cuda_library_stub.c)
  add_library(cuda_incomplete MODULE cuda_library_stub.c)
  target_compile_definitions(cuda_incomplete PRIVATE STUB_INCOMPLETE)
  foreach(stub cuda_other_version cuda_incomplete)
    target_link_libraries(${stub} PRIVATE gp_options)
  endforeach()
  find_package(Threads REQUIRED)
  gp_unit_test(NAME test_cuda_library SOURCES test_cuda_library.c
               ARGUMENTS $<TARGET_FILE:gausspool_shared> $<TARGET_FILE:gausspool_cuda_host>
                         $<TARGET_FILE:cuda_other_version> $<TARGET_FILE:cuda_incomplete>
               LIBRARIES Threads::Threads ${CMAKE_DL_LIBS})
  add_dependencies(test_cuda_library gausspool_shared gausspool_cuda_host cuda_other_version cuda_incomplete)
else()
  message(STATUS "no C++ compiler (Debian: g++): the tests of CUDA kernels on the host are left out")
endif()

gp_unit_test(NAME test_pool_cuda_plan SOURCES test_pool_cuda_plan.c ${PROJECT_SOURCE_DIR}/src/pool/cuda/plan.c
             LIBRARIES gp_operator)

# The same tests on a GPU, skipped where there is none; and under compute-sanitizer, on request.
if(TARGET gausspool_cuda)
  find_package(CUDAToolkit REQUIRED)
  gp_unit_test(NAME test_pool_cuda_device
               SOURCES test_pool_cuda.c pool_cuda_on_device.c pool_case_tolerance.c ${case}
               LIBRARIES gp_operator CUDA::cudart_static)
  add_dependencies(test_pool_cuda_device gausspool_cuda)
  # Built, the library does not lie beside the program.
  set_tests_properties(test_pool_cuda_device PROPERTIES SKIP_RETURN_CODE 77
                       ENVIRONMENT GAUSSPOOL_CUDA_LIBRARY=$<TARGET_FILE:gausspool_cuda>)
  add_custom_target(cuda-sanitizer DEPENDS test_pool_cuda_device gausspool_cuda VERBATIM)
  foreach(tool memcheck racecheck initcheck)
    add_custom_command(TARGET cuda-sanitizer POST_BUILD COMMAND
      ${CMAKE_COMMAND} -E env GAUSSPOOL_CUDA_LIBRARY=$<TARGET_FILE:gausspool_cuda> GAUSSPOOL_TEST_CASES=400
      GAUSSPOOL_TEST_UNWRITTEN=$<STREQUAL:${tool},initcheck>
      compute-sanitizer --tool ${tool} --error-exitcode 1 $<TARGET_FILE:test_pool_cuda_device> VERBATIM)
  endforeach()

  # Which device a call turns to, on a stand-in for CUDA's runtime: its headers alone.
  gp_unit_test(NAME test_cuda_device SOURCES test_cuda_device.c ${PROJECT_SOURCE_DIR}/src/pool/cuda/device.c
               LIBRARIES gp_operator)
  target_include_directories(test_cuda_device SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})

  # Of CUDA's runtime it calls what neither allocates nor waits, and nothing else.
  add_test(NAME test_cuda_calls COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cuda_calls ${CMAKE_NM} $<TARGET_OBJECTS:gausspool_cuda>
           COMMAND_EXPAND_LISTS)
  set_tests_properties(test_cuda_calls PROPERTIES LABELS pool)
endif()
