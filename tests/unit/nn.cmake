if(TARGET gp_nn)
  gp_unit_test(NAME test_nn_graph SOURCES test_nn_graph.c LIBRARIES gp_nn)
  gp_unit_test(NAME test_nn_fold SOURCES test_nn_fold.c LIBRARIES gp_nn)
  gp_unit_test(NAME test_nn_affine SOURCES test_nn_affine.c LIBRARIES gp_nn)
  gp_unit_test(NAME test_nn_compile SOURCES test_nn_compile.c LIBRARIES gp_nn)
  gp_unit_test(NAME test_nn_sync SOURCES test_nn_sync.c LIBRARIES gp_nn)
  # The same in blocks of 8 channels, as machines without AVX-512 have them.
  foreach(test test_nn_affine test_nn_compile test_nn_sync)
    add_test(NAME ${test}_avx2 COMMAND ${test})
    set_tests_properties(${test}_avx2 PROPERTIES TIMEOUT 300 LABELS nn
                         ENVIRONMENT "ONEDNN_MAX_CPU_ISA=AVX2;DNNL_MAX_CPU_ISA=AVX2;GAUSSPOOL_ISA=avx2")
  endforeach()
  gp_unit_test(NAME test_nn_run SOURCES test_nn_run.c LIBRARIES gp_nn)
  # Its ranks are threads with threads of their own: those that wait do not spin.
  set_tests_properties(test_nn_sync PROPERTIES ENVIRONMENT "OMP_WAIT_POLICY=passive;OMP_NUM_THREADS=2")
  gp_unit_test(NAME test_nn_bfloat16 SOURCES test_nn_bfloat16.c LIBRARIES gp_nn)
  # The same where the library emulates the type, with plain loops beside it; and where it has none.
  foreach(isa AVX512_CORE AVX2)
    add_test(NAME test_nn_bfloat16_${isa} COMMAND test_nn_bfloat16)
    set_tests_properties(test_nn_bfloat16_${isa} PROPERTIES TIMEOUT 300 LABELS nn
                         ENVIRONMENT "ONEDNN_MAX_CPU_ISA=${isa};DNNL_MAX_CPU_ISA=${isa};GAUSSPOOL_ISA=baseline")
  endforeach()
endif()
