/* Image folders for the tests of data sets of many files. */
#ifndef TEST_DATA_SETS_H
#define TEST_DATA_SETS_H

#include "data/source.h"
#include "test_data_files.h"

/* A temporary folder as *state, with whatever comes to lie in it. Listings are not kept elsewhere. */
int test_set_up(void **state);
int test_set_tear_down(void **state);
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_set_up, test_set_tear_down)

void test_path_in(const test_folder *folder, const char *name, char path[256]);
void test_make_folder(const test_folder *folder, const char *name);
/* A file that holds its own name: enough for everything but decoding. */
void test_make_file(const test_folder *folder, const char *name);
void test_make_image(const test_folder *folder, const char *name, uint8_t grey);

/* Classes Ant and zebra, three training files and two in the folder `test`. */
void test_make_set(const test_folder *folder, const char *test);
extern const char *const test_train_names[3];

gp_status test_open_set(data_source **out, const test_folder *folder, data_split split, bool lenient);
/* The source has these samples, of test_make_file()'s. */
void test_expect_samples(const data_source *source, const char *const *names, const int32_t *labels, int64_t count);

#endif
