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

/* Flushes, renames, flushes the folder. The path holds the new content if and only if this succeeds. */
GP_NODISCARD gp_status atomic_file_commit(atomic_file *file);

/* Frees; removes the temporary file if it was not committed. Takes NULL. */
void atomic_file_destroy(atomic_file **file);

/* All in one. */
GP_NODISCARD gp_status atomic_file_replace(const char *path, const void *data, size_t bytes);

/* Reads a regular file whole into memory for gp_free(); a zero byte follows the content. GP_ERROR_NOT_FOUND if there
 * is no such file, GP_ERROR_IO if it cannot be read, GP_ERROR_INVALID_ARGUMENT if it is larger than `limit` bytes
 * (0: no limit) or no regular file. */
GP_NODISCARD gp_status file_read_whole(const char *path, uint64_t limit, void **data, size_t *bytes);

/* FOLDER/NAME, or NAME alone if the folder is "" or the name absolute; for gp_free(). */
GP_NODISCARD gp_status path_join(char **out, const char *folder, const char *name);

/* Creates the folder and its parents. An existing one is fine. */
GP_NODISCARD gp_status path_make_folder(const char *path);

#endif
