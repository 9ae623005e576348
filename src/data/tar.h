/* Writing tar files (POSIX ustar; a pax header where a name is too long for it). */
#ifndef GP_DATA_TAR_H
#define GP_DATA_TAR_H

#include <gausspool/gausspool.h>

#include <stdio.h>

typedef struct data_tar {
  FILE *file;
  const char *path; /* for messages; the caller's */
  uint64_t size;    /* bytes so far */
} data_tar;

/* Opens a new file: one that is there already is an error. */
GP_NODISCARD gp_status data_tar_create(data_tar *tar, const char *path);

/* Adds a file; *offset is where its bytes begin. Errors: GP_ERROR_IO. */
GP_NODISCARD gp_status data_tar_add(data_tar *tar, const char *name, const uint8_t *bytes, size_t size,
                                    uint64_t *offset);

/* Ends the file and has it on the disk. */
GP_NODISCARD gp_status data_tar_finish(data_tar *tar);

/* Closes what data_tar_finish() did not. */
void data_tar_close(data_tar *tar);

#endif
