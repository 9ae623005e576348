/* Colour jitter and lighting noise. */
#ifndef GP_DATA_COLOUR_H
#define GP_DATA_COLOUR_H

#include "data/augment.h"

/* Changes brightness, contrast and saturation of an RGBX image by the drawn factors in the drawn order: each blends the
 * image with black, with the grey of its mean luma, with its luma, in 8 bits, as torchvision does it on Pillow's images. */
void data_jitter(data_image *image, const data_draws *draws);

/* The noise for three normal draws of standard deviation 1, in units of 0 … 1: Σ_i v_i·(deviation·normal_i)·λ_i over
 * the eigenvectors and eigenvalues of the covariance of ImageNet's pixels. */
void data_light_noise(float light[3], const float normal[3], float deviation);

#endif
