#include "cmocka.h"

jmp_buf no_cmocka_end;

int no_cmocka_run(const struct CMUnitTest *tests, size_t count) {
  volatile int failed = 0;
  for (volatile size_t i = 0; i < count; ++i) {
    void *state = NULL;
    printf("[ RUN      ] %s\n", tests[i].name);
    fflush(stdout);
    if (setjmp(no_cmocka_end) == 0) {
      tests[i].run(&state);
      printf("[       OK ] %s\n", tests[i].name);
    } else {
      printf("[  FAILED  ] %s\n", tests[i].name);
      ++failed;
    }
    fflush(stdout);
  }
  printf("[  PASSED  ] %d test(s).\n", (int)count - failed);
  return failed;
}
