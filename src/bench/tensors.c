#include "bench/tensors.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "base/status.h"
#include "pool/params.h"

#include <inttypes.h>

/* SETS_FOR_CACHE: the sets' x and y are to be so many times the cache, of which a call then finds at most the inverse in it. */
enum { FILL_ELEMENTS = 1 << 16, STAGED_ELEMENTS = 1 << 22, SETS_FOR_CACHE = 8, MOST_SETS = 64, PAGE = 4096 };

/* ---- Random numbers ------------------------------------------------------------------------ */

/* A run of a filling's elements, which lies in the host's memory. */
typedef struct fill_run {
  const bench_filling *filling;
  void *memory;
  size_t first, count;
} fill_run;

static void fill_task(void *context, int64_t task) {
  const fill_run *run = context;
  const bench_filling *f = run->filling;
  const size_t begin = (size_t)task * FILL_ELEMENTS;
  const size_t end = run->count - begin < FILL_ELEMENTS ? run->count : begin + FILL_ELEMENTS;
  for (size_t i = begin; i < end; i += 4) {
    const uint64_t at = run->first + i;
    const gp_philox_block block = gp_philox(f->key, (uint32_t)at, (uint32_t)(at >> 32), 0, 0);
    for (size_t k = 0; k < 4 && i + k < end; ++k)
      gp_store(run->memory, f->dtype, (int64_t)(i + k),
               (double)(f->low + (f->high - f->low) * gp_unit_float(block.word[k])));
  }
}

static void fill(const fill_run *run) {
  gp_parallel_for((int64_t)((run->count + FILL_ELEMENTS - 1) / FILL_ELEMENTS), 0, fill_task, (void *)run);
}

gp_status bench_fill(bench_device *device, const bench_filling *f) {
  gp_status status = GP_OK;
  void *staged = NULL;
  const size_t size = gp_dtype_size(f->dtype);
  if (device->ops->put == NULL) {
    fill(&(fill_run){.filling = f, .memory = f->array, .count = f->elements});
    return GP_OK;
  }
  GP_TRY(gp_alloc(&staged, f->elements < STAGED_ELEMENTS ? f->elements : STAGED_ELEMENTS, size));
  for (size_t first = 0; first < f->elements; first += STAGED_ELEMENTS) {
    const size_t rest = f->elements - first, count = rest < STAGED_ELEMENTS ? rest : STAGED_ELEMENTS;
    fill(&(fill_run){.filling = f, .memory = staged, .first = first, .count = count});
    GP_TRY(device->ops->put(device, (char *)f->array + first * size, staged, count * size));
  }
cleanup:
  gp_free(staged);
  return status;
}

/* ---- Tensors ------------------------------------------------------------------------------- */

static size_t to_pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

static void lay_out(bench_tensors *t, size_t x_bytes, size_t y_bytes) {
  t->x_bytes = x_bytes;
  t->y_bytes = y_bytes;
  t->grad_y_offset = to_pages(x_bytes);
  t->y_offset = t->grad_y_offset + to_pages(y_bytes);
  t->grad_x_offset = t->y_offset + to_pages(y_bytes);
  t->set_bytes = t->grad_x_offset + to_pages(x_bytes);
  const size_t wanted = SETS_FOR_CACHE * t->device->cache_bytes / (x_bytes + y_bytes) + 1;
  t->sets = wanted < MOST_SETS ? (int64_t)wanted : MOST_SETS;
}

static gp_status check_room(const bench_tensors *t) {
  gp_status status = GP_OK;
  size_t room = 0;
  const char *whose = "";
  const double mib = 2 * (double)t->sets * ((double)t->x_bytes + (double)t->y_bytes) / (1 << 20);
  GP_TRY(t->device->ops->room(t->device, &room, &whose));
  if (room > 0 && mib > (double)room / (1 << 20))
    GP_TRY(gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory: x, y and their gradients need %.1f MiB, %s %.1f MiB", mib,
                   whose, (double)room / (1 << 20)));
cleanup:
  return status;
}

static gp_status fill_sets(bench_tensors *t, gp_dtype dtype) {
  gp_status status = GP_OK;
  const bench_set first = bench_tensors_at(t, 0);
  const size_t size = gp_dtype_size(dtype);
  GP_TRY(bench_fill(
      t->device, &(bench_filling){
                     .array = first.x, .dtype = dtype, .elements = t->x_bytes / size, .key = 1, .low = -1, .high = 1}));
  GP_TRY(bench_fill(
      t->device,
      &(bench_filling){
          .array = first.grad_y, .dtype = dtype, .elements = t->y_bytes / size, .key = 2, .low = -1, .high = 1}));
  for (int64_t i = 1; i < t->sets; ++i)
    GP_TRY(t->device->ops->copy(t->device, bench_tensors_at(t, i).x, first.x, t->y_offset));
cleanup:
  return status;
}

gp_status bench_tensors_create(bench_tensors *out, bench_device *device, const gp_pool_desc *pool) {
  gp_status status = GP_OK;
  int64_t height = 0, width = 0;
  size_t bytes = 0;
  *out = (bench_tensors){.device = device};
  GP_TRY(gp_pool_output_size(pool, &height, &width));
  const size_t size = gp_dtype_size(pool->dtype);
  const size_t x = gp_layout_elements(pool->layout, pool->batch, pool->channels, pool->height, pool->width);
  const size_t y = gp_layout_elements(pool->layout, pool->batch, pool->channels, height, width);
  lay_out(out, x * size, y * size);
  GP_TRY(check_room(out));
  GP_TRY(gp_mul_size(&bytes, out->set_bytes, (size_t)out->sets));
  GP_TRY(device->ops->alloc(device, (void **)&out->memory, bytes));
  GP_TRY(fill_sets(out, pool->dtype));
cleanup:
  if (status != GP_OK) bench_tensors_clear(out);
  return status;
}

void bench_tensors_clear(bench_tensors *tensors) {
  if (tensors->memory != NULL) tensors->device->ops->release(tensors->device, tensors->memory);
  *tensors = (bench_tensors){0};
}

bench_set bench_tensors_at(const bench_tensors *t, int64_t turn) {
  char *set = t->memory + (size_t)(turn % t->sets) * t->set_bytes;
  return (bench_set){
      .x = set, .grad_y = set + t->grad_y_offset, .y = set + t->y_offset, .grad_x = set + t->grad_x_offset};
}
