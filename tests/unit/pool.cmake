gp_unit_test(NAME test_pool_kernels SOURCES test_pool_kernels.c pool_case.c LIBRARIES gp_operator)
