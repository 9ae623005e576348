/* Model files and checkpoints: what is written is what is read, and what does not fit is named. */
#include "test_train_util.h"

#include "base/philox.h"
#include "models/models.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"
#include "train/file.h"

#include <math.h>
#include <utime.h>

static const char *const names[] = {"left", "right", "grün"};

static model_info make_info(const char *arch, const char *pool) {
  model_info info = {.channels = 1,
                     .height = 12,
                     .width = 12,
                     .epoch = 7,
                     .val_loss = 0.1,
                     .val_top1 = 1.0 / 3,
                     .val_top5 = 0,
                     .mean = {0.2860f},
                     .std = {0.3530f}};
  snprintf(info.arch, sizeof info.arch, "%s", arch);
  snprintf(info.pool, sizeof info.pool, "%s", pool);
  snprintf(info.dataset, sizeof info.dataset, "mnist");
  assert_int_equal(model_info_set_classes(&info, 3, names), GP_OK);
  return info;
}

static nn_net *make_net(const model_info *info, uint64_t seed) {
  nn_net *net = NULL;
  assert_ok(model_net_create(&net, info, &(model_net_desc){.batch = 4, .trainable = true}));
  assert_ok(nn_net_init(net, seed));
  return net;
}

/* Something else than zeros into every tensor, momenta and counters included. */
static void fill(nn_net *net, uint32_t stream) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info info = nn_net_state(net, i);
    float *values = NULL;
    int64_t counter = 1000 + i + stream;
    assert_int_equal(GP_ALLOC(&values, (size_t)info.elements), GP_OK);
    for (int part = NN_VALUE; part <= NN_MOMENTUM; part += NN_MOMENTUM) {
      if (part == NN_MOMENTUM && !info.is_parameter) continue;
      for (int64_t e = 0; e < info.elements; ++e)
        values[e] = gp_unit_float(gp_philox(stream, (uint32_t)e, (uint32_t)i, (uint32_t)part, 0).word[0]);
      assert_ok(nn_net_state_write(net, i, (nn_state_part)part, info.is_int64 ? (void *)&counter : (void *)values));
    }
    gp_free(values);
  }
}

static void expect_equal_tensor(const nn_net *a, const nn_net *b, int32_t i, nn_state_part part) {
  const nn_state_info info = nn_net_state(a, i);
  const size_t bytes = (size_t)info.elements * (info.is_int64 ? 8 : 4);
  char *of_a = NULL, *of_b = NULL;
  assert_int_equal(gp_alloc((void **)&of_a, bytes, 1), GP_OK);
  assert_int_equal(gp_alloc((void **)&of_b, bytes, 1), GP_OK);
  assert_ok(nn_net_state_read(a, i, part, of_a));
  assert_ok(nn_net_state_read(b, i, part, of_b));
  if (memcmp(of_a, of_b, bytes) != 0) fail_msg("%s, part %d, differs", info.name, (int)part);
  gp_free(of_a);
  gp_free(of_b);
}

static void expect_equal_nets(const nn_net *a, const nn_net *b, bool momenta) {
  for (int32_t i = 0; i < nn_net_state_count(a); ++i) {
    expect_equal_tensor(a, b, i, NN_VALUE);
    if (momenta && nn_net_state(a, i).is_parameter) expect_equal_tensor(a, b, i, NN_MOMENTUM);
  }
}

static train_epoch_row rows[] = {
    {.epoch = 1,
     .lr = 0.1,
     .train_loss = 2.3025850929940457,
     .train_top1 = 1.0 / 3,
     .val_loss = INFINITY,
     .val_top1 = 12.5,
     .images_per_second = 1e4,
     .seconds = 3,
     .wait_seconds = 1},
    {.epoch = 2, .lr = 1e-300, .train_loss = 5e-324, .train_top5 = 100.0 / 7, .val_loss = NAN, .val_top5 = 2},
};

static train_state make_state(void) {
  return (train_state){.epoch = 2,
                       .batch = 5,
                       .step = 4294967295,
                       .best_epoch = 1,
                       .best_top1 = 12.5,
                       .meter = {.samples = 60, .top1_wrong = 20, .top5_wrong = 3, .loss_sum = 0.1 + 0.2},
                       .history = rows,
                       .history_count = 2,
                       .history_capacity = 2};
}

/* ---- Round trips ---- */

