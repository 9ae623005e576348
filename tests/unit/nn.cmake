if(TARGET gp_nn)
  gp_unit_test(NAME test_nn_graph SOURCES test_nn_graph.c LIBRARIES gp_nn)
  gp_unit_test(NAME test_nn_run SOURCES test_nn_run.c LIBRARIES gp_nn)
endif()
