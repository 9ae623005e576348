/* The loader gives the same batches whoever makes them and wherever it starts, and ends in good order. */
#include "test_data_fake.h"
#include "test_data_files.h"

#include "base/memory.h"
#include "data/order.h"

#include <sched.h>

static void batches_are_what_they_should_be(void **state) {
  (void)state;
  fake_source source = fake(40);
  data_loader_desc desc = usual_desc(&source);
  for (int32_t workers = 0; workers < 4; workers += 3) {
    desc.workers = workers;
    data_loader *loader = make_loader(&desc);
    assert_int_equal(data_loader_batches(loader), 6);
    test_expect_ok(data_loader_start(loader, 3, 0));
    int64_t order[40];
    data_order(order, 40, 12, 3);
    data_augmenter augmenter;
    test_expect_ok(data_augmenter_init(&augmenter, &desc.transform));
    data_sample sample = {0};
    for (int64_t b = 0; b < 6; ++b) {
      const data_batch *batch = NULL;
      test_expect_ok(data_loader_next(loader, &batch));
      assert_non_null(batch);
      assert_int_equal(batch->count, b < 5 ? 7 : 5);
      for (int64_t i = 0; i < batch->count; ++i) {
        int64_t index = order[7 * b + i];
        float expected[FAKE_FLOATS];
        assert_int_equal(batch->indices[i], index);
        assert_int_equal(batch->labels[i], source.base.ops->label(&source.base, index));
        test_expect_ok(source.base.ops->fetch(&source.base, index, &sample));
        test_expect_ok(data_augmenter_apply(&augmenter, &sample.image, &(data_draw_key){12, 3, index}, expected));
        assert_memory_equal(batch->images + i * FAKE_FLOATS, expected, sizeof expected);
      }
    }
    const data_batch *batch = NULL;
    for (int again = 0; again < 2; ++again) {
      test_expect_ok(data_loader_next(loader, &batch));
      assert_null(batch);
    }
    assert_true(data_loader_wait_seconds(loader) >= 0.0);
    data_sample_free(&sample);
    data_loader_destroy(&loader);
    assert_null(loader);
  }
}

static void without_shuffle_in_order(void **state) {
  (void)state;
  fake_source source = fake(40);
  data_loader_desc desc = usual_desc(&source);
  desc.shuffle = false;
  desc.drop_last = true;
  desc.workers = 2;
  data_loader *loader = make_loader(&desc);
  assert_int_equal(data_loader_batches(loader), 5);
  test_expect_ok(data_loader_start(loader, 0, 0));
  const data_batch *batch = NULL;
  for (int64_t i = 0; i < 35; ++i) {
    if (i % 7 == 0) test_expect_ok(data_loader_next(loader, &batch));
    assert_int_equal(batch->indices[i % 7], i);
  }
  test_expect_ok(data_loader_next(loader, &batch));
  assert_null(batch);
  data_loader_destroy(&loader);
}

static void workers_do_not_matter(void **state) {
  (void)state;
  static const int32_t crews[][2] = {{0, 0}, {1, 0}, {4, 0}, {4, 1}, {3, 2}, {2, 64}};
  fake_source source = fake(100);
  data_loader_desc desc = usual_desc(&source);
  uint64_t expected[3] = {0};
  for (size_t crew = 0; crew < sizeof crews / sizeof crews[0]; ++crew) {
    desc.workers = crews[crew][0];
    desc.ring = crews[crew][1];
    data_loader *loader = make_loader(&desc);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      int64_t batches = 0;
      uint64_t hash = hash_epoch(loader, epoch, 0, &batches);
      assert_int_equal(batches, 15);
      if (crew == 0) expected[epoch] = hash;
      if (hash != expected[epoch])
        fail_msg("%d workers, ring %d: epoch %d differs", desc.workers, desc.ring, (int)epoch);
    }
    data_loader_destroy(&loader);
  }
  assert_true(expected[0] != expected[1] && expected[1] != expected[2]);
}

/* Started at batch k, whatever was going on before, the rest is that of the whole epoch. */
static void resumes_anywhere(void **state) {
  (void)state;
  fake_source source = fake(100);
  data_loader_desc desc = usual_desc(&source);
  data_loader *plain = make_loader(&desc);
  desc.workers = 4;
  data_loader *threaded = make_loader(&desc);
  for (int64_t first = 0; first <= 15; ++first) {
    int64_t batches = 0, threaded_batches = 0;
    const data_batch *batch = NULL;
    uint64_t hash = hash_epoch(plain, 2, first, &batches);
    test_expect_ok(data_loader_start(threaded, 1, 15 - first));
    if (first % 3 > 0) test_expect_ok(data_loader_next(threaded, &batch));
    uint64_t threaded_hash = hash_epoch(threaded, 2, first, &threaded_batches);
    assert_int_equal(batches, 15 - first);
    assert_int_equal(threaded_batches, 15 - first);
    if (hash != threaded_hash) fail_msg("from batch %d on the batches differ", (int)first);
  }
  test_expect_failure(data_loader_start(plain, 0, 16), GP_ERROR_INVALID_ARGUMENT, "batch 16", "15 batches", NULL);
  test_expect_failure(data_loader_start(plain, -1, 0), GP_ERROR_INVALID_ARGUMENT, "epoch -1", NULL);
  data_loader_destroy(&plain);
  data_loader_destroy(&threaded);
}

