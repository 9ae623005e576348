/* Transforms image files as the program does for a net, and writes down what it drew and made, for comparison with
 * torchvision:
 *
 *   parity_transform OUTPUT KEY=VALUE… -- FILE…
 *
 * Keys: size, resize, train, exact, flip, jitter, lighting, seed, epoch. OUTPUT: float32 [files][3][size][size], not
 * normalised. Standard output, a line a file: top left height width of the part, flip, three factors, their order, the light
 * added to each channel. */
#include "base/memory.h"
#include "base/status.h"
#include "data/augment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
  data_transform transform;
  data_draw_key key;
} settings;

static bool set(settings *s, const char *key, const char *text) {
  data_transform *t = &s->transform;
  const float value = strtof(text, NULL);
  if (strcmp(key, "size") == 0) return (t->height = t->width = (int32_t)value) > 0;
  if (strcmp(key, "resize") == 0) return (t->resize = (int32_t)value) > 0;
  if (strcmp(key, "train") == 0) return (t->train = value != 0) || value == 0;
  if (strcmp(key, "exact") == 0) return (t->exact_decode = value != 0) || value == 0;
  if (strcmp(key, "flip") == 0) return (t->flip = value) >= 0;
  if (strcmp(key, "jitter") == 0) return (t->brightness = t->contrast = t->saturation = value) >= 0;
  if (strcmp(key, "lighting") == 0) return (t->lighting = value) >= 0;
  if (strcmp(key, "seed") == 0) return (s->key.seed = strtoull(text, NULL, 10)) || strcmp(text, "0") == 0;
  if (strcmp(key, "epoch") == 0) return (s->key.epoch = strtoll(text, NULL, 10)) >= 0;
  return false;
}

/* The size of the whole image, which the draws depend on. */
static gp_status whole_size(void *context, int32_t height, int32_t width, data_region *region) {
  (void)region;
  int32_t *size = context;
  size[0] = height;
  size[1] = width;
  return GP_OK;
}

static gp_status print_draws(const data_augmenter *augmenter, const data_sample *sample, const data_draw_key *key) {
  gp_status status = GP_OK;
  data_image image = {0};
  data_region region;
  data_draws draws;
  int32_t size[2] = {0};
  GP_TRY(data_decode(&image, sample->bytes, sample->size,
                     &(data_decode_desc){.choose = whole_size, .context = size, .region = &region}));
  data_augmenter_draw(augmenter, size[0], size[1], key, &draws);
  printf("%d %d %d %d %d", draws.box.top, draws.box.left, draws.box.height, draws.box.width, draws.flip);
  for (int i = 0; i < DATA_JITTERS; ++i) printf(" %.9g", (double)draws.factor[i]);
  for (int i = 0; i < DATA_JITTERS; ++i) printf(" %d", draws.order[i]);
  for (int i = 0; i < 3; ++i) printf(" %.9g", (double)draws.light[i]);
  putchar('\n');
cleanup:
  data_image_free(&image);
  return status;
}

static gp_status run(settings *s, const char *output, char *const files[], int count) {
  gp_status status = GP_OK;
  data_augmenter augmenter;
  data_sample sample = {0};
  float *values = NULL;
  FILE *out = fopen(output, "wb");
  const size_t pixels = 3 * (size_t)s->transform.height * (size_t)s->transform.width;
  s->transform.channels = 3;
  if (out == NULL) GP_TRY(gp_fail(GP_ERROR_IO, "cannot write %s", output));
  GP_TRY(data_augmenter_init(&augmenter, &s->transform));
  GP_TRY(GP_ALLOC(&values, pixels));
  for (int i = 0; i < count; ++i) {
    s->key.index = i;
    GP_TRY(data_sample_read(&sample, files[i]));
    snprintf(sample.name, sizeof sample.name, "%s", files[i]);
    GP_TRY(print_draws(&augmenter, &sample, &s->key));
    GP_TRY(data_augmenter_run(&augmenter, &sample, &s->key, values));
    if (fwrite(values, sizeof *values, pixels, out) != pixels) GP_TRY(gp_fail(GP_ERROR_IO, "cannot write %s", output));
  }
cleanup:
  if (out != NULL && fclose(out) != 0 && status == GP_OK) status = gp_fail(GP_ERROR_IO, "cannot write %s", output);
  gp_free(values);
  data_sample_free(&sample);
  return status;
}

int main(int argc, char *argv[]) {
  settings s = {0};
  int at = 2;
  for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
    char *equals = strchr(argv[at], '=');
    if (equals != NULL) *equals = '\0';
    if (equals == NULL || !set(&s, argv[at], equals + 1)) {
      fprintf(stderr, "parity_transform: cannot use %s\n", argv[at]);
      return 2;
    }
  }
  if (at >= argc) {
    fprintf(stderr, "usage: parity_transform OUTPUT KEY=VALUE… -- FILE…\n");
    return 2;
  }
  gp_status status = run(&s, argv[1], argv + at + 1, argc - at - 1);
  if (status != GP_OK) fprintf(stderr, "parity_transform: %s\n", gp_last_error());
  return status == GP_OK ? 0 : 1;
}
