if(TARGET gp_data)
  gp_fuzz_target(NAME fuzz_idx SOURCES fuzz_idx.c LIBRARIES gp_data)
  gp_fuzz_target(NAME fuzz_image SOURCES fuzz_image.c LIBRARIES gp_data)
endif()
