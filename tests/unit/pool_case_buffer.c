#include "pool_case_buffer.h"

#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Memory that AddressSanitizer and Valgrind take for not allocated, or Valgrind for not written. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define HIDE(memory, bytes)     ASAN_POISON_MEMORY_REGION(memory, bytes)
#define SHOW(memory, bytes)     ASAN_UNPOISON_MEMORY_REGION(memory, bytes)
#define UNDEFINE(memory, bytes) ((void)0)
#elif __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define HIDE(memory, bytes)     (void)VALGRIND_MAKE_MEM_NOACCESS(memory, bytes)
#define SHOW(memory, bytes)     (void)VALGRIND_MAKE_MEM_DEFINED(memory, bytes)
#define UNDEFINE(memory, bytes) (void)VALGRIND_MAKE_MEM_UNDEFINED(memory, bytes)
#else
#define HIDE(memory, bytes)     ((void)0)
#define SHOW(memory, bytes)     ((void)0)
#define UNDEFINE(memory, bytes) ((void)0)
#endif

enum { GUARD = 128, GUARD_BYTE = 0xA5 };

uint64_t random_word(test_random *random) {
  uint64_t z = random->state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

int64_t random_below(test_random *random, int64_t bound) { return (int64_t)(random_word(random) % (uint64_t)bound); }

bool random_one_in(test_random *random, int64_t n) { return random_below(random, n) == 0; }

double random_unit(test_random *random) { return (double)(random_word(random) >> 11) * 0x1p-53; }

double random_normal(test_random *random) {
  double radius = sqrt(-2 * log(1 - random_unit(random)));
  return radius * cos(6.283185307179586 * random_unit(random));
}

static unsigned char *end_of(const test_buffer *buffer) { return buffer->memory + buffer->bytes + 2 * GUARD; }

/* Whoever reads a guard is found out, too. */
static void hide_guards(const test_buffer *buffer) {
  unsigned char *data = buffer->data, *after = data + buffer->bytes;
  HIDE(buffer->memory, (size_t)(data - buffer->memory));
  HIDE(after, (size_t)(end_of(buffer) - after));
}

static void show_guards(const test_buffer *buffer) {
  unsigned char *data = buffer->data, *after = data + buffer->bytes;
  SHOW(buffer->memory, (size_t)(data - buffer->memory));
  SHOW(after, (size_t)(end_of(buffer) - after));
}

void test_buffer_make(test_buffer *buffer, gp_dtype dtype, size_t elements, test_random *random) {
  size_t size = gp_dtype_size(dtype), bytes = elements * size;
  *buffer = (test_buffer){.elements = elements, .bytes = bytes, .dtype = dtype};
  assert_int_equal(gp_alloc((void **)&buffer->memory, bytes + 2 * GUARD, 1), GP_OK);
  memset(buffer->memory, GUARD_BYTE, bytes + 2 * GUARD);
  buffer->data = buffer->memory + GUARD - size * (size_t)random_below(random, 16);
  hide_guards(buffer);
}

void test_buffer_align(test_buffer *buffer) {
  unsigned char *data = buffer->memory + GUARD;
  show_guards(buffer);
  memmove(data, buffer->data, buffer->bytes);
  memset(buffer->memory, GUARD_BYTE, GUARD);
  memset(data + buffer->bytes, GUARD_BYTE, (size_t)(end_of(buffer) - data) - buffer->bytes);
  buffer->data = data;
  hide_guards(buffer);
}

void test_buffer_poison(test_buffer *buffer) { memset(buffer->data, 0xFF, buffer->bytes); }

void test_buffer_undefine(test_buffer *buffer) {
  test_buffer_poison(buffer);
  UNDEFINE(buffer->data, buffer->bytes);
}

void test_buffer_free(test_buffer *buffer) {
  if (buffer->memory != NULL) show_guards(buffer);
  gp_free(buffer->memory);
  *buffer = (test_buffer){0};
}

bool test_buffer_guards_hold(const test_buffer *buffer) {
  const unsigned char *data = buffer->data, *end = end_of(buffer);
  bool hold = true;
  show_guards(buffer);
  for (const unsigned char *byte = buffer->memory; byte < end; ++byte)
    if ((byte < data || byte >= data + buffer->bytes) && *byte != GUARD_BYTE) hold = false;
  hide_guards(buffer);
  return hold;
}

double test_buffer_get(const test_buffer *buffer, int64_t i) { return gp_load(buffer->data, buffer->dtype, i); }

void test_buffer_set(test_buffer *buffer, int64_t i, double value) { gp_store(buffer->data, buffer->dtype, i, value); }

void *test_buffer_or_null(const test_buffer *buffer) { return buffer->elements > 0 ? buffer->data : NULL; }

void test_buffer_convert(test_buffer *copy, const test_buffer *buffer, gp_dtype dtype, test_random *random) {
  test_buffer_make(copy, dtype, buffer->elements, random);
  test_buffer_poison(copy);
  for (int64_t i = 0; i < (int64_t)buffer->elements; ++i) {
    double value = test_buffer_get(buffer, i);
    if (!isnan(value)) test_buffer_set(copy, i, value);
  }
}