/* A batch stays as it is until the next call, however far ahead the workers are. */
static void batches_stay_until_the_next_call(void **state) {
  (void)state;
  fake_source source = fake(100);
  data_loader_desc desc = usual_desc(&source);
  desc.workers = 4;
  desc.ring = 2;
  data_loader *loader = make_loader(&desc);
  test_expect_ok(data_loader_start(loader, 0, 0));
  for (const data_batch *batch = NULL;;) {
    test_expect_ok(data_loader_next(loader, &batch));
    if (batch == NULL) break;
    uint64_t before = hash_batch(1, batch);
    for (int i = 0; i < 200; ++i) sched_yield();
    assert_true(hash_batch(1, batch) == before);
  }
  data_loader_destroy(&loader);
}

/* Stopped at any point, with the workers in the midst of it: no hang, no leak (AddressSanitizer), no race (TSan). */
static void ends_at_any_time(void **state) {
  (void)state;
  fake_source source = fake(300);
  data_loader_desc desc = usual_desc(&source);
  for (int32_t round = 0; round < 60; ++round) {
    desc.workers = 1 + round % 5;
    desc.ring = 1 + round % 3;
    data_loader *loader = make_loader(&desc);
    const data_batch *batch = NULL;
    if (round % 4 == 0)
      test_expect_failure(data_loader_next(loader, &batch), GP_ERROR_INVALID_ARGUMENT, "no epoch", NULL);
    for (int32_t start = 0; start < round % 4; ++start) {
      test_expect_ok(data_loader_start(loader, start, round % 43));
      for (int32_t i = 0; i < round % 7; ++i) test_expect_ok(data_loader_next(loader, &batch));
    }
    data_loader_destroy(&loader);
  }
  data_loader_destroy(NULL);
}

static void epochs_allocate_nothing(void **state) {
  (void)state;
  fake_source source = fake(100);
  data_loader_desc desc = usual_desc(&source);
  for (int32_t workers = 0; workers < 3; ++workers) {
    desc.workers = workers;
    data_loader *loader = make_loader(&desc);
    uint64_t before = gp_alloc_count();
    int64_t batches = 0;
    for (int64_t epoch = 0; epoch < 3; ++epoch) hash_epoch(loader, epoch, epoch, &batches);
    assert_true(gp_alloc_count() == before);
    data_loader_destroy(&loader);
  }
}

static void refuses_bad_descriptions(void **state) {
  (void)state;
  fake_source source = fake(40);
  data_loader *loader = NULL;
  const data_loader_desc good = usual_desc(&source);
  data_loader_desc desc = good;
  desc.source = NULL;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "no source", NULL);
  desc = good;
  desc.batch_size = 0;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "batch size", "not 0", NULL);
  desc = good;
  desc.part_size = 8;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "parts", "to 7 samples", "not 8",
                      NULL);
  desc = good;
  desc.batch_size = 41;
  desc.drop_last = true;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "40 samples", "batch size of 41",
                      "--drop-last", NULL);
  desc = good;
  desc.workers = -1;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "workers", "-1", NULL);
  desc = good;
  desc.ring = -4;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "ring", "-4", NULL);
  desc = good;
  desc.transform.channels = 1;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "3 channels", NULL);
  desc = good;
  desc.transform.flip = -1.0f;
  test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_INVALID_ARGUMENT, "flip", NULL);
  assert_null(loader);
}

static void creation_survives_want_of_memory(void **state) {
  (void)state;
  fake_source source = fake(100);
  data_loader_desc desc = usual_desc(&source);
  for (int32_t workers = 0; workers < 3; workers += 2) {
    desc.workers = workers;
    uint64_t before = gp_alloc_count();
    data_loader *loader = make_loader(&desc);
    uint64_t needed = gp_alloc_count() - before;
    data_loader_destroy(&loader);
    for (uint64_t n = 1; n <= needed; ++n) {
      gp_alloc_fail_after(n);
      test_expect_failure(data_loader_create(&loader, &desc), GP_ERROR_OUT_OF_MEMORY, NULL);
      assert_null(loader);
    }
    gp_alloc_fail_after(0);
  }
}

static void loads_idx(void **state) {
  (void)state;
  test_folder folder = test_folder_make();
  test_write_idx_set(&folder, "t10k", 30, 8, 8, true);
  data_source *source = NULL;
  test_expect_ok(
      data_source_create(&source, &(data_source_desc){.dataset = "mnist", .dir = folder.path, .split = DATA_TEST}));
  data_loader *loader = NULL;
  data_loader_desc desc = {.source = source,
                           .transform = {.channels = 1, .height = 8, .width = 8, .std = {2.0f}},
                           .batch_size = 16,
                           .workers = 2};
  test_expect_ok(data_loader_create(&loader, &desc));
  test_expect_ok(data_loader_start(loader, 0, 1));
  const data_batch *batch = NULL;
  test_expect_ok(data_loader_next(loader, &batch));
  assert_int_equal(batch->count, 14);
  assert_int_equal(batch->labels[3], 9);
  for (int32_t p = 0; p < 64; ++p)
    assert_true(batch->images[3 * 64 + p] == (float)((7 * 19 + 3 * (p / 8) + p % 8) % 256) / 255.0f / 2.0f);
  data_loader_destroy(&loader);
  data_source_destroy(&source);
  test_folder_remove(&folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(batches_are_what_they_should_be),
      cmocka_unit_test(without_shuffle_in_order),
      cmocka_unit_test(workers_do_not_matter),
      cmocka_unit_test(resumes_anywhere),
      cmocka_unit_test(batches_stay_until_the_next_call),
      cmocka_unit_test(ends_at_any_time),
      cmocka_unit_test(epochs_allocate_nothing),
      cmocka_unit_test(refuses_bad_descriptions),
      cmocka_unit_test(creation_survives_want_of_memory),
      cmocka_unit_test(loads_idx),
  };
  return cmocka_run_group_tests_name("data/loader", tests, NULL, NULL);
}
