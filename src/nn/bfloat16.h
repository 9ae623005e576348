/* bfloat16 from and to float, many at once; compiled once per instruction set. */
#ifndef GP_NN_BFLOAT16_H
#define GP_NN_BFLOAT16_H

#include <stddef.h>
#include <stdint.h>

typedef struct nn_bfloat16 {
  void (*widen)(float *to, const uint16_t *from, size_t count);
  void (*narrow)(uint16_t *to, const float *from, size_t count); /* to nearest even; NaN stays NaN */
} nn_bfloat16;

/* Those for this machine. */
const nn_bfloat16 *nn_bfloat16_best(void);

#endif