static void test_model_round_trip(void **state) {
  (void)state;
  model_info info = make_info("resnet8", "gauss_CN");
  nn_net *net = make_net(&info, 1), *other = make_net(&info, 2);
  model_file *file = NULL;
  fill(net, 3);
  assert_ok(model_file_write(in_folder("model.safetensors"), net, &info));
  assert_ok(model_file_open(&file, in_folder("model.safetensors")));
  const model_info *read = model_file_info(file);
  assert_false(model_file_is_checkpoint(file));
  assert_string_equal(read->arch, "resnet8");
  assert_string_equal(read->pool, "gauss_CN");
  assert_string_equal(read->dataset, "mnist");
  assert_int_equal(read->classes, 3);
  for (int i = 0; i < 3; ++i) assert_string_equal(read->class_names[i], names[i]);
  assert_true(read->channels == 1 && read->height == 12 && read->width == 12 && read->epoch == 7);
  assert_true(read->mean[0] == info.mean[0] && read->std[0] == info.std[0]);
  assert_true(read->val_loss == 0.1 && read->val_top1 == 1.0 / 3 && read->val_top5 == 0);
  assert_ok(model_file_load(file, other, false));
  expect_equal_nets(net, other, false);
  model_file_close(&file);
  nn_net_destroy(&net);
  nn_net_destroy(&other);
  model_info_clear(&info);
}

static void expect_equal_doubles(double a, double b) {
  if (!(a == b) && !(isnan(a) && isnan(b))) fail_msg("expected %.17g, found %.17g", a, b);
}

static void expect_equal_states(const train_state *a, const train_state *b) {
  assert_true(a->epoch == b->epoch && a->batch == b->batch && a->step == b->step);
  assert_true(a->best_epoch == b->best_epoch && a->best_top1 == b->best_top1);
  assert_memory_equal(&a->meter, &b->meter, sizeof a->meter);
  assert_int_equal(a->history_count, b->history_count);
  for (int64_t i = 0; i < a->history_count; ++i) {
    const train_epoch_row *x = &a->history[i], *y = &b->history[i];
    const double of_x[] = {x->lr, x->train_loss, x->train_top1, x->train_top5, x->val_loss, x->val_top1, x->val_top5};
    const double of_y[] = {y->lr, y->train_loss, y->train_top1, y->train_top5, y->val_loss, y->val_top1, y->val_top5};
    assert_int_equal(x->epoch, y->epoch);
    for (size_t v = 0; v < sizeof of_x / sizeof *of_x; ++v) expect_equal_doubles(of_x[v], of_y[v]);
    assert_true(isnan(y->seconds) && isnan(y->wait_seconds) && isnan(y->images_per_second));
  }
}

static void test_checkpoint_round_trip(void **state) {
  (void)state;
  model_info info = make_info("resnet8", "gauss_HWCN");
  nn_net *net = make_net(&info, 1), *other = make_net(&info, 2);
  train_config config = {0}, read_config = {0};
  train_state written = make_state(), read = {0};
  model_file *file = NULL;
  fill(net, 4);
  assert_ok(train_config_init(&config));
  assert_ok(options_set(&train_option_table, &config, "lr", "0.1234567890123456"));
  assert_ok(options_set(&train_option_table, &config, "out-dir", "secret-place"));
  assert_ok(checkpoint_write(in_folder("c.safetensors"), net, &info, &written, &config));
  assert_ok(model_file_open(&file, in_folder("c.safetensors")));
  assert_true(model_file_is_checkpoint(file));
  assert_ok(checkpoint_read_state(file, &read));
  expect_equal_states(&written, &read);
  assert_ok(model_file_load(file, other, true));
  expect_equal_nets(net, other, true);
  assert_ok(train_config_init(&read_config));
  assert_ok(checkpoint_apply_config(file, &read_config));
  assert_true(read_config.lr == config.lr);
  assert_string_equal(read_config.out_dir, "out"); /* where a run ran is not in its checkpoint */
  model_file_close(&file);
  train_state_clear(&read);
  train_config_clear(&config);
  train_config_clear(&read_config);
  nn_net_destroy(&net);
  nn_net_destroy(&other);
  model_info_clear(&info);
}

/* Neither folder, workers, threads nor times make a difference. */
static void test_same_bytes(void **state) {
  (void)state;
  static const char *const places[][3] = {{"out-dir", "a", "b"}, {"workers", "1", "4"}, {"threads", "1", "2"}};
  model_info info = make_info("resnet8", "max");
  nn_net *net = make_net(&info, 1);
  void *bytes[2] = {NULL, NULL};
  size_t sizes[2] = {0};
  for (int run = 0; run < 2; ++run) {
    train_config config = {0};
    train_state written = make_state();
    const char *path = in_folder("c.safetensors");
    assert_ok(train_config_init(&config));
    for (int i = 0; i < 3; ++i) assert_ok(options_set(&train_option_table, &config, places[i][0], places[i][1 + run]));
    rows[0].seconds += 1;
    assert_ok(checkpoint_write(path, net, &info, &written, &config));
    assert_ok(file_read_whole(path, 0, &bytes[run], &sizes[run]));
    train_config_clear(&config);
  }
  assert_int_equal(sizes[0], sizes[1]);
  assert_memory_equal(bytes[0], bytes[1], sizes[0]);
  gp_free(bytes[0]);
  gp_free(bytes[1]);
  nn_net_destroy(&net);
  model_info_clear(&info);
}

