/* Folders and files for the tests of the data floor. */
#ifndef TEST_DATA_FILES_H
#define TEST_DATA_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <stdarg.h>

#include <setjmp.h>

#include <cmocka.h>

#include <gausspool/gausspool.h>

/* The call fails with `expected`, and its message has every given part (up to NULL). */
void test_expect_failure(gp_status found, gp_status expected, ...);
/* The call succeeds; otherwise its message is printed. */
void test_expect_ok(gp_status status);

typedef struct test_folder {
  char path[64];
} test_folder;

test_folder test_folder_make(void);
void test_folder_remove(const test_folder *folder); /* with the files in it */

/* Writes folder/name, or with `gzip` its compressed form. */
void test_write(const test_folder *folder, const char *name, const uint8_t *bytes, size_t size, bool gzip);

/* gzip of the bytes; free() it. */
uint8_t *test_gzip(const uint8_t *bytes, size_t size, size_t *packed_size);

/* An IDX file of unsigned bytes with the given sizes; its elements are `count` bytes. free() it. */
uint8_t *test_idx(int32_t dims, const uint32_t *sizes, const uint8_t *elements, size_t count, size_t *size);

/* Writes both IDX files of `split` ("train", "t10k"): `count` images of height × width whose pixel (i, y, x) is
 * (7i + 3y + x) mod 256, labels i mod 10. */
void test_write_idx_set(const test_folder *folder, const char *split, uint32_t count, uint32_t height, uint32_t width,
                        bool gzip);

#endif
