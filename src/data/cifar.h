/* CIFAR-10's binary distribution: data_batch_1.bin … data_batch_5.bin and test_batch.bin, records of a label and 32 × 32
 * pixels, all red, then all green, then all blue. */
#ifndef GP_DATA_CIFAR_H
#define GP_DATA_CIFAR_H

#include "data/source_impl.h"

/* Opens the binary files in DIR or DIR/cifar-10-batches-bin if they are there, else DIR as a folder of images.
 * Errors: those of data_folder_open(), GP_ERROR_CORRUPT for files of another size or labels above 9. */
GP_NODISCARD gp_status data_cifar_open(data_source **out, const data_set *set, const data_source_desc *desc);

#endif
