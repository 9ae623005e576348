if(TARGET gp_dist)
  gp_unit_test(NAME test_dist SOURCES test_dist.c LIBRARIES gp_dist)
endif()
