# Models in other programs' forms.
if(TARGET gp_onnx_schema)
  gp_unit_test(NAME test_export_onnx SOURCES test_export_onnx.c LIBRARIES gp_export gp_onnx_schema gp_train gp_models gp_nn)
endif()
