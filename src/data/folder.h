/* Scanning image folders: <folder>/<class>/<file>. */
#ifndef GP_DATA_FOLDER_H
#define GP_DATA_FOLDER_H

#include "data/listing.h"

#include <sys/stat.h>

/* The names in a folder, sorted by their bytes, hidden ones (".…") left out. Zero-initialise. */
typedef struct data_names {
  char **names; /* [count] */
  int64_t count;
  size_t room;
} data_names;

void data_names_free(data_names *names);

/* The folders in `path`, links to folders and to nowhere included. Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO, out of memory. */
GP_NODISCARD gp_status data_folder_list(data_names *out, const char *path);

/* How the split's folder is read. */
typedef struct data_folder_desc {
  const char *path; /* of the split: DIR/train */
  /* The classes, in their order, and whether a folder without images or of another class is no error. */
  const char *const *classes;
  int32_t class_count;
  bool lenient;
} data_folder_desc;

enum { DATA_NOTE_SIZE = 512 };

/* Lists all files of the classes' folders, each class' sorted; what they hold shows when they are read. A class without
 * a folder is fine. `note` gets one line about what was left out, "" if nothing was.
 * Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO, GP_ERROR_CORRUPT (unless lenient; no image at all), out of memory. */
GP_NODISCARD gp_status data_folder_scan(data_listing *out, const data_folder_desc *desc, char note[DATA_NOTE_SIZE]);

#endif
