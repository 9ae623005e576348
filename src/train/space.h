/* How much memory and disk this process may still take, and whether what a run will need fits. */
#ifndef GP_TRAIN_SPACE_H
#define GP_TRAIN_SPACE_H

#include <gausspool/gausspool.h>

#define SPACE_UNKNOWN UINT64_MAX

/* Bytes of memory to be had: the least of what the machine has to spare, what the limits of its control groups leave (of
 * containers and batch systems), and the limit on address space. SPACE_UNKNOWN where nothing tells. `root`: where
 * /proc and /sys are looked for; "" but for tests, which then have no limit on address space. */
uint64_t space_free_memory(const char *root);

/* Bytes of disk that a file in the folder, which must exist, may take. SPACE_UNKNOWN where the system does not tell. */
uint64_t space_free_disk(const char *folder);

/* "1.5 GiB", "312 MiB", "7 KiB" into the buffer; returns it. */
enum { SPACE_TEXT_SIZE = 24 };
const char *space_text(uint64_t bytes, char buffer[SPACE_TEXT_SIZE]);

/* What a run will need, in bytes. */
typedef struct train_needs {
  uint64_t weights;     /* with gradients, momenta, averages */
  uint64_t activations; /* of the largest plan */
  uint64_t batches;     /* that are prepared ahead */
  uint64_t copy;        /* of the tensors, while a checkpoint is written */
  uint64_t to_come;     /* of all these, what is not allocated yet */
  uint64_t checkpoint;  /* a file */
  int64_t
      checkpoints; /* how many of them there will be at a time that are not there yet, the one being written included */
  uint64_t others; /* best model, curves, logs */
} train_needs;

uint64_t train_needs_memory(const train_needs *needs);
uint64_t train_needs_disk(const train_needs *needs);

/* One line for whoever starts the run; cut to `size`. */
void train_needs_tell(const train_needs *needs, uint64_t free_memory, uint64_t free_disk, char *text, size_t size);

/* GP_ERROR_OUT_OF_MEMORY or GP_ERROR_IO, saying what is needed, what there is and what would need less, if it does not
 * fit. What is not known passes. `folder` is for the message. */
GP_NODISCARD gp_status train_needs_check(const train_needs *needs, uint64_t free_memory, uint64_t free_disk,
                                         const char *folder);

#endif
