/* Files that many threads read at any place, of which only some are open at a time: those that were used last. */
#ifndef GP_DATA_OPEN_FILES_H
#define GP_DATA_OPEN_FILES_H

#include <gausspool/gausspool.h>

typedef struct data_open_files data_open_files;

typedef struct data_known_file {
  char *path;
  uint64_t size; /* bytes that it had when it was listed */
} data_known_file;

/* For `count` files, which stay the caller's and must outlive this, at most `most` (1 or more) of them open at a time.
 * Opens none yet. Errors: GP_ERROR_OUT_OF_MEMORY, GP_ERROR_LIBRARY (no lock to be had). */
GP_NODISCARD gp_status data_open_files_create(data_open_files **out, const data_known_file *files, int32_t count,
                                              int32_t most);

/* Closes them; nobody may be reading. Takes NULL, leaves NULL. */
void data_open_files_destroy(data_open_files **files);

/* Reads exactly `size` bytes of a file from `offset` on; may be called from several threads at once. More threads than
 * files may be open wait for each other. Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO; GP_ERROR_CORRUPT if the file has another
 * size by now. A failure does not touch the other files. */
GP_NODISCARD gp_status data_open_files_read(data_open_files *files, int32_t number, uint8_t *bytes, size_t size,
                                            uint64_t offset);

#endif
