/* Large folders are listed once: the listing is kept in the user's cache folder. */
#ifndef GP_DATA_FOLDER_INDEX_H
#define GP_DATA_FOLDER_INDEX_H

#include "data/folder.h"

enum { DATA_INDEX_LEAST = 10000 }; /* samples from which on it is worth a file */

/* As data_folder_scan(), but takes a listing that an earlier call kept, if no folder in it has changed since: each has the
 * inode and times it had, which adding, removing or renaming a file changes. Kept are listings of DATA_INDEX_LEAST samples
 * and more without anything left out, in $GAUSSPOOL_CACHE, $XDG_CACHE_HOME/gausspool or ~/.cache/gausspool;
 * GAUSSPOOL_CACHE=off keeps none. A listing that cannot be kept or read is no error. */
GP_NODISCARD gp_status data_folder_scan_indexed(data_listing *out, const data_folder_desc *desc,
                                                char note[DATA_NOTE_SIZE]);

/* The same with the file named, whatever the number of samples; `used` tells whether the listing came from there. */
GP_NODISCARD gp_status data_folder_scan_at(data_listing *out, const data_folder_desc *desc, char note[DATA_NOTE_SIZE],
                                           const char *file, int64_t least, bool *used);

#endif
