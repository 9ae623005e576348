/* Images made up of random blocks, for benchmarks: no files. */
#ifndef GP_DATA_SYNTHETIC_H
#define GP_DATA_SYNTHETIC_H

#include "data/source_impl.h"

/* 50,000 training and 1,000 test images of 1,000 classes, desc->side pixels square. Sample i is the same every time; its
 * class can be learnt: it sets the mean colour. Errors: invalid argument (the side), out of memory. */
GP_NODISCARD gp_status data_synthetic_open(data_source **out, const data_set *set, const data_source_desc *desc);

#endif
