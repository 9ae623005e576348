/* NumPy's .npy files, version 1.0. */
#ifndef GP_TRAIN_NPY_H
#define GP_TRAIN_NPY_H

#include <gausspool/gausspool.h>

/* Writes data [rows][columns] as little-endian float32 in C order, atomically (train/atomic_file.h). */
GP_NODISCARD gp_status npy_write_float32(const char *path, const float *data, int64_t rows, int64_t columns);

#endif
