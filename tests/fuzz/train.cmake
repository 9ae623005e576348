# build/fuzz/tests/fuzz/fuzz_safetensors -dict=tests/fuzz/safetensors.dict CORPUS tests/fuzz/seeds/safetensors
if(TARGET gp_train)
  gp_fuzz_target(NAME fuzz_safetensors SOURCES fuzz_safetensors.c LIBRARIES gp_train)
  gp_fuzz_target(NAME fuzz_recipe SOURCES fuzz_recipe.c LIBRARIES gp_train)
endif()
