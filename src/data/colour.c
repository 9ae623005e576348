#include "data/colour.h"

#include "data/pixels.h"

void data_jitter(data_image *image, const data_draws *draws) {
  const data_pixels *pixels = data_pixels_get();
  const size_t count = (size_t)image->height * (size_t)image->width;
  for (int32_t i = 0; i < DATA_JITTERS; ++i) {
    const int32_t kind = draws->order[i];
    const float factor = draws->factor[kind];
    if (factor == 1.0f) continue;
    if (kind == DATA_BRIGHTNESS) {
      pixels->blend_value(image->pixels, count, 0, factor);
    } else if (kind == DATA_SATURATION) {
      pixels->blend_luma(image->pixels, count, factor);
    } else {
      const double mean = (double)pixels->luma_sum(image->pixels, count) / (double)count;
      pixels->blend_value(image->pixels, count, (uint8_t)(mean + 0.5), factor);
    }
  }
}

void data_light_noise(float light[3], const float normal[3], float deviation) {
  static const double value[3] = {0.2175, 0.0188, 0.0045};
  static const double vector[3][3] = {
      {-0.5675, -0.5808, -0.5836}, {0.7192, -0.0045, -0.6948}, {0.4009, -0.8140, 0.4203}};
  for (int c = 0; c < 3; ++c) {
    double sum = 0;
    for (int i = 0; i < 3; ++i) sum += vector[i][c] * value[i] * (double)normal[i] * (double)deviation;
    light[c] = (float)sum;
  }
}
