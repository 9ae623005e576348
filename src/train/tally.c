#include "train/tally.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/atomic_file.h"
#include "train/meter.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct class_count {
  int64_t images, top1_wrong, top5_wrong;
} class_count;

struct train_tally {
  int64_t classes;
  class_count *counts;
  int64_t *confusion; /* [label][predicted]; NULL: not asked for */
};

gp_status train_tally_create(train_tally **out, int64_t classes, bool confusion) {
  gp_status status = GP_OK;
  train_tally *tally = NULL;
  size_t pairs = 0;
  *out = NULL;
  GP_TRY(GP_ALLOC(&tally, 1));
  tally->classes = classes;
  GP_TRY(GP_ALLOC(&tally->counts, (size_t)classes));
  if (confusion) {
    GP_TRY(gp_mul_size(&pairs, (size_t)classes, (size_t)classes));
    GP_TRY(GP_ALLOC(&tally->confusion, pairs));
  }
  *out = tally;
  tally = NULL;
cleanup:
  train_tally_destroy(&tally);
  return status;
}

void train_tally_destroy(train_tally **tally) {
  if (*tally == NULL) return;
  gp_free((*tally)->counts);
  gp_free((*tally)->confusion);
  gp_free(*tally);
  *tally = NULL;
}

void train_tally_add(train_tally *tally, const float *logits, int64_t label) {
  class_count *count = &tally->counts[label];
  count->images += 1;
  count->top1_wrong += !train_in_top_k(logits, tally->classes, label, 1);
  count->top5_wrong += !train_in_top_k(logits, tally->classes, label, 5);
  if (tally->confusion == NULL) return;
  int64_t best = 0;
  for (int64_t c = 1; c < tally->classes; ++c)
    if (logits[c] > logits[best] || isnan(logits[best])) best = c;
  tally->confusion[label * tally->classes + best] += 1;
}

_Static_assert(sizeof(class_count) == 3 * sizeof(int64_t), "counts are summed as an array of numbers");

gp_status train_tally_sum(train_tally *tally, dist_comm *comm) {
  const size_t classes = (size_t)tally->classes;
  gp_status status = dist_sum(comm, tally->counts, 3 * classes, DIST_INT64);
  if (status != GP_OK || tally->confusion == NULL) return status;
  return dist_sum(comm, tally->confusion, classes * classes, DIST_INT64);
}

/* ---- Files ---- */

/* The class's name as a field (RFC 4180), or its number. */
static gp_status put_name(atomic_file *file, const char *const *names, int64_t class_number) {
  gp_status status = GP_OK;
  if (names == NULL) return atomic_file_printf(file, "%" PRId64, class_number);
  const char *name = names[class_number];
  if (strpbrk(name, ",\"\r\n") == NULL) return atomic_file_printf(file, "%s", name);
  GP_TRY(atomic_file_write(file, "\"", 1));
  for (; *name != '\0'; ++name) GP_TRY(atomic_file_write(file, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1));
  GP_TRY(atomic_file_write(file, "\"", 1));
cleanup:
  return status;
}

static gp_status put_class(atomic_file *file, const train_tally *tally, const char *const *names, int64_t c) {
  gp_status status = GP_OK;
  const class_count *count = &tally->counts[c];
  GP_TRY(atomic_file_printf(file, "%" PRId64 ",", c));
  GP_TRY(put_name(file, names, c));
  GP_TRY(atomic_file_printf(file, ",%" PRId64, count->images));
  if (count->images == 0) return atomic_file_printf(file, ",,\n");
  GP_TRY(atomic_file_printf(file, ",%.6g,%.6g\n", 100.0 * (double)count->top1_wrong / (double)count->images,
                            100.0 * (double)count->top5_wrong / (double)count->images));
cleanup:
  return status;
}

gp_status train_tally_write_classes(const train_tally *tally, const char *const *names, const char *path) {
  gp_status status = GP_OK;
  atomic_file *file = NULL;
  GP_TRY(atomic_file_create(&file, path, 0));
  GP_TRY(atomic_file_printf(file, "class,name,images,top1_error,top5_error\n"));
  for (int64_t c = 0; c < tally->classes; ++c) GP_TRY(put_class(file, tally, names, c));
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  return status;
}

static gp_status put_confusion_row(atomic_file *file, const train_tally *tally, const char *const *names, int64_t row) {
  gp_status status = GP_OK;
  GP_TRY(put_name(file, names, row));
  for (int64_t c = 0; c < tally->classes; ++c)
    GP_TRY(atomic_file_printf(file, ",%" PRId64, tally->confusion[row * tally->classes + c]));
  GP_TRY(atomic_file_write(file, "\n", 1));
cleanup:
  return status;
}

gp_status train_tally_write_confusion(const train_tally *tally, const char *const *names, const char *path) {
  gp_status status = GP_OK;
  atomic_file *file = NULL;
  GP_TRY(atomic_file_create(&file, path, 0));
  GP_TRY(atomic_file_printf(file, "label"));
  for (int64_t c = 0; c < tally->classes; ++c) {
    GP_TRY(atomic_file_write(file, ",", 1));
    GP_TRY(put_name(file, names, c));
  }
  GP_TRY(atomic_file_write(file, "\n", 1));
  for (int64_t row = 0; row < tally->classes; ++row) GP_TRY(put_confusion_row(file, tally, names, row));
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  return status;
}
