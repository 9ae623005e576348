#include "train/report_impl.h"

#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_SIZE = 40 };

/* The columns behind `epoch`, in the order of log.csv; the names are the keys of log.jsonl too. */
typedef struct report_column {
  const char *tag; /* KIND/NAME */
  size_t offset;
} report_column;

static const report_column epoch_columns[] = {
    {"epoch/lr", offsetof(train_epoch_row, lr)},
    {"epoch/train_loss", offsetof(train_epoch_row, train_loss)},
    {"epoch/train_top1", offsetof(train_epoch_row, train_top1)},
    {"epoch/train_top5", offsetof(train_epoch_row, train_top5)},
    {"epoch/val_loss", offsetof(train_epoch_row, val_loss)},
    {"epoch/val_top1", offsetof(train_epoch_row, val_top1)},
    {"epoch/val_top5", offsetof(train_epoch_row, val_top5)},
    {"epoch/images_per_second", offsetof(train_epoch_row, images_per_second)},
    {"epoch/seconds", offsetof(train_epoch_row, seconds)},
    {"epoch/wait_seconds", offsetof(train_epoch_row, wait_seconds)},
};
static const report_column step_columns[] = {
    {"step/lr", offsetof(train_step_row, lr)},
    {"step/loss", offsetof(train_step_row, loss)},
    {"step/top1", offsetof(train_step_row, top1)},
    {"step/top5", offsetof(train_step_row, top5)},
    {"step/images_per_second", offsetof(train_step_row, images_per_second)},
    {"step/seconds", offsetof(train_step_row, seconds)},
    {"step/wait_seconds", offsetof(train_step_row, wait_seconds)},
};
enum {
  EPOCH_COLUMNS = sizeof epoch_columns / sizeof *epoch_columns,
  STEP_COLUMNS = sizeof step_columns / sizeof *step_columns
};

const char report_csv_header[] =
    "epoch,lr,train_loss,train_top1,train_top5,val_loss,val_top1,val_top5,images_per_second,seconds,wait_seconds";

_Static_assert((int)EPOCH_COLUMNS <= (int)REPORT_MAX_SCALARS && (int)STEP_COLUMNS <= (int)REPORT_MAX_SCALARS,
               "scalars have room");

static const char *name_of(const report_column *column) { return strchr(column->tag, '/') + 1; }

static double value_of(const void *row, const report_column *column) {
  double value;
  memcpy(&value, (const char *)row + column->offset, sizeof value);
  return value;
}

/* The shortest decimal that reads back as the same double; what is not finite is `other`. */
static const char *number_text(double value, const char *other, char text[NUMBER_SIZE]) {
  if (!isfinite(value)) return other;
  for (int digits = 6; digits <= 17; ++digits) {
    snprintf(text, NUMBER_SIZE, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  return text;
}

/* ---- Writing ---- */

static size_t append(char line[REPORT_LINE_SIZE], size_t used, const char *text) {
  int length = snprintf(line + used, REPORT_LINE_SIZE - used, "%s", text);
  return used + (size_t)length < REPORT_LINE_SIZE ? used + (size_t)length : REPORT_LINE_SIZE - 1;
}

const char *report_csv_line(const train_epoch_row *row, char line[REPORT_LINE_SIZE]) {
  char text[NUMBER_SIZE];
  size_t used = (size_t)snprintf(line, REPORT_LINE_SIZE, "%lld", (long long)row->epoch);
  for (int i = 0; i < EPOCH_COLUMNS; ++i) {
    used = append(line, used, ",");
    used = append(line, used, number_text(value_of(row, &epoch_columns[i]), "nan", text));
  }
  append(line, used, "\n");
  return line;
}

static void append_json(char line[REPORT_LINE_SIZE], size_t used, const void *row, const report_column *columns,
                        int count) {
  char text[NUMBER_SIZE];
  for (int i = 0; i < count; ++i) {
    used = append(line, used, ",\"");
    used = append(line, used, name_of(&columns[i]));
    used = append(line, used, "\":");
    used = append(line, used, number_text(value_of(row, &columns[i]), "null", text));
  }
  append(line, used, "}\n");
}

const char *report_json_epoch(const train_epoch_row *row, char line[REPORT_LINE_SIZE]) {
  int used = snprintf(line, REPORT_LINE_SIZE, "{\"kind\":\"epoch\",\"epoch\":%lld", (long long)row->epoch);
  append_json(line, (size_t)used, row, epoch_columns, EPOCH_COLUMNS);
  return line;
}

const char *report_json_step(const train_step_row *row, char line[REPORT_LINE_SIZE]) {
  int used = snprintf(line, REPORT_LINE_SIZE, "{\"kind\":\"step\",\"epoch\":%lld,\"step\":%lld", (long long)row->epoch,
                      (long long)row->step);
  append_json(line, (size_t)used, row, step_columns, STEP_COLUMNS);
  return line;
}

static size_t make_scalars(const void *row, const report_column *columns, size_t count, train_scalar *scalars) {
  for (size_t i = 0; i < count; ++i) scalars[i] = (train_scalar){columns[i].tag, (float)value_of(row, &columns[i])};
  return count;
}

size_t report_epoch_scalars(const train_epoch_row *row, train_scalar scalars[REPORT_MAX_SCALARS]) {
  return make_scalars(row, epoch_columns, EPOCH_COLUMNS, scalars);
}

size_t report_step_scalars(const train_step_row *row, train_scalar scalars[REPORT_MAX_SCALARS]) {
  return make_scalars(row, step_columns, STEP_COLUMNS, scalars);
}

/* ---- Reading back ---- */

bool report_read_csv(const char *line, train_epoch_row *row) {
  char *end = NULL;
  if (line[0] < '0' || line[0] > '9') return false;
  *row = (train_epoch_row){.epoch = strtoll(line, &end, 10)};
  for (int i = 0; i < EPOCH_COLUMNS; ++i) {
    if (*end != ',') return false;
    const char *start = end + 1;
    double value = strtod(start, &end);
    if (end == start) return false;
    memcpy((char *)row + epoch_columns[i].offset, &value, sizeof value);
  }
  return *end == '\0' && row->epoch >= 1;
}

bool report_same_results(const train_epoch_row *a, const train_epoch_row *b) {
  enum { RESULTS = 7 };
  bool same = a->epoch == b->epoch;
  for (int i = 0; same && i < RESULTS; ++i) {
    const double of_a = value_of(a, &epoch_columns[i]), of_b = value_of(b, &epoch_columns[i]);
    same = of_a == of_b || (!isfinite(of_a) && !isfinite(of_b)); /* these are all written as nan */
  }
  return same;
}

bool report_keep_json(const char *line, int64_t first_epoch, int64_t first_step, int64_t *at) {
  json_t *record = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
  const char *kind = json_string_value(json_object_get(record, "kind"));
  const json_t *epoch = json_object_get(record, "epoch"), *step = json_object_get(record, "step");
  bool keep = false;
  if (kind != NULL && strcmp(kind, "epoch") == 0)
    keep = json_is_integer(epoch) && json_integer_value(epoch) <= first_epoch;
  else if (kind != NULL && strcmp(kind, "step") == 0)
    keep = json_is_integer(step) && json_integer_value(step) <= first_step;
  *at = json_integer_value(epoch);
  keep = keep && json_is_integer(epoch);
  json_decref(record);
  return keep;
}
