/* The loader gives the same batches whoever makes them and wherever it starts; errors and ends are in good order. */
#include "test_data_files.h"

#include "base/memory.h"
#include "data/loader.h"
#include "data/order.h"
#include "data/parts.h"
#include "data/source_impl.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- A source without files ------------------------------------------------------------------ */

typedef struct fake_source {
  data_source base;
  int64_t bad;       /* this sample cannot be read; -1: all can */
  int64_t bad_every; /* nor every so-manieth; 0: no further */
  bool slow;         /* bad ones take the longer the sooner they come, so that later ones are known first */
} fake_source;

static int32_t fake_label(const data_source *source, int64_t index) {
  (void)source;
  return (int32_t)(index * 5 % 11);
}

static void fake_name(const data_source *source, int64_t index, char *name, size_t size) {
  (void)source;
  snprintf(name, size, "fake#%d", (int)index);
}

static gp_status fail_to_read(void) { return data_image_reserve(&(data_image){0}, 0, 77, 1); }

static gp_status fake_read(const data_source *source, int64_t index, data_sample *sample) {
  data_image *image = &sample->image;
  const fake_source *self = (const fake_source *)source;
  if (index == self->bad || (self->bad_every > 0 && index % self->bad_every == 0)) {
    if (self->slow) usleep((useconds_t)(source->info.count - index) * 100);
    return fail_to_read();
  }
  /* Some samples take longer, so that workers overtake each other. */
  for (int64_t i = 0; i < index * 7 % 13; ++i) sched_yield();
  gp_status status = data_image_reserve(image, 6, 5, 3);
  if (status != GP_OK) return status;
  for (int32_t i = 0; i < 6 * 5 * 3; ++i) image->pixels[i] = (uint8_t)(index * 31 + i * 3);
  return GP_OK;
}

static void fake_destroy(data_source *source) { (void)source; }

static const data_source_ops fake_ops = {fake_label, fake_name, fake_read, fake_destroy};

static fake_source fake(int64_t count) {
  data_source_info info = {.dataset = "fake", .count = count, .classes = 11, .channels = 3, .height = 6, .width = 5};
  return (fake_source){.base = {&fake_ops, info}, .bad = -1};
}

static const data_transform transform = {
    .channels = 3, .height = 6, .width = 5, .train = true, .padding = 1, .flip = 0.5f, .std = {1.0f, 0.5f, 2.0f}};
enum { FLOATS = 3 * 6 * 5 };

static data_loader_desc usual_desc(const fake_source *source) {
  return (data_loader_desc){
      .source = &source->base, .transform = transform, .batch_size = 7, .shuffle = true, .seed = 12};
}

static data_loader *make_loader(const data_loader_desc *desc) {
  data_loader *loader = NULL;
  test_expect_ok(data_loader_create(&loader, desc));
  return loader;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
  return hash;
}

static uint64_t hash_batch(uint64_t hash, const data_batch *batch) {
  size_t count = (size_t)batch->count;
  hash = hash_bytes(hash, batch->images, count * FLOATS * sizeof(float));
  hash = hash_bytes(hash, batch->labels, count * sizeof(int32_t));
  hash = hash_bytes(hash, batch->indices, count * sizeof(int64_t));
  return hash_bytes(hash, &batch->number, sizeof batch->number);
}

/* Of what is left of an epoch, from `first` on; *batches counts. */
static uint64_t hash_epoch(data_loader *loader, int64_t epoch, int64_t first, int64_t *batches) {
  uint64_t hash = 14695981039346656037u;
  const data_batch *batch = NULL;
  *batches = 0;
  test_expect_ok(data_loader_start(loader, epoch, first));
  for (;; ++*batches) {
    test_expect_ok(data_loader_next(loader, &batch));
    if (batch == NULL) return hash;
    assert_int_equal(batch->number, first + *batches);
    hash = hash_batch(hash, batch);
  }
}

