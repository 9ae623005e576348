/* Lists of files that a test leaves out. */
#ifndef GP_CLI_LEAVE_OUT_H
#define GP_CLI_LEAVE_OUT_H

#include "data/source.h"

/* Reads a list, a file a line: its name with or without folders and suffix ("n01440764/ILSVRC2012_val_00000293.JPEG",
 * "ILSVRC2012_val_00000293"), or, as the list of ILSVRC2014 has it, the number that ends its name ("293"). Blank lines and
 * lines that begin with # are skipped. Marks the samples of these names in *out (gp_free() it) and counts them, and the lines
 * that name none. GP_ERROR_INVALID_ARGUMENT when no line names a sample: the list is of another data set then. */
typedef struct cli_left_out {
  bool *samples;
  int64_t count;     /* left out */
  int64_t not_found; /* lines */
} cli_left_out;
GP_NODISCARD gp_status cli_leave_out(cli_left_out *out, const data_source *source, const char *path);

#endif
