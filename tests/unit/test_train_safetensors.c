#include "test_train_util.h"

#include "train/safetensors.h"

#include <jansson.h>

/* ---- Writing ---- */

static const float weights[2][3] = {{1, -2, 3.5f}, {0, 1e-30f, -0.0f}};
static const int64_t steps[1] = {-7};
static const uint8_t bytes[5] = {1, 2, 3, 4, 5};
static const double sum = 0.1;

static gp_status make_writer(safetensors_writer **out) {
  gp_status status = GP_OK;
  GP_TRY(safetensors_writer_create(out));
  GP_TRY(safetensors_writer_add(*out, "bytes", SAFETENSORS_U8, (int64_t[]){5}, 1, bytes));
  GP_TRY(safetensors_writer_add(*out, "layer1.0.weight", SAFETENSORS_F32, (int64_t[]){2, 3}, 2, weights));
  GP_TRY(safetensors_writer_add(*out, "empty", SAFETENSORS_F32, (int64_t[]){0, 4}, 2, NULL));
  GP_TRY(safetensors_writer_add(*out, "steps", SAFETENSORS_I64, (int64_t[]){1}, 1, steps));
  GP_TRY(safetensors_writer_add(*out, "größe", SAFETENSORS_F64, NULL, 0, &sum));
  GP_TRY(safetensors_writer_metadata(*out, "format", "pt"));
  GP_TRY(safetensors_writer_metadata(*out, "config", "{\"lr\": 0.1}\n"));
cleanup:
  return status;
}

/* The file of make_writer() at the path. */
static void write_sample(const char *path) {
  safetensors_writer *writer = NULL;
  assert_ok(make_writer(&writer));
  assert_ok(safetensors_writer_commit(writer, path));
  safetensors_writer_destroy(&writer);
  assert_null(writer);
}

static void writes_exact_bytes(void **state) {
  (void)state;
  size_t size = 0;
  write_sample(in_folder("a"));
  write_sample(in_folder("b"));
  char *a = get_file(in_folder("a"), &size), *b = get_file(in_folder("b"), NULL);
  const char expected[] =
      "{\"__metadata__\":{\"format\":\"pt\",\"config\":\"{\\\"lr\\\": 0.1}\\n\"},"
      "\"steps\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
      "\"größe\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[8,16]},"
      "\"layer1.0.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[16,40]},"
      "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[40,40]},"
      "\"bytes\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[40,45]}}";
  size_t header = (sizeof expected - 1 + 7) / 8 * 8;
  assert_int_equal(size, 8 + header + 45);
  assert_memory_equal(a, b, size);
  assert_int_equal((unsigned char)a[0] + 256 * (unsigned char)a[1], header);
  assert_memory_equal(a + 2, "\0\0\0\0\0\0", 6);
  assert_memory_equal(a + 8, expected, sizeof expected - 1);
  for (size_t i = sizeof expected - 1; i < header; ++i) assert_int_equal(a[8 + i], ' ');
  assert_memory_equal(a + 8 + header, steps, 8);
  assert_memory_equal(a + 8 + header + 16, weights, 24);
  assert_memory_equal(a + 8 + header + 40, bytes, 5);
  free(a);
  free(b);
  assert_false(file_exists(in_folder("a.tmp")));
}

