#include "nn/onednn/sync.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "nn/element.h"
#include "nn/onednn/moments.h"

od_sync od_sync_of(const nn_kernel_desc *desc) {
  if (desc->mode != NN_TRAIN) return (od_sync){0};
  return (od_sync){.sync = desc->sync, .tensor = desc->in[0], .lanes = od_lanes_of(&desc->in[0])};
}

/* Arrays by channel that od_load_lanes() reads. */
static int64_t rounded(const od_sync *s) { return (s->lanes.channels + OD_ROW - 1) / OD_ROW * OD_ROW; }

/* Two sums a channel and the count of values; then the moments' own. */
static size_t sums_bytes(const od_sync *s) { return gp_align_up((size_t)(2 * s->lanes.channels + 1) * sizeof(double)); }

size_t od_sync_forward_bytes(const od_sync *s) {
  return s->sync == NULL ? 0 : sums_bytes(s) + od_moments_bytes(&s->tensor);
}

enum { SLOPE = 0, OFFSET, MEAN, ARRAYS };

size_t od_sync_backward_bytes(const od_sync *s) {
  return s->sync == NULL ? 0 : sums_bytes(s) + (size_t)(ARRAYS * rounded(s)) * sizeof(float);
}

static gp_status sum(const od_sync *s, const nn_kernel *k, double *sums, int64_t count) {
  if (k->at.step->absent) memset(sums, 0, (size_t)count * sizeof *sums);
  return s->sync->sum(s->sync->context, sums, count);
}

gp_status od_sync_gradient_sums(const od_sync *s, const nn_kernel *k, double *sums, int64_t count) {
  gp_status status = sum(s, k, sums, count);
  if (k->at.step->absent) memset(sums, 0, (size_t)count * sizeof *sums);
  return status;
}

gp_status od_sync_moments(od_sync *s, const nn_kernel *k, void *scratch, float *mean, float *variance) {
  double *sums = scratch;
  const int64_t channels = s->lanes.channels;
  const double own = (double)s->tensor.batch * (double)s->lanes.blocking.positions;
  const float *pivot = k->at.value[NN_RUNNING_MEAN];
  od_moments(&s->tensor, k->at.in[0], (char *)scratch + sums_bytes(s), mean, variance);
  for (int64_t c = 0; c < channels; ++c) {
    const double distance = (double)mean[c] - pivot[c];
    sums[2 * c] = own * distance;
    sums[2 * c + 1] = own * (variance[c] + distance * distance);
  }
  sums[2 * channels] = own;
  gp_status status = sum(s, k, sums, 2 * channels + 1);
  if (status != GP_OK) return status;
  s->values = sums[2 * channels];
  for (int64_t c = 0; c < channels; ++c) {
    const double distance = sums[2 * c] / s->values, squares = sums[2 * c + 1] / s->values - distance * distance;
    mean[c] = (float)(pivot[c] + distance);
    variance[c] = squares < 0 ? 0 : (float)squares; /* NaN stays */
  }
  return GP_OK;
}

typedef struct correction {
  const od_sync *s;
  const void *x;
  const float *arrays; /* [ARRAYS][channels, rounded up] */
  void *grad_x;
} correction;

static void correct_group(void *context, int64_t task) {
  const correction *job = context;
  const od_lanes *lanes = &job->s->lanes;
  const gp_dtype type = job->s->tensor.type;
  const int64_t n = task / lanes->groups, group = task % lanes->groups, channels = rounded(job->s);
  od_gradient_constants c = {.spread = {0}};
  od_load_lanes(lanes, group, job->arrays + SLOPE * channels, c.slope);
  od_load_lanes(lanes, group, job->arrays + OFFSET * channels, c.offset);
  od_load_lanes(lanes, group, job->arrays + MEAN * channels, c.mean);
  for (int64_t i = 0; i < lanes->tiles; ++i) {
    const od_tile tile = od_tile_at(lanes, n, group, i);
    void *grad_x = nn_at(type, job->grad_x, tile.offset);
    od_rows_best(type)->gradient(&c, grad_x, grad_x, nn_at_const(type, job->x, tile.offset), tile.span);
  }
}

gp_status od_sync_gradient(const od_sync *s, const nn_kernel *k, void *scratch, double eps, const float *mean,
                           const float *variance, void *grad_x) {
  double *sums = scratch;
  float *arrays = (float *)((char *)scratch + sums_bytes(s));
  const int64_t channels = s->lanes.channels, length = rounded(s);
  for (int64_t c = 0; c < channels; ++c) {
    sums[2 * c] = k->at.gradient[NN_WEIGHT][c];
    sums[2 * c + 1] = k->at.gradient[NN_BIAS][c];
  }
  gp_status status = od_sync_gradient_sums(s, k, sums, 2 * channels);
  if (status != GP_OK || grad_x == NULL) return status;
  memset(arrays, 0, (size_t)(ARRAYS * length) * sizeof *arrays);
  for (int64_t c = 0; c < channels; ++c) {
    const double inverse = 1 / sqrt(variance[c] + eps), scale = k->at.value[NN_WEIGHT][c] * inverse / s->values;
    arrays[SLOPE * length + c] = (float)(-scale * sums[2 * c] * inverse);
    arrays[OFFSET * length + c] = (float)(-scale * sums[2 * c + 1]);
    arrays[MEAN * length + c] = mean[c];
  }
  correction job = {.s = s, .x = k->at.in[0], .arrays = arrays, .grad_x = grad_x};
  gp_parallel_for(s->tensor.batch * s->lanes.groups, 0, correct_group, &job);
  return GP_OK;
}
