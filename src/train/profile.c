#include "train/profile.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/status.h"
#include "train/atomic_file.h"

typedef struct profile_row {
  nn_layer_info layer;
  nn_layer_time time;
  double seconds;
} profile_row;

static int longer_first(const void *a, const void *b) {
  double x = ((const profile_row *)a)->seconds, y = ((const profile_row *)b)->seconds;
  return x < y ? 1 : x > y ? -1 : 0;
}

static void print_row(FILE *out, const profile_row *row, int64_t batch, int64_t steps, double total) {
  const nn_layer_info *layer = &row->layer;
  const bool backward = row->time.backward > 0;
  const double work = 2 * (double)layer->macs * (double)batch * (backward ? layer->of_images ? 2 : 3 : 1);
  const double tensors = (double)(layer->input_bytes + layer->activation_bytes) * (double)batch;
  const double parameters = (double)layer->parameters * sizeof(float);
  const double bytes =
      backward ? 2 * tensors + (double)layer->input_bytes * (double)batch + 3 * parameters : tensors + parameters;
  const double rate = (double)steps / row->seconds * 1e-9;
  fprintf(out, "%-32s %-18s %9.3f %9.3f", layer->name[0] == '\0' ? "-" : layer->name, layer->op,
          1e3 * row->time.forward / (double)steps, 1e3 * row->time.backward / (double)steps);
  if (layer->macs > 0)
    fprintf(out, " %9.1f", work * rate);
  else
    fprintf(out, " %9s", "-");
  fprintf(out, " %8.1f %6.2f%%\n", bytes * rate, 100 * row->seconds / total);
}

gp_status profile_print(FILE *out, const nn_net *net, const nn_plan *plan, int64_t batch) {
  gp_status status = GP_OK;
  profile_row *rows = NULL;
  int32_t count = 0;
  const int64_t steps = nn_plan_timed_steps(plan);
  double total = 0;
  GP_TRY(GP_ALLOC(&rows, (size_t)nn_net_layer_count(net)));
  for (int32_t i = 0; i < nn_net_layer_count(net); ++i) {
    profile_row row = {.layer = nn_net_layer(net, i), .time = nn_plan_layer_time(plan, i)};
    row.seconds = row.time.forward + row.time.backward;
    if (row.seconds <= 0) continue;
    total += row.seconds;
    rows[count++] = row;
  }
  qsort(rows, (size_t)count, sizeof *rows, longer_first);
  fprintf(out, "%-32s %-18s %9s %9s %9s %8s %7s\n", "layer", "op", "fwd ms", "bwd ms", "GFLOP/s", "GB/s", "share");
  for (int32_t i = 0; i < count; ++i) print_row(out, &rows[i], batch, steps, total);
  fprintf(out, "%-32s %-18s %19.3f\n", "all layers", "", 1e3 * total / (double)steps);
cleanup:
  gp_free(rows);
  return status;
}

gp_status profile_write(const char *path, const nn_net *net, const nn_plan *plan, int64_t batch) {
  gp_status status = GP_OK;
  char *text = NULL;
  size_t bytes = 0;
  FILE *memory = open_memstream(&text, &bytes);
  if (memory == NULL) GP_TRY(gp_fail(GP_ERROR_OUT_OF_MEMORY, "no memory for the table of layers"));
  GP_TRY(profile_print(memory, net, plan, batch));
  const bool failed = ferror(memory) != 0;
  if (fclose(memory) != 0 || failed) status = gp_fail(GP_ERROR_OUT_OF_MEMORY, "no memory for the table of layers");
  memory = NULL;
  if (status == GP_OK) status = atomic_file_replace(path, text, bytes);
cleanup:
  if (memory != NULL) fclose(memory);
  free(text);
  return status;
}
