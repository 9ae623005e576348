#include "data/sample.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/file.h"

#include <unistd.h>

enum { MAX_FILE_BYTES = 1 << 30 }; /* no picture; the memory is better kept */

gp_status data_sample_reserve(data_sample *sample, size_t size) {
  if (size > sample->capacity || sample->bytes == NULL) {
    /* A little more than asked for, so that sizes that creep up do not allocate each time. */
    const size_t room = size + size / 4 + 64;
    gp_free(sample->bytes);
    sample->bytes = NULL;
    sample->capacity = 0;
    gp_status status = GP_ALLOC(&sample->bytes, room);
    if (status != GP_OK) return status;
    sample->capacity = room;
  }
  sample->size = size;
  return GP_OK;
}

gp_status data_sample_read(data_sample *sample, const char *path) {
  int handle = -1;
  size_t size = 0;
  gp_status status = GP_OK;
  GP_TRY(data_open_file(path, &handle, &size));
  if (size > MAX_FILE_BYTES)
    GP_TRY(gp_fail(GP_ERROR_IO, "%s: the file has %zu bytes, more than an image's %d", path, size, MAX_FILE_BYTES));
  GP_TRY(data_sample_reserve(sample, size));
  GP_TRY(data_read_at(handle, path, sample->bytes, size, 0));
  sample->encoded = true;
cleanup:
  if (handle >= 0) close(handle);
  return status;
}

gp_status data_sample_check_size(const data_sample *sample, int32_t height, int32_t width) {
  const bool any = !sample->encoded || sample->height == 0 || sample->width == 0;
  if (any || (sample->height == height && sample->width == width)) return GP_OK;
  return gp_fail(GP_ERROR_CORRUPT, "the image has %d x %d pixels: expected %d x %d, as all of this data set", height,
                 width, sample->height, sample->width);
}

void data_sample_free(data_sample *sample) {
  if (sample == NULL) return;
  gp_free(sample->bytes);
  data_image_free(&sample->image);
  data_image_free(&sample->cut);
  data_resizer_free(&sample->resizer);
  *sample = (data_sample){0};
}
