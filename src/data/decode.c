#include "data/decode.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/decode_impl.h"
#include "data/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct format {
  const char *name;
  const char *signature;
  size_t signature_bytes;
  gp_status (*decode)(data_image *image, const data_encoded *file); /* NULL: left out of this build */
  const char *package;                                              /* Debian's, for building it */
  bool parts;                                                       /* asks data_choose() itself */
} format;

static const format formats[] = {
#ifdef DATA_HAVE_PNG
    {"PNG", "\x89PNG\r\n\x1a\n", 8, data_png_decode, "libspng-dev", false},
#else
    {"PNG", "\x89PNG\r\n\x1a\n", 8, NULL, "libspng-dev", false},
#endif
#ifdef DATA_HAVE_JPEG
    {"JPEG", "\xff\xd8\xff", 3, data_jpeg_decode, "libjpeg62-turbo-dev", true},
#else
    {"JPEG", "\xff\xd8\xff", 3, NULL, "libjpeg62-turbo-dev", true},
#endif
    {"PGM", "P2", 2, data_pnm_decode, NULL, false},
    {"PPM", "P3", 2, data_pnm_decode, NULL, false},
    {"PGM", "P5", 2, data_pnm_decode, NULL, false},
    {"PPM", "P6", 2, data_pnm_decode, NULL, false},
};

gp_status data_check_size(const data_encoded *file, uint64_t height, uint64_t width) {
  if (height < 1 || width < 1)
    return gp_fail(GP_ERROR_CORRUPT, "%s: the image is empty: %" PRIu64 " x %" PRIu64 " pixels", file->name, height,
                   width);
  if (height > DATA_MAX_SIDE || width > DATA_MAX_SIDE)
    return gp_fail(GP_ERROR_UNSUPPORTED, "%s: the image has %" PRIu64 " x %" PRIu64 " pixels; sides may be at most %d",
                   file->name, height, width, DATA_MAX_SIDE);
  if (height * width > (uint64_t)file->max_pixels)
    return gp_fail(GP_ERROR_UNSUPPORTED, "%s: the image has %" PRIu64 " x %" PRIu64 " pixels, more than %" PRId64,
                   file->name, height, width, file->max_pixels);
  return GP_OK;
}

gp_status data_choose(const data_encoded *file, int32_t height, int32_t width, data_region *region) {
  *region = (data_region){.box = {.height = height, .width = width}, .shrink = 1};
  if (file->desc->choose == NULL) return GP_OK;
  gp_status status = file->desc->choose(file->desc->context, height, width, region);
  if (status != GP_OK) return gp_fail_in(status, "%s", file->name);
  const data_box *box = &region->box;
  const int32_t shrink = region->shrink;
  if (box->top >= 0 && box->left >= 0 && box->height >= 1 && box->width >= 1 && box->top <= height - box->height &&
      box->left <= width - box->width && (shrink == 1 || shrink == 2 || shrink == 4 || shrink == 8))
    return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: decoding %d x %d pixels at %d, %d of %d x %d, shrunk by %d",
                 file->name, box->height, box->width, box->top, box->left, height, width, shrink);
}

/* The image was decoded whole: that is what *region says then. */
static gp_status choose_whole(const data_encoded *file, const data_image *image) {
  data_region *region = file->desc->region;
  if (file->desc->choose == NULL) return GP_OK;
  gp_status status = data_choose(file, image->height, image->width, region);
  region->shrink = 1;
  region->top = region->left = 0;
  return status;
}

static gp_status find_format(const data_encoded *file, const format **out) {
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; ++i) {
    const format *candidate = &formats[i];
    if (file->size < candidate->signature_bytes) continue;
    if (memcmp(file->bytes, candidate->signature, candidate->signature_bytes) != 0) continue;
    *out = candidate;
    return GP_OK;
  }
  if (file->size == 0) return gp_fail(GP_ERROR_CORRUPT, "%s: the file is empty", file->name);
  char start[3 * 4 + 1] = "";
  for (size_t i = 0; i < 4 && i < file->size; ++i) snprintf(start + 3 * i, 4, " %02x", file->bytes[i]);
  return gp_fail(GP_ERROR_UNSUPPORTED, "%s: expected PNG, JPEG, PGM or PPM; the file begins with%s", file->name, start);
}

gp_status data_decode(data_image *image, const uint8_t *bytes, size_t size, const data_decode_desc *desc) {
  data_encoded file = {.bytes = bytes,
                       .size = size,
                       .name = desc->name != NULL ? desc->name : "image",
                       .max_pixels = desc->max_pixels > 0 ? desc->max_pixels : DATA_MAX_PIXELS,
                       .desc = desc};
  const format *found = NULL;
  gp_status status = GP_OK;
  if (desc->channels < 0 || desc->channels == 2 || desc->channels > 4)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: decoding to %d channels: expected 0, 1, 3 or 4", file.name,
                   desc->channels);
  GP_TRY(find_format(&file, &found));
  if (found->decode == NULL)
    GP_TRY(gp_fail(GP_ERROR_UNSUPPORTED, "%s: this build cannot read %s: install Debian's %s and build again",
                   file.name, found->name, found->package));
  GP_TRY(found->decode(image, &file));
  if (!found->parts) GP_TRY(choose_whole(&file, image));
  if (desc->channels != 0) GP_TRY(data_image_convert(image, desc->channels));
cleanup:
  return status;
}

gp_status data_decode_file(data_image *image, const char *path, const data_decode_desc *desc) {
  uint8_t *bytes = NULL;
  size_t size = 0;
  gp_status status = GP_OK;
  data_decode_desc named = *desc;
  if (named.name == NULL) named.name = path;
  GP_TRY(data_read_file(path, &bytes, &size));
  GP_TRY(data_decode(image, bytes, size, &named));
cleanup:
  gp_free(bytes);
  return status;
}
