/* Runs of the training loop on a tiny data set, beside a reference run, for the tests of the loop. */
#ifndef GP_TEST_TRAIN_RUN_H
#define GP_TEST_TRAIN_RUN_H

#include "test_train_util.h"

#include "base/philox.h"
#include "train/checkpoint.h"
#include "train/stop.h"
#include "train/train.h"

#include <ftw.h>
#include <math.h>

enum { SIDE = 12, TRAIN_IMAGES = 70, TEST_IMAGES = 20, BATCH = 16, STEPS = 5, EPOCHS = 3 };

/* ---- Data and configuration ---- */

static inline void put_idx(const char *name, const uint8_t *header, size_t header_bytes, const uint8_t *data,
                           size_t bytes) {
  uint8_t file[16 + TRAIN_IMAGES * SIDE * SIDE];
  memcpy(file, header, header_bytes);
  memcpy(file + header_bytes, data, bytes);
  put_file(in_folder(name), file, header_bytes + bytes);
}

/* Noise over a bar whose row is the class. */
static inline void put_split(const char *split, uint8_t count) {
  uint8_t images[TRAIN_IMAGES * SIDE * SIDE], labels[TRAIN_IMAGES];
  char name[64];
  for (uint32_t i = 0; i < count; ++i) {
    labels[i] = (uint8_t)(i % 10);
    for (uint32_t p = 0; p < SIDE * SIDE; ++p) {
      const uint32_t noise = gp_philox(9, i, p, count, 0).word[0] % 100;
      images[i * SIDE * SIDE + p] = (uint8_t)(noise + (p / SIDE == labels[i] + 1u ? 150 : 0));
    }
  }
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", split);
  put_idx(name, (const uint8_t[]){0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, SIDE, 0, 0, 0, SIDE}, 16, images,
          (size_t)count * SIDE * SIDE);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split);
  put_idx(name, (const uint8_t[]){0, 0, 8, 1, 0, 0, 0, count}, 8, labels, count);
}

static inline void set(train_config *config, const char *name, const char *text) {
  assert_ok(options_set(&train_option_table, config, name, text));
}

/* `more`: names and values in turn, up to NULL. */
static inline train_config make_config(const char *out, const char *const more[]) {
  static const char *const common[] = {"dataset",      "mnist", "arch",       "resnet8", "pool",     "gauss_HWCN",
                                       "batch-size",   "16",    "epochs",     "3",       "lr",       "0.05",
                                       "crop-padding", "1",     "flip",       "yes",     "seed",     "11",
                                       "workers",      "1",     "print-freq", "2",       "schedule", "cosine"};
  train_config config;
  assert_ok(train_config_init(&config));
  for (size_t i = 0; i < sizeof common / sizeof *common; i += 2) set(&config, common[i], common[i + 1]);
  set(&config, "data", test_folder);
  set(&config, "out-dir", in_folder(out));
  for (; more != NULL && *more != NULL; more += 2) set(&config, more[0], more[1]);
  return config;
}

static inline gp_status run(const char *out, const char *const more[], const train_observer *observer,
                            train_result *result) {
  train_config config = make_config(out, more);
  train_result own = {0};
  train_stop_request(0);
  gp_status status = train_run(&config, observer, &own);
  train_config_clear(&config);
  if (result != NULL)
    *result = own;
  else
    train_result_clear(&own);
  return status;
}

static inline void expect_same_file(const char *a, const char *b) {
  size_t of_a = 0, of_b = 0;
  char *bytes_a = get_file(in_folder(a), &of_a), *bytes_b = get_file(in_folder(b), &of_b);
  if (of_a != of_b || memcmp(bytes_a, bytes_b, of_a) != 0) fail_msg("%s and %s differ", a, b);
  free(bytes_a);
  free(bytes_b);
}

static inline int make_reference(void **state) {
  if (make_test_folder(state) != 0) return -1;
  put_split("train", TRAIN_IMAGES);
  put_split("t10k", TEST_IMAGES);
  train_result result;
  assert_ok(run("whole", NULL, NULL, &result));
  assert_int_equal(result.epochs, EPOCHS);
  assert_int_equal(result.steps, EPOCHS * STEPS);
  assert_true(isfinite(result.val_loss) && result.best_epoch >= 1 && result.best_epoch <= EPOCHS);
  train_result_clear(&result);
  return 0;
}

static inline int remove_any(const char *path, const struct stat *info, int kind, struct FTW *walk) {
  (void)info, (void)kind, (void)walk;
  return remove(path);
}

static inline int remove_reference(void **state) {
  (void)state;
  return nftw(test_folder, remove_any, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void expect_as_whole(const char *out) {
  char path[64];
  for (int i = 0; i < 2; ++i) {
    static const char *const names[] = {"checkpoint_epoch003.safetensors", "model_best.safetensors"};
    char whole[64];
    snprintf(path, sizeof path, "%s/%s", out, names[i]);
    snprintf(whole, sizeof whole, "whole/%s", names[i]);
    expect_same_file(whole, path);
  }
}

#endif
