/* Batches shared by ranks, dealt out among them, and cut into parts. */
#include "test_data_fake.h"
#include "test_data_files.h"

#include "data/parts.h"

#include <string.h>

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
        assert_memory_equal(part->images, expected->images + at * FAKE_FLOATS,
                            (size_t)part->count * FAKE_FLOATS * sizeof(float));
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
      assert_memory_equal(part->images, batch->images + part->first * FAKE_FLOATS, count * FAKE_FLOATS * sizeof(float));
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stretches_make_the_batch),
      cmocka_unit_test(shares_may_not_come_in_as_many_parts),
      cmocka_unit_test(shares_come_in_as_many_parts),
      cmocka_unit_test(batches_are_dealt_out),
      cmocka_unit_test(parts_cover_every_batch),
      cmocka_unit_test(parts_make_up_the_batches),
      cmocka_unit_test(rings_hold_parts),
  };
  return cmocka_run_group_tests_name("data/parts", tests, NULL, NULL);
}
