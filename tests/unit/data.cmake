if(TARGET gp_data)
  find_package(ZLIB REQUIRED)
  gp_unit_test(NAME test_data_idx SOURCES test_data_idx.c test_data_files.c LIBRARIES gp_data ZLIB::ZLIB)
  gp_unit_test(NAME test_data_transform SOURCES test_data_transform.c LIBRARIES gp_data)
  foreach(subject loader parts bad)
    gp_unit_test(NAME test_data_${subject} SOURCES test_data_${subject}.c test_data_fake.c test_data_files.c
                 LIBRARIES gp_data ZLIB::ZLIB)
  endforeach()
  foreach(subject folder shards open_files cifar)
    gp_unit_test(NAME test_data_${subject} SOURCES test_data_${subject}.c test_data_sets.c test_data_files.c
                 LIBRARIES gp_data ZLIB::ZLIB)
  endforeach()
  # Makes its PNG and JPEG files with the libraries, where they are.
  set(codecs)
  foreach(codec PkgConfig::SPNG JPEG::JPEG)
    if(TARGET ${codec})
      list(APPEND codecs ${codec})
    endif()
  endforeach()
  gp_unit_test(NAME test_data_decode SOURCES test_data_decode.c test_data_encode.c test_data_files.c
               LIBRARIES gp_data ZLIB::ZLIB ${codecs})
  gp_unit_test(NAME test_data_augment SOURCES test_data_augment.c test_data_encode.c test_data_files.c
               LIBRARIES gp_data ZLIB::ZLIB ${codecs})
endif()
