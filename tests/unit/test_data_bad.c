/* Samples that cannot be read: errors that come with their batch, or others in their place. */
#include "test_data_fake.h"
#include "test_data_files.h"

#include "data/order.h"

#include <stdio.h>
#include <string.h>

static void errors_come_with_their_batch(void **state) {
  (void)state;
  fake_source source = fake(100);
  source.bad = 37;
  data_loader_desc desc = usual_desc(&source);
  desc.shuffle = false;
  for (int32_t workers = 0; workers < 4; ++workers) {
    desc.workers = workers;
    data_loader *loader = make_loader(&desc);
    test_expect_ok(data_loader_start(loader, 0, 0));
    const data_batch *batch = NULL;
    for (int64_t b = 0; b < 15; ++b) {
      gp_status status = data_loader_next(loader, &batch);
      if (b != 37 / 7) {
        test_expect_ok(status);
        assert_int_equal(batch->number, b);
        continue;
      }
      test_expect_failure(status, GP_ERROR_INVALID_ARGUMENT, "fake#37: ", "0 x 77", NULL);
      assert_null(batch);
    }
    data_loader_destroy(&loader);
  }
}

/* Of several bad samples in a batch the first in its order is named, whoever comes to it first. */
static void the_first_failure_counts(void **state) {
  (void)state;
  fake_source source = fake(40);
  source.bad_every = 3;
  source.slow = true;
  data_loader_desc desc = usual_desc(&source);
  desc.shuffle = false;
  desc.batch_size = 20;
  for (int32_t workers = 0; workers < 9; workers += 2) {
    desc.workers = workers;
    data_loader *loader = make_loader(&desc);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      const data_batch *batch = NULL;
      test_expect_ok(data_loader_start(loader, epoch, 0));
      test_expect_failure(data_loader_next(loader, &batch), GP_ERROR_INVALID_ARGUMENT, "fake#0:", NULL);
      test_expect_failure(data_loader_next(loader, &batch), GP_ERROR_INVALID_ARGUMENT, "fake#21:", NULL);
      test_expect_ok(data_loader_next(loader, &batch));
      assert_null(batch);
    }
    data_loader_destroy(&loader);
  }
}

/* What was reported, as "fake#1 fake#2 ". */
static char reported[512];

static void note_report(void *context, const char *name, const char *message) {
  assert_ptr_equal(context, reported);
  assert_non_null(strstr(message, "77"));
  snprintf(reported + strlen(reported), sizeof reported - strlen(reported), "%s ", name);
}

static data_loader_desc lenient_desc(const fake_source *source, data_bad_policy policy, int32_t workers) {
  data_loader_desc desc = usual_desc(source);
  desc.workers = workers;
  desc.bad = policy;
  desc.report_bad = note_report;
  desc.context = reported;
  reported[0] = '\0';
  return desc;
}

/* Every place is taken by the next good sample in the epoch's order, whoever fills it. */
static void bad_samples_are_replaced(void **state) {
  (void)state;
  fake_source source = fake(40);
  source.bad_every = 10;
  char first[512] = "";
  for (int32_t workers = 0; workers < 4; ++workers) {
    data_loader_desc desc = lenient_desc(&source, DATA_BAD_REPLACE, workers);
    data_loader *loader = make_loader(&desc);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      int64_t order[40], seen = 0;
      data_order(order, 40, 12, epoch);
      test_expect_ok(data_loader_start(loader, epoch, 0));
      const data_batch *batch = NULL;
      for (test_expect_ok(data_loader_next(loader, &batch)); batch != NULL;
           test_expect_ok(data_loader_next(loader, &batch)))
        for (int64_t i = 0; i < batch->count; ++i, ++seen) {
          int64_t at = seen;
          while (order[at % 40] % 10 == 0) ++at;
          assert_int_equal(batch->indices[i], order[at % 40]);
          assert_int_equal(batch->labels[i], source.base.ops->label(&source.base, order[at % 40]));
          assert_int_equal(batch->marked, 0);
        }
      assert_int_equal(seen, 40);
    }
    assert_int_equal(data_loader_bad(loader), 4);
    data_loader_destroy(&loader);
    for (int i = 0; i < 4; ++i) {
      char name[16];
      snprintf(name, sizeof name, "fake#%d ", 10 * i);
      assert_non_null(strstr(reported, name));
    }
    assert_int_equal(strlen(reported), 7 + 3 * 8); /* each once, although there were three epochs */
    if (workers == 0) memcpy(first, reported, sizeof first);
    assert_string_equal(reported, first); /* in the order of the batches */
  }
}

