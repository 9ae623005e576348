/* From a sample to a net's input: cropping, resizing, flipping, colour jitter, lighting noise, normalisation. */
#ifndef GP_DATA_AUGMENT_H
#define GP_DATA_AUGMENT_H

#include "data/sample.h"

/* What to do. Zero-initialise and fill with designated initialisers.
 *
 * At the images' own scale (`resize` 0). In training: pad each side with `padding` black pixels, cut out height × width
 * at a random place. Otherwise: the middle height × width.
 *
 * Resizing (`resize` above 0), bilinear with antialiasing. In training: torchvision's RandomResizedCrop, a random part of
 * the image becomes height × width. Otherwise: the shorter side becomes `resize`, then the middle height × width.
 *
 * In training then: mirror with probability `flip`; brightness, contrast and saturation each by a factor from
 * [1 - jitter, 1 + jitter], in random order, as torchvision's ColorJitter; PCA lighting noise (Krizhevsky et al., 2012).
 * At last y = (x/255 - mean)/std for each channel. */
typedef struct data_transform {
  int32_t channels, height, width; /* of the result; channels also of the images */
  bool train;
  int32_t padding;         /* pixels, before normalisation, as torchvision.transforms.RandomCrop(padding=…) */
  int32_t resize;          /* at least height and width, or 0 */
  float area[2], ratio[2]; /* of the random part: of the image's area, width / height; zeros: 0.08 … 1, 3/4 … 4/3 */
  bool exact_decode;       /* in training; otherwise JPEGs may be decoded at 1/2, 1/4 or 1/8, see data_decode() */
  float flip;              /* probability, 0 … 1 */
  float brightness, contrast, saturation; /* jitter, 0 … 1; 3 channels only */
  float lighting;        /* standard deviation of the noise along each principal component; 3 channels only */
  float mean[3], std[3]; /* in units of 0 … 1; std above 0, but all zeros mean 1 (no scaling) */
} data_transform;

/* Names the random numbers of one sample. The same key gives the same result, whatever else is read, in any order. */
typedef struct data_draw_key {
  uint64_t seed;
  int64_t epoch, index; /* index: of the sample in its source */
} data_draw_key;

/* What was drawn for one sample. */
enum { DATA_BRIGHTNESS = 0, DATA_CONTRAST, DATA_SATURATION, DATA_JITTERS };
typedef struct data_draws {
  data_box box; /* the part of the image; with padding it may lie outside */
  bool flip;
  float factor[DATA_JITTERS];  /* brightness, contrast, saturation */
  int32_t order[DATA_JITTERS]; /* which comes first, second, third */
  float light[3];              /* added to the channels, in units of 0 … 1 */
} data_draws;

/* A transform with its tables. No resources behind it. */
typedef struct data_augmenter {
  data_transform transform;
  float value[3][256]; /* normalised value of each pixel value */
} data_augmenter;

/* Checks the transform and makes the tables. Errors: GP_ERROR_INVALID_ARGUMENT naming the field. */
GP_NODISCARD gp_status data_augmenter_init(data_augmenter *augmenter, const data_transform *transform);

/* The draws for an image of that size. `key` is not used (may be NULL) unless transform.train. */
void data_augmenter_draw(const data_augmenter *augmenter, int32_t height, int32_t width, const data_draw_key *key,
                         data_draws *draws);

/* Transforms a sample, as data_source_fetch() gives it, into dst [channels][height][width]; of an encoded one only the
 * part that is needed is decoded. `key` as above. Uses the sample's scratch images; allocates only where they are too
 * small. Errors: those of data_decode() and data_sample_check_size() for an encoded sample, GP_ERROR_INVALID_ARGUMENT for
 * an image with other channels, or too small for the crop. */
GP_NODISCARD gp_status data_augmenter_run(const data_augmenter *augmenter, data_sample *sample,
                                          const data_draw_key *key, float *dst);

/* The same for pixels, with a transform that does not resize. */
GP_NODISCARD gp_status data_augmenter_apply(const data_augmenter *augmenter, const data_image *image,
                                            const data_draw_key *key, float *dst);

#endif
