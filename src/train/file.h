/* Reading files whole, and paths. */
#ifndef GP_TRAIN_FILE_H
#define GP_TRAIN_FILE_H

#include <gausspool/gausspool.h>

/* Reads a regular file whole into memory for gp_free(); a zero byte follows the content. GP_ERROR_NOT_FOUND if there
 * is no such file, GP_ERROR_IO if it cannot be read, GP_ERROR_INVALID_ARGUMENT if it is larger than `limit` bytes
 * (0: no limit) or no regular file. */
GP_NODISCARD gp_status file_read_whole(const char *path, uint64_t limit, void **data, size_t *bytes);

/* FOLDER/NAME, or NAME alone if the folder is "" or the name absolute; for gp_free(). */
GP_NODISCARD gp_status path_join(char **out, const char *folder, const char *name);

/* Creates the folder and its parents. An existing one is fine. */
GP_NODISCARD gp_status path_make_folder(const char *path);

#endif