/* ---- Tests ----------------------------------------------------------------------------------- */

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
    test_expect_ok(data_augmenter_init(&augmenter, &transform));
    data_sample sample = {0};
    for (int64_t b = 0; b < 6; ++b) {
      const data_batch *batch = NULL;
      test_expect_ok(data_loader_next(loader, &batch));
      assert_non_null(batch);
      assert_int_equal(batch->count, b < 5 ? 7 : 5);
      for (int64_t i = 0; i < batch->count; ++i) {
        int64_t index = order[7 * b + i];
        float expected[FLOATS];
        assert_int_equal(batch->indices[i], index);
        assert_int_equal(batch->labels[i], fake_label(&source.base, index));
        test_expect_ok(fake_read(&source.base, index, &sample));
        test_expect_ok(data_augmenter_apply(&augmenter, &sample.image, &(data_draw_key){12, 3, index}, expected));
        assert_memory_equal(batch->images + i * FLOATS, expected, sizeof expected);
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

/* Loaders of 1, 2, 3 and 10 ranks: what they have of each batch, one after the other, is the batch. */
static void stretches_make_the_batch(void **state) {
  (void)state;
  fake_source source = fake(31); /* the last batch has 3 samples */
  data_loader_desc desc = usual_desc(&source);
  data_loader *whole = make_loader(&desc);
  const int32_t counts[] = {1, 2, 3, 10};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; ++c) {
    data_loader *parts[10] = {NULL};
    for (int32_t r = 0; r < counts[c]; ++r) {
      desc.share = (data_share){DATA_SHARE_SAMPLES, r, counts[c]};
      desc.workers = r % 2;
      parts[r] = make_loader(&desc);
      assert_int_equal(data_loader_batches(parts[r]), 5);
      test_expect_ok(data_loader_start(parts[r], 2, 1));
    }
    test_expect_ok(data_loader_start(whole, 2, 1));
    for (const data_batch *expected, *part;;) {
      test_expect_ok(data_loader_next(whole, &expected));
      int64_t at = 0;
      for (int32_t r = 0; r < counts[c]; ++r) {
        test_expect_ok(data_loader_next(parts[r], &part));
        assert_true((part == NULL) == (expected == NULL));
        if (expected == NULL) continue;
        assert_int_equal(part->number, expected->number);
        assert_int_equal(part->whole, expected->count);
        assert_int_equal(part->first, at);
        /* As equal as can be, none left over for the later ones. */
        assert_in_range(part->count, expected->count / counts[c], (expected->count + counts[c] - 1) / counts[c]);
        if (r == 0) assert_true(part->count > 0);
        assert_memory_equal(part->images, expected->images + at * FLOATS, (size_t)part->count * FLOATS * sizeof(float));
        assert_memory_equal(part->labels, expected->labels + at, (size_t)part->count * sizeof(int32_t));
        assert_memory_equal(part->indices, expected->indices + at, (size_t)part->count * sizeof(int64_t));
        at += part->count;
      }
      if (expected == NULL) break;
      assert_int_equal(at, expected->count);
    }
    for (int32_t r = 0; r < counts[c]; ++r) data_loader_destroy(&parts[r]);
  }
  data_loader_destroy(&whole);
}

static void shares_may_not_come_in_as_many_parts(void **state) {
  (void)state;
  const data_share two = {DATA_SHARE_SAMPLES, 1, 2}, alone = {0};
  assert_int_equal(data_share_part_size(&two, 36, 12), 2);
  assert_false(data_share_in_parts(&two, 36, 12)); /* 18 in parts of 2 are 9 parts */
  assert_false(data_share_in_parts(&two, 4, 4));
  assert_true(data_share_in_parts(&two, 36, 4)); /* 5, 5, 5, 3 at most */
  assert_true(data_share_in_parts(&alone, 36, 12));
  assert_true(data_share_in_parts(&(data_share){DATA_SHARE_SAMPLES, 0, 1}, 36, 36));
}

/* Shares in parts: all have as many, also of the last batch, where some are empty; together they are the batch. */
static void shares_come_in_as_many_parts(void **state) {
  (void)state;
  for (int32_t count = 1; count <= 4; ++count)
    for (int64_t part_size = 1; part_size <= 3; ++part_size) {
      bool seen[31] = {false};
      int64_t parts = 0;
      for (int32_t r = 0; r < count; ++r) {
        const data_cut cut = data_cut_epoch(&(data_share){DATA_SHARE_SAMPLES, r, count}, 31, 7, part_size, false);
        assert_int_equal(cut.batches, 5);
        if (r > 0) assert_int_equal(cut.parts, parts);
        parts = cut.parts;
        for (int64_t p = 0; p < parts; ++p) {
          const data_piece piece = data_cut_piece(&cut, p);
          assert_true(piece.part < piece.parts && piece.count <= part_size);
          assert_int_equal(data_cut_first_part(&cut, piece.batch) + piece.part, p);
          for (int64_t i = 0; i < piece.count; ++i) {
            bool *sample = &seen[7 * piece.batch + piece.first + i];
            assert_false(*sample);
            *sample = true;
          }
        }
      }
      for (int i = 0; i < 31; ++i) assert_true(seen[i]);
    }
}

/* Whole batches dealt out: each comes once, as one loader has it. */
static void batches_are_dealt_out(void **state) {
  (void)state;
  fake_source source = fake(31);
  data_loader_desc desc = usual_desc(&source);
  data_loader *whole = make_loader(&desc);
  for (int32_t count = 1; count <= 7; count += 2) {
    bool given[5] = {false};
    for (int32_t r = 0; r < count; ++r) {
      const data_batch *batch, *expected;
      desc.share = (data_share){DATA_SHARE_BATCHES, r, count};
      desc.workers = r % 2;
      data_loader *loader = make_loader(&desc);
      test_expect_ok(data_loader_start(loader, 4, 0));
      for (int64_t n = 0; n < data_loader_batches(loader); ++n) {
        test_expect_ok(data_loader_next(loader, &batch));
        assert_in_range(batch->number, 0, 4);
        assert_false(given[batch->number]);
        given[batch->number] = true;
        test_expect_ok(data_loader_start(whole, 4, batch->number));
        test_expect_ok(data_loader_next(whole, &expected));
        assert_int_equal(batch->count, expected->count);
        assert_true(hash_batch(1, batch) == hash_batch(1, expected));
      }
      test_expect_ok(data_loader_next(loader, &batch));
      assert_null(batch);
      data_loader_destroy(&loader);
    }
    for (int b = 0; b < 5; ++b) assert_true(given[b]);
  }
  data_loader_destroy(&whole);
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

static void parts_cover_every_batch(void **state) {
  (void)state;
  for (int64_t count = 1; count <= 12; ++count) {
    const int64_t parts = data_parts(count, 4);
    assert_int_equal(data_part(count, 4, 0), 0);
    assert_int_equal(data_part(count, 4, parts), count);
    for (int64_t i = 0; i < parts; ++i) {
      const int64_t size = data_part(count, 4, i + 1) - data_part(count, 4, i);
      assert_in_range(size, count / parts, count / parts + 1);
      assert_in_range(size, 1, 4);
    }
  }
}

/* From batch `first` of an epoch on, one loader gives the other's batches in parts. */
static void expect_cut(data_loader *whole, data_loader *cut, int64_t part_size, int64_t first) {
  const data_batch *batch = NULL, *part = NULL;
  test_expect_ok(data_loader_start(whole, 2, first));
  test_expect_ok(data_loader_start(cut, 2, first));
  for (test_expect_ok(data_loader_next(whole, &batch)); batch != NULL;
       test_expect_ok(data_loader_next(whole, &batch))) {
    assert_int_equal(batch->first, 0);
    assert_int_equal(batch->whole, batch->count);
    for (int64_t i = 0; i < data_parts(batch->count, part_size); ++i) {
      test_expect_ok(data_loader_next(cut, &part));
      assert_non_null(part);
      const size_t count = (size_t)part->count;
      assert_int_equal(part->number, batch->number);
      assert_int_equal(part->whole, batch->count);
      assert_int_equal(part->first, data_part(batch->count, part_size, i));
      assert_int_equal(part->first + part->count, data_part(batch->count, part_size, i + 1));
      assert_memory_equal(part->images, batch->images + part->first * FLOATS, count * FLOATS * sizeof(float));
      assert_memory_equal(part->labels, batch->labels + part->first, count * sizeof(int32_t));
      assert_memory_equal(part->indices, batch->indices + part->first, count * sizeof(int64_t));
    }
  }
  test_expect_ok(data_loader_next(cut, &part));
  assert_null(part);
}

static void parts_make_up_the_batches(void **state) {
  (void)state;
  static const int32_t crews[][2] = {{0, 0}, {1, 0}, {3, 2}, {6, 0}};
  fake_source source = fake(40); /* the last of the batches of 7 has 5 */
  for (int kind = 0; kind < 3; ++kind)
    for (size_t crew = 0; crew < sizeof crews / sizeof *crews; ++crew)
      for (int64_t part_size = 1; part_size <= 7; ++part_size) {
        data_loader_desc desc = usual_desc(&source);
        source.bad_every = kind == 2 ? 3 : 0;
        desc.bad = kind == 2 ? DATA_BAD_REPLACE : DATA_BAD_FAIL;
        desc.drop_last = kind == 1;
        data_loader *whole = make_loader(&desc);
        desc.part_size = part_size;
        desc.workers = crews[crew][0];
        desc.ring = crews[crew][1];
        data_loader *cut = make_loader(&desc);
        const int64_t batches = data_loader_batches(whole);
        assert_int_equal(data_loader_batches(cut), batches);
        const int64_t starts[] = {0, 1, batches - 1, batches};
        for (size_t i = 0; i < sizeof starts / sizeof *starts; ++i) expect_cut(whole, cut, part_size, starts[i]);
        assert_int_equal(data_loader_bad(cut), data_loader_bad(whole));
        data_loader_destroy(&whole);
        data_loader_destroy(&cut);
      }
}

/* The memory of a loader is that of a few parts, not of batches. */
static void rings_hold_parts(void **state) {
  (void)state;
  fake_source source = fake(1000);
  static const struct {
    int64_t batch_size, part_size;
    int32_t workers, ring;
    int64_t images;
  } cases[] = {{100, 0, 0, 0, 100},   {100, 0, 2, 0, 400}, {100, 0, 9, 0, 400},  {100, 0, 9, 6, 600},
               {100, 10, 0, 5, 10},   {100, 10, 2, 0, 40}, {100, 10, 6, 0, 40},  {100, 10, 99, 0, 40},
               {100, 50, 99, 0, 200}, {100, 10, 9, 3, 30}, {400, 0, 2, 0, 1200}, {400, 300, 9, 0, 1200},
               {400, 300, 9, 6, 1500}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    data_loader_desc desc = usual_desc(&source);
    desc.batch_size = cases[i].batch_size;
    desc.part_size = cases[i].part_size;
    desc.workers = cases[i].workers;
    desc.ring = cases[i].ring;
    if (data_loader_ring_images(&desc) != cases[i].images)
      fail_msg("case %zu: %d images", i, (int)data_loader_ring_images(&desc));
  }
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

/* Stopped at any point, with the workers in the midst of it: no hang, no leak (AddressSanitizer), no race (TSan). */
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
          assert_int_equal(batch->labels[i], fake_label(&source.base, order[at % 40]));
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
      assert_int_equal(batch->labels[i], index % 10 == 0 ? -1 : fake_label(&source.base, index));
      for (int64_t p = 0; index % 10 == 0 && p < FLOATS; ++p) assert_true(batch->images[i * FLOATS + p] == 0.0f);
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
      cmocka_unit_test(stretches_make_the_batch),
      cmocka_unit_test(shares_come_in_as_many_parts),
      cmocka_unit_test(shares_may_not_come_in_as_many_parts),
      cmocka_unit_test(batches_are_dealt_out),
      cmocka_unit_test(without_shuffle_in_order),
      cmocka_unit_test(parts_cover_every_batch),
      cmocka_unit_test(parts_make_up_the_batches),
      cmocka_unit_test(rings_hold_parts),
      cmocka_unit_test(workers_do_not_matter),
      cmocka_unit_test(resumes_anywhere),
      cmocka_unit_test(batches_stay_until_the_next_call),
      cmocka_unit_test(errors_come_with_their_batch),
      cmocka_unit_test(the_first_failure_counts),
      cmocka_unit_test(ends_at_any_time),
      cmocka_unit_test(epochs_allocate_nothing),
      cmocka_unit_test(bad_samples_are_replaced),
      cmocka_unit_test(bad_samples_are_reported_in_order),
      cmocka_unit_test(bad_samples_are_marked),
      cmocka_unit_test(too_many_bad_samples_fail),
      cmocka_unit_test(refuses_bad_descriptions),
      cmocka_unit_test(creation_survives_want_of_memory),
      cmocka_unit_test(loads_idx),
  };
  return cmocka_run_group_tests_name("data/loader", tests, NULL, NULL);
}
