/* Any bytes as a safetensors file: refused with a message, or every tensor readable and the data covered exactly. */
#include "train/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every byte, for AddressSanitizer. */
static size_t read_all(const safetensors_file *file) {
  size_t bytes = 0;
  volatile uint8_t sum = 0;
  for (size_t i = 0; i < safetensors_count(file); ++i) {
    const safetensors_info *info = safetensors_at(file, i);
    const uint8_t *at = info->data;
    for (size_t k = 0; k < info->bytes; ++k) sum = (uint8_t)(sum + at[k]);
    bytes += info->bytes;
    char text[16];
    safetensors_shape_text(info->shape, info->rank, text, sizeof text);
    if (safetensors_find(file, info->name) == NULL) abort();
  }
  return bytes;
}

static void parse(const uint8_t *data, size_t size) {
  safetensors_file *file = NULL;
  gp_status status = safetensors_parse(&file, data, size, "input");
  if (status != GP_OK) {
    if (file != NULL || gp_last_error()[0] == '\0' || strchr(gp_last_error(), '\n') != NULL) abort();
    return;
  }
  uint64_t header = 0;
  for (int i = 0; i < 8; ++i) header |= (uint64_t)data[i] << (8 * i);
  if (8 + header + read_all(file) != size) abort();
  (void)safetensors_metadata(file, "format");
  safetensors_close(&file);
}

/* The input twice: as the whole file, and as one byte that says how much data follows the header and the header itself,
 * whose length is then right however the fuzzer changes it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  parse(data, size);
  if (size < 1) return 0;
  size_t header = size - 1, whole = 8 + header + data[0];
  uint8_t *framed = calloc(whole, 1);
  if (framed == NULL) return 0;
  for (int i = 0; i < 8; ++i) framed[i] = (uint8_t)((uint64_t)header >> (8 * i));
  memcpy(framed + 8, data + 1, header);
  parse(framed, whole);
  free(framed);
  return 0;
}
