if(TARGET gp_models)
  gp_unit_test(NAME test_models SOURCES test_models.c LIBRARIES gp_models)
endif()