static void reads_what_it_wrote(void **state) {
  (void)state;
  safetensors_file *file = NULL;
  float copy[6];
  char text[64];
  const char *path = in_folder("a");
  write_sample(path);
  assert_ok(safetensors_open(&file, path));
  assert_string_equal(safetensors_path(file), path);
  assert_int_equal(safetensors_count(file), 5);
  assert_string_equal(safetensors_at(file, 0)->name, "steps");
  assert_null(safetensors_at(file, 5));
  const safetensors_info *info = safetensors_find(file, "layer1.0.weight");
  assert_non_null(info);
  assert_int_equal(info->dtype, SAFETENSORS_F32);
  assert_int_equal(info->rank, 2);
  assert_int_equal(info->bytes, 24);
  assert_string_equal(safetensors_shape_text(info->shape, info->rank, text, sizeof text), "[2, 3]");
  assert_ok(safetensors_load(file, "layer1.0.weight", SAFETENSORS_F32, (int64_t[]){2, 3}, 2, copy));
  assert_memory_equal(copy, weights, 24);
  info = safetensors_find(file, "größe");
  assert_int_equal(info->rank, 0);
  assert_memory_equal(info->data, &sum, 8);
  assert_int_equal(safetensors_find(file, "empty")->bytes, 0);
  assert_ok(safetensors_load(file, "empty", SAFETENSORS_F32, (int64_t[]){0, 4}, 2, NULL));
  assert_null(safetensors_find(file, "__metadata__"));
  assert_string_equal(safetensors_metadata(file, "config"), "{\"lr\": 0.1}\n");
  assert_null(safetensors_metadata(file, "other"));
  const char *value = NULL;
  assert_fails(safetensors_require_metadata(file, "arch", &value), GP_ERROR_NOT_FOUND, "a: expected metadata arch");
  assert_fails(safetensors_load(file, "nothing", SAFETENSORS_F32, NULL, 0, copy), GP_ERROR_NOT_FOUND,
               "a: expected a tensor nothing");
  assert_fails(safetensors_load(file, "layer1.0.weight", SAFETENSORS_F32, (int64_t[]){3, 2}, 2, copy),
               GP_ERROR_INVALID_ARGUMENT, "a: tensor layer1.0.weight: expected F32 [3, 2], found F32 [2, 3]");
  assert_fails(safetensors_load(file, "steps", SAFETENSORS_F64, (int64_t[]){1}, 1, copy), GP_ERROR_INVALID_ARGUMENT,
               "expected F64 [1], found I64 [1]");
  safetensors_close(&file);
  assert_null(file);
}

static void writes_nothing_at_all(void **state) {
  (void)state;
  safetensors_writer *writer = NULL;
  safetensors_file *file = NULL;
  assert_ok(safetensors_writer_create(&writer));
  assert_ok(safetensors_writer_commit(writer, in_folder("a")));
  assert_ok(safetensors_open(&file, in_folder("a")));
  assert_int_equal(safetensors_count(file), 0);
  assert_null(safetensors_metadata(file, "x"));
  safetensors_close(&file);
  safetensors_writer_destroy(&writer);
}

