/* Packing an image folder into tar files with an index (data/shards.h). */
#ifndef GP_DATA_PACK_H
#define GP_DATA_PACK_H

#include "data/source.h"

/* Zero-initialise and fill with designated initialisers. */
typedef struct data_pack_desc {
  const char *dataset, *dir;
  data_split split;
  const char *out;     /* folder, which exists */
  int64_t shard_bytes; /* a shard ends with the image that makes it this long; at least 1 */
  int32_t side;    /* images with a longer shorter side are resized to it and encoded anew; 0: all stay as they are */
  int32_t quality; /* of these, as JPEG: 1 … 100 */
  int32_t threads;
  /* Images that cannot be decoded to be resized, and oddities as in data_source_desc, are left out instead of failing. */
  bool lenient;
  void (*report_bad)(void *context, const char *name, const char *message);
  void (*progress)(void *context, int64_t done, int64_t count);
  bool (*stopped)(void *context); /* asked now and then; true ends it with GP_ERROR_INTERRUPTED. May be NULL, as all */
  void *context;
} data_pack_desc;

typedef struct data_pack_result {
  int64_t images, resized, left_out, shards;
  int64_t bytes; /* of the shards */
} data_pack_result;

/* Finds what would stop data_pack() before it reads an image, and writes nothing: the folders, the classes, what `out` holds
 * already. `out` need not exist yet. Errors: those of the source; GP_ERROR_INVALID_ARGUMENT. */
GP_NODISCARD gp_status data_pack_check(const data_pack_desc *desc);

/* Packs one split, after data_pack_check(). The index is written last, so that what an interrupted call leaves is not taken for a data set.
 * Errors: those of the source; GP_ERROR_IO, GP_ERROR_INVALID_ARGUMENT (names with line ends, a folder packed already, `out`
 * is `dir`). */
GP_NODISCARD gp_status data_pack(const data_pack_desc *desc, data_pack_result *result);

#endif
