/* Reading files. */
#ifndef GP_DATA_FILE_H
#define GP_DATA_FILE_H

#include <gausspool/gausspool.h>

#include <limits.h>

/* folder/name. GP_ERROR_IO if that is too long for a path. */
GP_NODISCARD gp_status data_join_path(char path[PATH_MAX], const char *folder, const char *name);

/* Opens a regular file; *handle is for close(), -1 after a failure. Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO. */
GP_NODISCARD gp_status data_open_file(const char *path, int *handle, size_t *size);

/* Reads exactly `size` bytes from `offset` on: a file that has fewer is an error (GP_ERROR_IO), one that has more is
 * cut. `path` stands in messages. */
GP_NODISCARD gp_status data_read_at(int handle, const char *path, uint8_t *bytes, size_t size, uint64_t offset);

/* Reads a whole regular file into memory that the caller gives to gp_free(). An empty file is no error.
 * Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO, GP_ERROR_OUT_OF_MEMORY; *bytes is NULL then. */
GP_NODISCARD gp_status data_read_file(const char *path, uint8_t **bytes, size_t *size);

#endif