static void refuses_bad_tensors(void **state) {
  (void)state;
  const gp_status bad = GP_ERROR_INVALID_ARGUMENT;
  safetensors_writer *w = NULL;
  assert_ok(make_writer(&w));
  assert_fails(safetensors_writer_add(w, "bytes", SAFETENSORS_U8, (int64_t[]){5}, 1, bytes), bad,
               "tensor bytes: added twice");
  assert_fails(safetensors_writer_add(w, "", SAFETENSORS_U8, (int64_t[]){5}, 1, bytes), bad, "a tensor's name");
  assert_fails(safetensors_writer_add(w, "__metadata__", SAFETENSORS_U8, (int64_t[]){5}, 1, bytes), bad,
               "a tensor's name");
  assert_fails(safetensors_writer_add(w, "\xff", SAFETENSORS_U8, (int64_t[]){5}, 1, bytes), bad, "expected UTF-8");
  assert_fails(safetensors_writer_add(w, "n", SAFETENSORS_U8, (int64_t[]){-1}, 1, bytes), bad, "found -1");
  assert_fails(safetensors_writer_add(w, "n", SAFETENSORS_U8, (int64_t[]){1}, 9, bytes), bad, "rank of 0 to 8");
  assert_fails(safetensors_writer_add(w, "n", (safetensors_dtype)99, (int64_t[]){1}, 1, bytes), bad, "known dtype");
  assert_fails(safetensors_writer_add(w, "n", SAFETENSORS_U8, (int64_t[]){1}, 1, NULL), bad, "found NULL");
  assert_fails(safetensors_writer_add(w, "n", SAFETENSORS_F64, (int64_t[]){INT64_MAX, 2}, 2, bytes), bad,
               "does not fit");
  assert_fails(safetensors_writer_metadata(w, "format", "x"), bad, "metadata format: added twice");
  assert_fails(safetensors_writer_metadata(w, "x", "\xc3("), bad, "expected UTF-8");
  const char *broken[] = {
      "\x80", "\xc0\x80", "\xe2\x82", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80"};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i)
    assert_fails(safetensors_writer_metadata(w, "utf8", broken[i]), bad, "utf8: expected UTF-8");
  assert_ok(
      safetensors_writer_metadata(w, "utf8", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf"));
  assert_ok(safetensors_writer_commit(w, in_folder("a"))); /* and goes on as before */
  safetensors_writer_destroy(&w);
}

/* ---- Reading damaged files ---- */

/* Lays header and data out as a file would; the header is not padded. */
static gp_status parse(const char *header, size_t data_bytes) {
  unsigned char file[4096] = {0};
  size_t length = strlen(header);
  safetensors_file *parsed = NULL;
  file[0] = (unsigned char)length;
  file[1] = (unsigned char)(length >> 8);
  memcpy(file + 8, header, length);
  /* A copy of the exact size, so that AddressSanitizer sees a read past the end. */
  size_t size = 8 + length + data_bytes;
  unsigned char *exact = malloc(size);
  memcpy(exact, file, size);
  gp_status status = safetensors_parse(&parsed, exact, size, "f");
  if (status == GP_OK) safetensors_close(&parsed);
  assert_null(parsed);
  free(exact);
  return status;
}

static void reads_files_of_others(void **state) {
  (void)state;
  assert_ok(parse("{}", 0));
  assert_ok(parse("{}       ", 0));
  assert_ok(
      parse("{\"a\":{\"data_offsets\":[4,8],\"shape\":[1],\"dtype\":\"F32\"},"
            "\"b\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            8));
  assert_ok(parse("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,2,3],\"data_offsets\":[0,6]}}", 6));
  assert_ok(parse("{\"__metadata__\":{},\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]}}", 2));
  assert_ok(
      parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]},"
            "\"b\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            4));
}

static void refuses_damage(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t data;
    const char *message;
  } cases[] = {
      {"", 0, "f: expected a safetensors file, found no JSON header"},
      {" {}", 0, "found no JSON header"},
      {"[]", 0, "found no JSON header"},
      {"{", 0, "f: its JSON header is broken at byte 1"},
      {"{}x", 0, "f: its JSON header is broken"},
      {"{\"a\":1}", 0, "f: tensor a: expected an object"},
      {"{\"a\xff\":1}", 0, "JSON header is broken"},
      {"{\"a\\u0000\":1}", 0, "JSON header is broken"},
      {"{\"a\\n\":1}", 0, "f: tensor a?: expected an object"},
      {"{\"__metadata__\":[]}", 0, "f: expected an object of strings as __metadata__"},
      {"{\"__metadata__\":{\"k\":1}}", 0, "f: expected a string as metadata k"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
       "\"data_offsets\":[4,8]}}",
       8, "duplicate object key"},
      {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a: expected a dtype, found none"},
      {"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "found \"f32\""},
      {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "expected a list as shape"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole numbers of 0 or more as shape"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "whole numbers of 0 or more as shape"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
       "rank of at most 8, found 9"},
      {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "overflows"},
      {"{\"a\":{\"dtype\":\"F64\",\"shape\":[9223372036854775807],\"data_offsets\":[0,8]}}", 8, "overflows"},
      {"{\"a\":{\"dtype\":\"F64\",\"shape\":[9223372036854775808],\"data_offsets\":[0,8]}}", 8, "header is broken"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "expected data_offsets of two whole numbers"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, "expected data_offsets of two"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 4, "expected data_offsets of two"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
       "within the file's 4 bytes of data, found [4, 0]"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "found [-4, 0]"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4,
       "within the file's 4 bytes of data, found [0, 8]"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
       "expected 8 bytes by its shape and dtype, found 4"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5,
       "f: expected 4 bytes of data by the header, found 5"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "tensor a: expected its data at 0"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
       "\"data_offsets\":[4,8]}}",
       8, "tensor b: its data at 4 overlaps another tensor's, which ends at 8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    assert_fails(parse(cases[i].header, cases[i].data), GP_ERROR_CORRUPT, cases[i].message);
  char deep[4000];
  memset(deep, '[', sizeof deep);
  memcpy(deep, "{\"a\":", 5);
  deep[sizeof deep - 1] = '\0';
  assert_fails(parse(deep, 0), GP_ERROR_CORRUPT, "header is broken");
}

static void refuses_every_cut(void **state) {
  (void)state;
  size_t size = 0;
  safetensors_file *file = NULL;
  write_sample(in_folder("a"));
  char *whole = get_file(in_folder("a"), &size);
  for (size_t cut = 0; cut < size; ++cut) {
    char *part = malloc(cut + 1);
    memcpy(part, whole, cut);
    put_file(in_folder("cut"), part, cut);
    gp_status status = safetensors_open(&file, in_folder("cut"));
    if (status != GP_ERROR_CORRUPT) print_error("cut at %zu of %zu\n", cut, size);
    assert_int_equal(status, GP_ERROR_CORRUPT);
    assert_null(file);
    free(part);
  }
  unsigned char long_header[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  put_file(in_folder("cut"), long_header, sizeof long_header);
  assert_fails(safetensors_open(&file, in_folder("cut")), GP_ERROR_CORRUPT, "found a length of 18446744073709551615");
  assert_fails(safetensors_open(&file, in_folder("none")), GP_ERROR_NOT_FOUND, "none: No such file");
  assert_fails(safetensors_open(&file, test_folder), GP_ERROR_INVALID_ARGUMENT,
               "expected a regular file, found a folder");
  free(whole);
}

/* ---- Want of memory ---- */

static void *counted_alloc(size_t size) {
  void *pointer = NULL;
  return gp_alloc(&pointer, size, 1) == GP_OK ? pointer : NULL;
}

static gp_status write_one(const char *path) {
  gp_status status = GP_OK;
  safetensors_writer *writer = NULL;
  GP_TRY(make_writer(&writer));
  GP_TRY(safetensors_writer_commit(writer, path));
cleanup:
  safetensors_writer_destroy(&writer);
  return status;
}

/* jansson's allocations fail too. */
static void writes_survive_want_of_memory(void **state) {
  (void)state;
  uint64_t n = 1;
  put_text(in_folder("a"), "old");
  json_set_alloc_funcs(counted_alloc, gp_free);
  for (;; ++n) {
    gp_alloc_fail_after(n);
    gp_status status = write_one(in_folder("a"));
    gp_alloc_fail_after(0);
    if (status == GP_OK) break;
    if (status != GP_ERROR_OUT_OF_MEMORY) print_error("allocation %d: %s\n", (int)n, gp_last_error());
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_false(file_exists(in_folder("a.tmp")));
    char *content = get_file(in_folder("a"), NULL);
    assert_string_equal(content, "old");
    free(content);
    assert_true(n < 1000);
  }
  json_set_alloc_funcs(malloc, free);
  assert_true(n > 50);
}

/* Only our own allocations fail: jansson 2.14's scanner reads past its buffer when its own do. */
static void reads_survive_want_of_memory(void **state) {
  (void)state;
  safetensors_file *file = NULL;
  write_sample(in_folder("a"));
  for (uint64_t n = 1;; ++n) {
    gp_alloc_fail_after(n);
    gp_status status = safetensors_open(&file, in_folder("a"));
    gp_alloc_fail_after(0);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_null(file);
    assert_true(n < 100);
  }
  safetensors_close(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      test_in_folder(writes_exact_bytes),
      test_in_folder(reads_what_it_wrote),
      test_in_folder(writes_nothing_at_all),
      test_in_folder(refuses_bad_tensors),
      cmocka_unit_test(reads_files_of_others),
      cmocka_unit_test(refuses_damage),
      test_in_folder(refuses_every_cut),
      test_in_folder(writes_survive_want_of_memory),
      test_in_folder(reads_survive_want_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