/* ---- What does not fit ---- */

static void load_into(const char *path, const char *arch, const char *pool, bool momenta, const char *expected[]) {
  model_info info = make_info(arch, pool);
  nn_net *net = make_net(&info, 5), *untouched = make_net(&info, 5);
  model_file *file = NULL;
  assert_ok(model_file_open(&file, path));
  gp_status status = model_file_load(file, net, momenta);
  if (status != GP_ERROR_INVALID_ARGUMENT) fail_msg("%s with %s: loaded", arch, pool);
  for (int i = 0; expected[i] != NULL; ++i)
    if (strstr(gp_last_error(), expected[i]) == NULL)
      fail_msg("\"%s\" does not say \"%s\"", gp_last_error(), expected[i]);
  expect_equal_nets(net, untouched, true);
  model_file_close(&file);
  nn_net_destroy(&net);
  nn_net_destroy(&untouched);
  model_info_clear(&info);
}

static void test_mismatch(void **state) {
  (void)state;
  model_info info = make_info("resnet8", "gauss_CN");
  nn_net *net = make_net(&info, 1);
  const char *path = in_folder("model.safetensors");
  assert_ok(model_file_write(path, net, &info));
  load_into(path, "resnet8", "avg", false,
            (const char *[]){"model.safetensors", "unexpected", "pooling.ToHidden", NULL});
  load_into(path, "resnet20", "gauss_CN", false, (const char *[]){"missing", "layer1.1.conv1.weight", "…", NULL});
  load_into(path, "resnet8", "gauss_CN", true, (const char *[]){"missing", "optimizer.momentum.conv1.weight", NULL});
  nn_net_destroy(&net);
  model_info_clear(&info);
}

/* Written as PyTorch's state dicts are: no metadata of ours. */
static void write_plain(const char *path, const nn_net *net, const char *leave_out, const char *flatten) {
  safetensors_writer *writer = NULL;
  void *copies[256] = {NULL};
  assert_ok(safetensors_writer_create(&writer));
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info info = nn_net_state(net, i);
    if (strstr(info.name, leave_out) != NULL) continue;
    assert_int_equal(gp_alloc(&copies[i], (size_t)info.elements, 8), GP_OK);
    assert_ok(nn_net_state_read(net, i, NN_VALUE, copies[i]));
    const bool flat = strcmp(info.name, flatten) == 0;
    assert_ok(safetensors_writer_add(writer, info.name, info.is_int64 ? SAFETENSORS_I64 : SAFETENSORS_F32,
                                     flat ? &info.elements : info.shape, flat ? 1 : info.rank, copies[i]));
  }
  assert_ok(safetensors_writer_commit(writer, path));
  safetensors_writer_destroy(&writer);
  for (int i = 0; i < 256; ++i) gp_free(copies[i]);
}

static void test_plain_state_dict(void **state) {
  (void)state;
  model_info info = make_info("resnet8", "gauss_CN");
  nn_net *net = make_net(&info, 1), *other = make_net(&info, 2);
  const char *path = in_folder("plain.safetensors");
  model_file *file = NULL;
  train_state read = {0};
  write_plain(path, net, "num_batches_tracked", "");
  assert_ok(model_file_open(&file, path));
  assert_string_equal(model_file_info(file)->arch, "");
  assert_ok(model_file_load(file, other, false));
  expect_equal_nets(net, other, false);
  assert_int_equal(checkpoint_read_state(file, &read), GP_ERROR_INVALID_ARGUMENT);
  model_file_close(&file);
  write_plain(path, net, "fc.bias", "conv1.weight");
  load_into(path, "resnet8", "gauss_CN", false,
            (const char *[]){"1 missing (fc.bias)", "1 of another shape", "conv1.weight: found F32 [144]",
                             "[16, 1, 3, 3]", NULL});
  nn_net_destroy(&net);
  nn_net_destroy(&other);
  model_info_clear(&info);
}

