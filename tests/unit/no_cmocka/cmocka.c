#include "cmocka.h"

jmp_buf no_cmocka_end;

int no_cmocka_run(const struct CMUnitTest *tests, size_t count) {
  volatile int failed = 0, skipped = 0;
  for (volatile size_t i = 0; i < count; ++i) {
    void *state = NULL;
    printf("[ RUN      ] %s\n", tests[i].name);
    fflush(stdout);
    switch (setjmp(no_cmocka_end)) {
      case 0:
        tests[i].run(&state);
        printf("[       OK ] %s\n", tests[i].name);
        break;
      case NO_CMOCKA_SKIPPED:
        printf("[  SKIPPED ] %s\n", tests[i].name);
        ++skipped;
        break;
      default: printf("[  FAILED  ] %s\n", tests[i].name); ++failed;
    }
    fflush(stdout);
  }
  printf("[  PASSED  ] %d test(s).\n", (int)count - failed - skipped);
  if (skipped > 0) printf("[  SKIPPED ] %d test(s).\n", skipped);
  if (failed > 0) printf("[  FAILED  ] %d test(s).\n", failed);
  return failed;
}
