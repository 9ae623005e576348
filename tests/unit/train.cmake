# The train floor and what shows it; here what needs no net.
if(TARGET gp_train)
  foreach(test option recipe safetensors files report meter space)
    gp_unit_test(NAME test_train_${test} SOURCES test_train_${test}.c LIBRARIES gp_train)
  endforeach()
  target_compile_definitions(test_train_recipe PRIVATE GP_TEST_CONFIGS="${PROJECT_SOURCE_DIR}/configs")
  gp_unit_test(NAME test_train_progress SOURCES test_train_progress.c ${PROJECT_SOURCE_DIR}/src/cli/progress.c
               LIBRARIES gp_operator)
endif()