/* Metadata that is ours, with one entry replaced. */
static void test_broken_metadata(void **state) {
  (void)state;
  static const char *const entries[][2] = {
      {"arch", ""},
      {"class_names", "[]"},
      {"class_names", "[1]"},
      {"class_names", "{"},
      {"input_shape", "[1,2]"},
      {"input_shape", "[4,9,9]"},
      {"input_shape", "[1,-1,9]"},
      {"mean", "[\"a\"]"},
      {"std", "[0.0]"},
      {"std", "[1,2]"},
      {"validation", "{}"},
      {"validation", "3"},
  };
  static const char *const good[][2] = {
      {"arch", "resnet8"},        {"pool", "max"},
      {"dataset", "mnist"},       {"class_names", "[\"a\"]"},
      {"input_shape", "[1,9,9]"}, {"mean", "[0.5]"},
      {"std", "[0.5]"},           {"validation", "{\"epoch\":1,\"loss\":\"nan\",\"top1\":1,\"top5\":0.5}"},
  };
  const char *path = in_folder("broken.safetensors");
  for (size_t e = 0; e <= sizeof entries / sizeof *entries; ++e) {
    const char *const *broken = e < sizeof entries / sizeof *entries ? entries[e] : NULL; /* the last one is whole */
    safetensors_writer *writer = NULL;
    model_file *file = NULL;
    assert_ok(safetensors_writer_create(&writer));
    assert_ok(safetensors_writer_metadata(writer, "format", "gausspool"));
    assert_ok(safetensors_writer_metadata(writer, "kind", "model"));
    for (size_t g = 0; g < sizeof good / sizeof *good; ++g) {
      const bool replace = broken != NULL && strcmp(good[g][0], broken[0]) == 0;
      assert_ok(safetensors_writer_metadata(writer, good[g][0], replace ? broken[1] : good[g][1]));
    }
    assert_ok(safetensors_writer_commit(writer, path));
    safetensors_writer_destroy(&writer);
    gp_status status = model_file_open(&file, path);
    if (broken != NULL && (status != GP_ERROR_CORRUPT || strstr(gp_last_error(), broken[0]) == NULL))
      fail_msg("%s = %s: %s, %s", broken[0], broken[1], gp_status_name(status), gp_last_error());
    if (broken == NULL) assert_ok(status);
    model_file_close(&file);
  }
}

/* Memory that runs out at any allocation is an error, and the file that stood there stays. */
static void test_out_of_memory(void **state) {
  (void)state;
  model_info info = make_info("resnet8", "max");
  nn_net *net = make_net(&info, 1);
  const char *path = in_folder("model.safetensors");
  assert_ok(model_file_write(path, net, &info));
  for (uint64_t n = 1; n <= 5; ++n) {
    model_file *file = NULL;
    gp_alloc_fail_after(n);
    assert_int_equal(model_file_write(path, net, &info), GP_ERROR_OUT_OF_MEMORY);
    gp_alloc_fail_after(n);
    assert_int_equal(model_file_open(&file, path), GP_ERROR_OUT_OF_MEMORY);
    gp_alloc_fail_after(0);
    assert_null(file);
    assert_ok(model_file_open(&file, path));
    model_file_close(&file);
  }
  nn_net_destroy(&net);
  model_info_clear(&info);
}

static void set_time(const char *path, time_t seconds) {
  assert_int_equal(utime(path, &(struct utimbuf){.actime = seconds, .modtime = seconds}), 0);
}

static void test_find(void **state) {
  (void)state;
  char *found = NULL;
  assert_int_equal(checkpoint_find(in_folder("none"), &found), GP_ERROR_NOT_FOUND);
  assert_int_equal(checkpoint_find(test_folder, &found), GP_ERROR_NOT_FOUND);
  static const char *const files[] = {"checkpoint_epoch001.safetensors", "checkpoint_last.safetensors",
                                      "checkpoint_epoch002.safetensors", "model_best.safetensors"};
  for (int i = 0; i < 4; ++i) {
    assert_ok(atomic_file_replace(in_folder(files[i]), "x", 1));
    set_time(in_folder(files[i]), i == 1 ? 5000 : 1000 + i);
  }
  assert_ok(checkpoint_find(test_folder, &found));
  assert_string_equal(found, in_folder("checkpoint_last.safetensors"));
  gp_free(found);
  assert_ok(checkpoint_find(in_folder("model_best.safetensors"), &found));
  assert_string_equal(found, in_folder("model_best.safetensors"));
  gp_free(found);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      test_in_folder(test_model_round_trip), test_in_folder(test_checkpoint_round_trip),
      test_in_folder(test_same_bytes),       test_in_folder(test_mismatch),
      test_in_folder(test_plain_state_dict), test_in_folder(test_broken_metadata),
      test_in_folder(test_out_of_memory),    test_in_folder(test_find),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
