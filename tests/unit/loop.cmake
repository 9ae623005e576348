# The training loop and what it writes and reads.
if(TARGET gp_train AND TARGET gp_models)
  foreach(name train_sgd train_gradient train_checkpoint train_loop train_modern)
    gp_unit_test(NAME test_${name} SOURCES test_${name}.c LIBRARIES gp_train gp_models gp_data gp_nn gp_operator)
  endforeach()
  # Threads that wait do not spin: beside other tests that would take minutes, and on a busy machine it still may.
  set_tests_properties(test_train_loop test_train_modern PROPERTIES TIMEOUT 900 ENVIRONMENT OMP_WAIT_POLICY=passive)
endif()
