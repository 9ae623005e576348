/* A data set packed into tar files, with an index beside them that tells where each sample lies.
 *
 * DIR/train.index and DIR/test.index are text:
 *
 *   gausspool shards 1
 *   split train                     the folder's name in the original data set
 *   classes 1000                    then a line for each class, in the order of labels: its name
 *   shards 12                       then a line for each shard: size in bytes, a blank, the file's name
 *   samples 1281167                 then a line for each sample: shard, offset, size, label, name, blanks between
 *
 * Offsets are those of the images' bytes in the tar file, which any tar program can unpack into the folder again. */
#ifndef GP_DATA_SHARDS_H
#define GP_DATA_SHARDS_H

#include "data/source_impl.h"

#define DATA_SHARDS_FIRST_LINE "gausspool shards 1"

/* "train.index", "test.index". */
const char *data_shards_index_name(data_split split);

/* Whether the folder holds shards. */
bool data_shards_found(const char *dir);

/* Opens a split, as the table of data sets does it. Errors: GP_ERROR_NOT_FOUND, GP_ERROR_CORRUPT (an index that is none, or
 * not of these shards), GP_ERROR_IO, out of memory. */
GP_NODISCARD gp_status data_shards_open(data_source **out, const data_set *set, const data_source_desc *desc);

#endif
