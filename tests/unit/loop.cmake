# The training loop and what it writes and reads.
if(TARGET gp_train AND TARGET gp_models)
  foreach(name train_sgd train_gradient train_checkpoint train_loop)
    gp_unit_test(NAME test_${name} SOURCES test_${name}.c LIBRARIES gp_train gp_models gp_data gp_nn gp_operator)
  endforeach()
endif()
