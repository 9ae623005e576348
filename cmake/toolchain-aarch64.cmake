# Builds for 64-bit ARM on another machine with Debian's cross compiler, and runs the tests under qemu where it is there.
# cmocka for ARM lies where scripts/get-cmocka-arm64 puts it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triple aarch64-linux-gnu)
set(CMAKE_LIBRARY_ARCHITECTURE ${triple})
set(CMAKE_C_COMPILER ${triple}-gcc)
set(CMAKE_CXX_COMPILER ${triple}-g++)

set(CMAKE_FIND_ROOT_PATH /usr/${triple} ${CMAKE_CURRENT_LIST_DIR}/../build/arm64-root)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
foreach(mode LIBRARY INCLUDE PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${mode} ONLY)
endforeach()

find_program(GAUSSPOOL_QEMU qemu-aarch64)
if(GAUSSPOOL_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${GAUSSPOOL_QEMU} -L /usr/${triple})
endif()
