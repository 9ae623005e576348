/* Files that are there whole or not at all: written under a temporary name in the same folder (PATH.tmp), flushed to
 * the disk, renamed. Whatever stood at the path stays until the rename, and after any failure. */
#ifndef GP_TRAIN_ATOMIC_FILE_H
#define GP_TRAIN_ATOMIC_FILE_H

#include <gausspool/gausspool.h>

typedef struct atomic_file atomic_file;

/* Opens PATH.tmp. `bytes` is the size to come, for messages about a full disk (0: unknown). Errors name the path and
 * the reason; GP_ERROR_INVALID_ARGUMENT if the path is there but no regular file (a folder, a device), GP_ERROR_IO
 * if the system refuses or another process is writing the same file. */
GP_NODISCARD gp_status atomic_file_create(atomic_file **out, const char *path, uint64_t bytes);

/* Buffered. After a failure only atomic_file_destroy() is left to do. */
GP_NODISCARD gp_status atomic_file_write(atomic_file *file, const void *data, size_t bytes);
GP_NODISCARD gp_status atomic_file_printf(atomic_file *file, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Flushes, renames, flushes the folder. On success the path holds the new content, also after a loss of power. After a
 * failure it holds the old one, unless the disk failed in the very last step. */
GP_NODISCARD gp_status atomic_file_commit(atomic_file *file);

/* Frees; removes the temporary file if it was not committed. Takes NULL. */
void atomic_file_destroy(atomic_file **file);

/* All in one. */
GP_NODISCARD gp_status atomic_file_replace(const char *path, const void *data, size_t bytes);

#endif
