/* From a sample's 8-bit pixels to a net's input: random crop with padding, horizontal flip, normalisation. */
#ifndef GP_DATA_AUGMENT_H
#define GP_DATA_AUGMENT_H

#include "data/image.h"

/* What to do. In training: pad each side with `padding` black pixels, cut out height × width at a random place, mirror
 * with probability `flip`. Otherwise: the middle height × width. Then y = (x/255 - mean)/std for each channel.
 * Zero-initialise and fill with designated initialisers. */
typedef struct data_transform {
  int32_t channels, height, width; /* of the result; channels also of the images */
  bool train;
  int32_t padding;       /* pixels, before normalisation, as torchvision.transforms.RandomCrop(padding=…) */
  float flip;            /* probability, 0 … 1 */
  float mean[3], std[3]; /* in units of 0 … 1; std above 0, but all zeros mean 1 (no scaling) */
} data_transform;

/* Names the random numbers of one sample. The same key gives the same result, whatever else is read, in any order. */
typedef struct data_draw_key {
  uint64_t seed;
  int64_t epoch, index; /* index: of the sample in its source */
} data_draw_key;

/* A transform with its tables. No resources behind it. */
typedef struct data_augmenter {
  data_transform transform;
  float value[3][256]; /* normalised value of each pixel value */
} data_augmenter;

/* Checks the transform and makes the tables. Errors: GP_ERROR_INVALID_ARGUMENT naming the field. */
GP_NODISCARD gp_status data_augmenter_init(data_augmenter *augmenter, const data_transform *transform);

/* Transforms one image into dst [channels][height][width]. `key` is not used (may be NULL) unless transform.train.
 * Errors: GP_ERROR_INVALID_ARGUMENT for an image with other channels, or too small for the crop. */
GP_NODISCARD gp_status data_augmenter_apply(const data_augmenter *augmenter, const data_image *image,
                                            const data_draw_key *key, float *dst);

#endif
