/* Lists of files that a test leaves out. */
#ifndef GP_CLI_LEAVE_OUT_H
#define GP_CLI_LEAVE_OUT_H

#include "data/source.h"

/* Reads a list, an image a line, and marks these samples in *out (gp_free() it). A line is a path or the end of one
 * ("n01440764/ILSVRC2012_val_00000293.JPEG"), a bare name, with or without suffix ("ILSVRC2012_val_00000293"), or, as the
 * list of ILSVRC2014 has it, the number that ends a name ("293"). Blank lines and lines that begin with # are skipped.
 * GP_ERROR_INVALID_ARGUMENT when a line names several samples, and when no line names any: the list is of another data
 * set then. */
typedef struct cli_left_out {
  bool *samples;
  int64_t count;     /* left out */
  int64_t not_found; /* lines that name none */
} cli_left_out;
GP_NODISCARD gp_status cli_leave_out(cli_left_out *out, const data_source *source, const char *path);

/* Whether the sample of that name, as data_source_name() gives it, is among them. Looks through them all. */
bool cli_is_left_out(const cli_left_out *left_out, const data_source *source, const char *name);

#endif