/* In the order of the samples, whoever comes to them first. */
static void bad_samples_are_reported_in_order(void **state) {
  (void)state;
  fake_source source = fake(40);
  source.bad_every = 4;
  source.slow = true;
  for (int32_t workers = 0; workers < 9; workers += 2)
    for (int policy = DATA_BAD_REPLACE; policy <= DATA_BAD_MARK; ++policy) {
      data_loader_desc desc = lenient_desc(&source, (data_bad_policy)policy, workers);
      desc.shuffle = false;
      desc.batch_size = 40;
      data_loader *loader = make_loader(&desc);
      const data_batch *batch = NULL;
      test_expect_ok(data_loader_start(loader, 0, 0));
      test_expect_ok(data_loader_next(loader, &batch));
      assert_string_equal(reported, "fake#0 fake#4 fake#8 fake#12 fake#16 fake#20 fake#24 fake#28 fake#32 fake#36 ");
      assert_int_equal(batch->marked, policy == DATA_BAD_MARK ? 10 : 0);
      data_loader_destroy(&loader);
    }
}

static void bad_samples_are_marked(void **state) {
  (void)state;
  fake_source source = fake(40);
  source.bad_every = 10;
  data_loader_desc desc = lenient_desc(&source, DATA_BAD_MARK, 2);
  desc.shuffle = false;
  data_loader *loader = make_loader(&desc);
  test_expect_ok(data_loader_start(loader, 0, 0));
  int64_t seen = 0, marked = 0;
  const data_batch *batch = NULL;
  for (test_expect_ok(data_loader_next(loader, &batch)); batch != NULL;
       test_expect_ok(data_loader_next(loader, &batch)), ++seen) {
    marked += batch->marked;
    for (int64_t i = 0; i < batch->count; ++i) {
      const int64_t index = 7 * seen + i;
      assert_int_equal(batch->indices[i], index);
      assert_int_equal(batch->labels[i], index % 10 == 0 ? -1 : source.base.ops->label(&source.base, index));
      for (int64_t p = 0; index % 10 == 0 && p < FAKE_FLOATS; ++p)
        assert_true(batch->images[i * FAKE_FLOATS + p] == 0.0f);
    }
  }
  assert_int_equal(seen * 10 + marked, 64);
  assert_int_equal(data_loader_bad(loader), 4);
  data_loader_destroy(&loader);
}

/* Nothing but bad samples is no accident. */
static void too_many_bad_samples_fail(void **state) {
  (void)state;
  fake_source source = fake(40);
  source.bad_every = 1;
  for (int policy = DATA_BAD_REPLACE; policy <= DATA_BAD_MARK; ++policy) {
    data_loader_desc desc = lenient_desc(&source, (data_bad_policy)policy, 1);
    desc.batch_size = 40;
    data_loader *loader = make_loader(&desc);
    test_expect_ok(data_loader_start(loader, 0, 0));
    const data_batch *batch = NULL;
    if (policy == DATA_BAD_MARK) {
      test_expect_ok(data_loader_next(loader, &batch));
      assert_int_equal(batch->marked, 40);
    } else {
      test_expect_failure(data_loader_next(loader, &batch), GP_ERROR_INVALID_ARGUMENT, "41 bad images", "fake#", NULL);
    }
    data_loader_destroy(&loader);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(errors_come_with_their_batch), cmocka_unit_test(the_first_failure_counts),
      cmocka_unit_test(bad_samples_are_replaced),     cmocka_unit_test(bad_samples_are_reported_in_order),
      cmocka_unit_test(bad_samples_are_marked),       cmocka_unit_test(too_many_bad_samples_fail),
  };
  return cmocka_run_group_tests_name("data/bad", tests, NULL, NULL);
}
