/* Learning rate, loss, top-1 and top-5 error against the epoch, drawn by gnuplot. */
#ifndef GP_TRAIN_CURVES_H
#define GP_TRAIN_CURVES_H

#include "train/observer.h"

typedef struct train_curves_desc {
  const char *out_dir;
  const char *pdf_filename; /* "train_epochs.pdf": a file name without a folder; NULL means this one */
  const char *title;        /* e.g. "resnet8, gauss_CN, fashion-mnist"; NULL: none */
  const train_epoch_row *rows;
  size_t count;
} train_curves_desc;

/* Writes train_epochs.dat and train_epochs.gp (the PDF's name with another ending), then runs gnuplot on them for the
 * PDF and the PNG. The caller treats a failure as a warning: GP_ERROR_UNSUPPORTED if gnuplot is not installed,
 * GP_ERROR_LIBRARY with gnuplot's own words if it fails, GP_ERROR_IO if the files cannot be written. Nothing is drawn
 * for no rows. To restyle: edit the script, then `gnuplot train_epochs.gp` in that folder. */
GP_NODISCARD gp_status train_curves_draw(const train_curves_desc *desc);

/* Whether the text is good as pdf_filename, for the option table. */
GP_NODISCARD gp_status train_curves_check_filename(const char *text);

#endif
