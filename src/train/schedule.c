#include "train/schedule.h"

#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EPOCHS 1000000

/* ---- lr-list ---- */

static gp_status fail_list(const char *text, const char *at) {
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "expected rates with their epochs such as 0.1x30,0.01x30,0.001 (the last may leave the epochs out), "
                 "found \"%s\" in \"%s\"",
                 at, text);
}

static const char *skip_spaces(const char *at) { return at + strspn(at, " \t"); }

typedef struct rate_list {
  train_schedule_run runs[TRAIN_SCHEDULE_MAX_RUNS];
  size_t count;
  int64_t end; /* first epoch that the list does not cover; INT64_MAX: it covers all */
} rate_list;

/* One "0.1x30" or "0.1"; *at moves behind it. */
static gp_status parse_run(const char *text, const char **at, rate_list *list) {
  char *end = NULL;
  /* strtod() would take "0x30" for a hexadecimal number. */
  const char *start = *at;
  const size_t sign = start[0] == '+' || start[0] == '-';
  const bool zero = start[sign] == '0' && (start[sign + 1] == 'x' || start[sign + 1] == 'X');
  double rate = zero ? 0 : strtod(start, &end);
  if (zero) end = (char *)(uintptr_t)start + sign + 1;
  if (end == start || !isfinite(rate) || rate < 0) return fail_list(text, start);
  if (list->count == TRAIN_SCHEDULE_MAX_RUNS)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected at most %d rates, found more", TRAIN_SCHEDULE_MAX_RUNS);
  list->runs[list->count++] = (train_schedule_run){.first = list->end, .rate = rate};
  const char *next = skip_spaces(end);
  if (*next != 'x') {
    list->end = INT64_MAX;
    *at = next;
    return *next == '\0' ? GP_OK : fail_list(text, start);
  }
  long long epochs = strtoll(next + 1, &end, 10);
  if (end == next + 1 || epochs < 1 || epochs > MAX_EPOCHS) return fail_list(text, start);
  list->end += epochs;
  *at = skip_spaces(end);
  return GP_OK;
}

static gp_status parse_list(const char *text, rate_list *list) {
  const char *at = skip_spaces(text);
  list->count = 0;
  list->end = 0;
  while (*at != '\0') {
    gp_status status = parse_run(text, &at, list);
    if (status != GP_OK) return status;
    if (*at == '\0') break;
    const char *comma = at;
    at = skip_spaces(at + 1);
    if (*comma != ',' || *at == '\0') return fail_list(text, comma);
  }
  return GP_OK;
}

gp_status train_schedule_check_list(const char *text) {
  rate_list list;
  return parse_list(text, &list);
}

/* ---- The schedule ---- */

static gp_status init_list(train_schedule *schedule, const train_config *config) {
  rate_list list;
  gp_status status = parse_list(config->lr_list, &list);
  if (status != GP_OK) return gp_fail_in(status, "lr-list");
  if (list.count == 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "lr-list: expected rates for --schedule list, found none");
  if (list.end < config->epochs)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "lr-list: expected rates for %lld epochs, found them for %lld",
                   (long long)config->epochs, (long long)list.end);
  memcpy(schedule->runs, list.runs, sizeof schedule->runs);
  schedule->run_count = list.count;
  return GP_OK;
}

gp_status train_schedule_init(train_schedule *schedule, const train_config *config, int64_t steps_per_epoch) {
  memset(schedule, 0, sizeof *schedule);
  schedule->kind = config->schedule;
  schedule->steps_per_epoch = steps_per_epoch;
  schedule->lr = config->lr;
  schedule->lr_min = config->lr_min;
  schedule->gamma = config->lr_gamma;
  schedule->step_size = config->lr_step_size;
  schedule->warmup_start = config->warmup_start;
  if (steps_per_epoch < 1 || config->epochs < 1 || config->lr_step_size < 1 ||
      __builtin_mul_overflow(steps_per_epoch, config->epochs, &schedule->total_steps))
    return gp_fail(
        GP_ERROR_INVALID_ARGUMENT,
        "a schedule: expected epochs, steps per epoch and lr-step-size of at least 1, found %lld, %lld, %lld",
        (long long)config->epochs, (long long)steps_per_epoch, (long long)config->lr_step_size);
  double warmup = config->warmup_epochs * (double)steps_per_epoch;
  schedule->warmup_steps = warmup >= (double)schedule->total_steps ? schedule->total_steps : llround(warmup);
  return config->schedule == TRAIN_SCHEDULE_LIST ? init_list(schedule, config) : GP_OK;
}

static double list_rate(const train_schedule *schedule, int64_t epoch) {
  size_t run = 0;
  while (run + 1 < schedule->run_count && schedule->runs[run + 1].first <= epoch) ++run;
  return schedule->runs[run].rate;
}

static double cosine_rate(const train_schedule *schedule, int64_t step) {
  int64_t length = schedule->total_steps - schedule->warmup_steps;
  if (step < schedule->warmup_steps || length < 1) return schedule->lr;
  double position = (double)(step - schedule->warmup_steps) / (double)length;
  return schedule->lr_min + (schedule->lr - schedule->lr_min) * (1 + cos(M_PI * position)) / 2;
}

static double plain_rate(const train_schedule *schedule, int64_t step) {
  int64_t epoch = step / schedule->steps_per_epoch;
  switch (schedule->kind) {
    case TRAIN_SCHEDULE_LIST: return list_rate(schedule, epoch);
    case TRAIN_SCHEDULE_STEP: return schedule->lr * pow(schedule->gamma, (double)(epoch / schedule->step_size));
    case TRAIN_SCHEDULE_COSINE: return cosine_rate(schedule, step);
  }
  return schedule->lr;
}

double train_schedule_lr(const train_schedule *schedule, int64_t step) {
  if (step < 0) step = 0;
  if (step >= schedule->total_steps) step = schedule->total_steps - 1;
  double rate = plain_rate(schedule, step);
  if (step >= schedule->warmup_steps) return rate;
  double part = (double)step / (double)schedule->warmup_steps;
  return rate * (schedule->warmup_start + (1 - schedule->warmup_start) * part);
}
