gp_unit_test(NAME test_base SOURCES test_base.c LIBRARIES gp_operator)
gp_unit_test(NAME test_philox SOURCES test_philox.c LIBRARIES gp_operator)
gp_unit_test(NAME test_half SOURCES test_half.c LIBRARIES gp_operator)
