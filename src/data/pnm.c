/* PGM and PPM, plain (P2, P3) and raw (P5, P6): netpbm.sourceforge.net/doc/pgm.html, ppm.html. */
#include "base/status.h"
#include "data/decode_impl.h"

typedef struct reader {
  const data_encoded *file;
  size_t at;
} reader;

typedef struct header {
  uint32_t width, height, maximum;
  int32_t channels;
  bool plain;
} header;

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Past white space and comments, which run from # to the end of the line. */
static void skip_space(reader *r) {
  const data_encoded *file = r->file;
  bool comment = false;
  for (; r->at < file->size; ++r->at) {
    uint8_t c = file->bytes[r->at];
    if (comment)
      comment = c != '\n' && c != '\r';
    else if (c == '#')
      comment = true;
    else if (!is_space(c))
      return;
  }
}

/* A decimal number of at most `limit`; `what` stands in messages. */
static gp_status read_number(reader *r, const char *what, uint32_t limit, uint32_t *out) {
  const data_encoded *file = r->file;
  skip_space(r);
  size_t first = r->at;
  uint64_t value = 0;
  for (; r->at < file->size && file->bytes[r->at] >= '0' && file->bytes[r->at] <= '9'; ++r->at) {
    value = value * 10 + (uint64_t)(file->bytes[r->at] - '0');
    if (value > limit)
      return gp_fail(GP_ERROR_CORRUPT, "%s: PNM: %s at byte %zu is larger than %u", file->name, what, first, limit);
  }
  if (r->at == first && r->at == file->size)
    return gp_fail(GP_ERROR_CORRUPT, "%s: PNM: truncated: expected %s at byte %zu, found the end of the file",
                   file->name, what, first);
  if (r->at == first)
    return gp_fail(GP_ERROR_CORRUPT, "%s: PNM: expected %s at byte %zu, found 0x%02x", file->name, what, first,
                   file->bytes[first]);
  *out = (uint32_t)value;
  return GP_OK;
}

static gp_status read_header(reader *r, header *h) {
  const data_encoded *file = r->file;
  gp_status status = GP_OK;
  uint8_t kind = file->size >= 2 ? file->bytes[1] : 0;
  if (file->size < 2 || file->bytes[0] != 'P' || (kind != '2' && kind != '3' && kind != '5' && kind != '6'))
    return gp_fail(GP_ERROR_CORRUPT, "%s: PNM: expected P2, P3, P5 or P6 at the start", file->name);
  h->channels = kind == '3' || kind == '6' ? 3 : 1;
  h->plain = kind == '2' || kind == '3';
  r->at = 2;
  GP_TRY(read_number(r, "the width", UINT32_MAX, &h->width));
  GP_TRY(read_number(r, "the height", UINT32_MAX, &h->height));
  GP_TRY(data_check_size(file, h->height, h->width));
  GP_TRY(read_number(r, "the maximum", 65535, &h->maximum));
  if (h->maximum == 0) GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: PNM: the maximum is 0", file->name));
  /* Exactly one white space ends the header of the raw formats. */
  if (r->at >= file->size || !is_space(file->bytes[r->at]))
    GP_TRY(
        gp_fail(GP_ERROR_CORRUPT, "%s: PNM: expected white space after the maximum, at byte %zu", file->name, r->at));
  ++r->at;
cleanup:
  return status;
}

static uint8_t scale_sample(uint32_t sample, uint32_t maximum) {
  return (uint8_t)(maximum == 255 ? sample : (sample * 255 + maximum / 2) / maximum);
}

static gp_status read_plain(reader *r, const header *h, uint8_t *pixels, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    uint32_t sample = 0;
    gp_status status = read_number(r, "a sample", h->maximum, &sample);
    if (status != GP_OK) return status;
    pixels[i] = scale_sample(sample, h->maximum);
  }
  return GP_OK;
}

static gp_status read_raw(const reader *r, const header *h, uint8_t *pixels, size_t count) {
  size_t sample_bytes = h->maximum > 255 ? 2 : 1;
  const uint8_t *from = r->file->bytes + r->at;
  for (size_t i = 0; i < count; ++i, from += sample_bytes) {
    uint32_t sample = sample_bytes == 2 ? (uint32_t)from[0] << 8 | from[1] : from[0];
    if (sample > h->maximum)
      return gp_fail(GP_ERROR_CORRUPT, "%s: PNM: sample %zu is %u, above the maximum of %u", r->file->name, i, sample,
                     h->maximum);
    pixels[i] = scale_sample(sample, h->maximum);
  }
  return GP_OK;
}

gp_status data_pnm_decode(data_image *image, const data_encoded *file) {
  reader r = {.file = file};
  header h = {0};
  gp_status status = GP_OK;
  GP_TRY(read_header(&r, &h));
  size_t count = (size_t)h.height * h.width * (size_t)h.channels;
  /* Before anything is allocated: a plain sample takes two bytes but for the last, a raw one one or two. */
  size_t rest = file->size - r.at;
  size_t needed = h.plain ? 2 * count - 1 : h.maximum > 255 ? 2 * count : count;
  if (rest < needed)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: PNM: truncated: %u x %u pixels need at least %zu bytes, found %zu",
                   file->name, h.height, h.width, needed, rest));
  GP_TRY(data_image_reserve(image, (int32_t)h.height, (int32_t)h.width, h.channels));
  GP_TRY(h.plain ? read_plain(&r, &h, image->pixels, count) : read_raw(&r, &h, image->pixels, count));
cleanup:
  return status;
}
