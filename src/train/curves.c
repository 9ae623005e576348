#include "train/curves.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/atomic_file.h"
#include "train/curves_impl.h"
#include "train/file.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { NAME_LIMIT = 200, QUOTED_SIZE = 512 };

gp_status train_curves_check_filename(const char *text) {
  size_t length = strlen(text);
  bool plain = length > 4 && length <= NAME_LIMIT && strcmp(text + length - 4, ".pdf") == 0 && text[0] != '.';
  for (const char *at = text; *at != '\0'; ++at)
    if ((unsigned char)*at < ' ' || *at == 0x7f || strchr("/\\'\"`", *at) != NULL) plain = false;
  if (plain) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "expected a file name that ends in .pdf, without folder and quotes, found \"%s\"", text);
}

/* ---- The data file ---- */

static gp_status write_data(const char *path, const train_curves_desc *desc) {
  gp_status status = GP_OK;
  atomic_file *file = NULL;
  GP_TRY(atomic_file_create(&file, path, 0));
  GP_TRY(atomic_file_printf(file,
                            "# 1 epoch, 2 learning rate, 3 train loss, 4 train top-1 error %%, 5 train top-5 error %%, "
                            "6 validation loss, 7 validation top-1 error %%, 8 validation top-5 error %%\n"));
  for (size_t i = 0; i < desc->count; ++i) {
    const train_epoch_row *row = &desc->rows[i];
    GP_TRY(atomic_file_printf(file, "%lld %.9g %.9g %.9g %.9g %.9g %.9g %.9g\n", (long long)row->epoch, row->lr,
                              row->train_loss, row->train_top1, row->train_top5, row->val_loss, row->val_top1,
                              row->val_top5));
  }
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  return status;
}

/* ---- The script ---- */

/* A logarithmic axis for rates that go down by decades and stay there, not for a cosine's last epochs. */
static bool stays_decades_lower(const train_curves_desc *desc) {
  double high = 0;
  size_t low_count = 0;
  for (size_t i = 0; i < desc->count; ++i) high = fmax(high, desc->rows[i].lr);
  for (size_t i = 0; i < desc->count; ++i) {
    if (!(desc->rows[i].lr > 0)) return false;
    low_count += desc->rows[i].lr < 0.2 * high;
  }
  return 2 * low_count > desc->count;
}

/* Whether a panel has nothing to show, which gnuplot refuses to scale: a run that went to NaN, say. */
static bool is_empty(const train_curves_desc *desc, size_t train_offset, size_t val_offset) {
  for (size_t i = 0; i < desc->count; ++i) {
    double train, val;
    memcpy(&train, (const char *)&desc->rows[i] + train_offset, sizeof train);
    memcpy(&val, (const char *)&desc->rows[i] + val_offset, sizeof val);
    if (isfinite(train) || isfinite(val)) return false;
  }
  return true;
}

#define IS_EMPTY(desc, what) \
  is_empty(desc, offsetof(train_epoch_row, train_##what), offsetof(train_epoch_row, val_##what))

/* For a gnuplot string in single quotes: these double the quote and know no other escapes. */
static const char *quoted(const char *text, char buffer[QUOTED_SIZE]) {
  size_t used = 0;
  for (; text != NULL && *text != '\0' && used + 2 < QUOTED_SIZE; ++text) {
    buffer[used++] = (unsigned char)*text < ' ' ? ' ' : *text;
    if (*text == '\'') buffer[used++] = '\'';
  }
  buffer[used] = '\0';
  return buffer;
}

static const char script_style[] =
    "set encoding utf8\n"
    "set border 3 linewidth 1 linecolor rgb '#505050'\n"
    "set tics nomirror out scale 0.6 textcolor rgb '#303030'\n"
    "set grid linetype 1 linewidth 0.7 linecolor rgb '#dcdcdc'\n"
    "set key top right opaque samplen 2.5 spacing 1.1\n"
    "set xlabel 'epoch' offset 0,0.3\n"
    "set datafile missing 'nan'\n"
    "set style line 1 linewidth 2.2 pointtype 7 pointsize dot linecolor rgb '#d55e00' # training\n"
    "set style line 2 linewidth 2.2 pointtype 5 pointsize dot linecolor rgb '#0072b2' # validation\n"
    "set style line 3 linewidth 2.2 pointtype 7 pointsize dot linecolor rgb '#404040' # learning rate\n";

/* The same panels for each of the two files. */
static const char script_panels[] =
    "do for [file in 'pdf png'] {\n"
    "  if (file eq 'pdf') { set terminal pdfcairo size 10in,7in font 'sans,13' linewidth 1 }\n"
    "  if (file eq 'png') { set terminal @png size 1400,980 font 'sans,13' linewidth 1.4 }\n"
    "  set output stem.'.'.file\n"
    "  set multiplot layout 2,2 margins 0.08,0.98,0.08,top spacing 0.1,0.12\n"
    "  if (title ne '') { set label 1 title at screen 0.5,0.972 center noenhanced font ',15' }\n"
    "  if (rate_in_decades) { set logscale y; set format y '10^{%T}' } else { set yrange [0:*] }\n"
    "  set ylabel 'learning rate'\n"
    "  plot data using 1:2 with linespoints linestyle 3 notitle\n"
    "  unset logscale y; set format y '%h'; unset label 1\n"
    "  set ylabel 'loss (cross-entropy)'\n"
    "  if (loss_empty) { set yrange [0:1] } else { set yrange [*:*] }\n"
    "  plot data using 1:3 with linespoints linestyle 1 title 'training', \\\n"
    "       data using 1:6 with linespoints linestyle 2 title 'validation'\n"
    "  set ylabel 'top-1 error (%)'\n"
    "  if (top1_empty) { set yrange [0:1] } else { set yrange [*:*] }\n"
    "  plot data using 1:4 with linespoints linestyle 1 title 'training', \\\n"
    "       data using 1:7 with linespoints linestyle 2 title 'validation'\n"
    "  set ylabel 'top-5 error (%)'\n"
    "  if (top5_empty) { set yrange [0:1] } else { set yrange [*:*] }\n"
    "  plot data using 1:5 with linespoints linestyle 1 title 'training', \\\n"
    "       data using 1:8 with linespoints linestyle 2 title 'validation'\n"
    "  unset multiplot\n"
    "  unset output\n"
    "}\n";

/* Whole epochs on the axis: ticks at 1, 2, 5, 10, … epochs, at most about ten of them. */
static long long tick_of(long long epochs) {
  long long tick = 1;
  for (int i = 0; epochs > 10 * tick; ++i) tick = i % 3 == 1 ? tick / 2 * 5 : tick * 2;
  return tick;
}

static gp_status write_script(const char *path, const char *stem, const train_curves_desc *desc) {
  gp_status status = GP_OK;
  atomic_file *file = NULL;
  char title[QUOTED_SIZE];
  long long first = desc->rows[0].epoch, last = desc->rows[desc->count - 1].epoch;
  double margin = last == first ? 0.5 : 0.02 * (double)(last - first);
  GP_TRY(atomic_file_create(&file, path, 0));
  GP_TRY(atomic_file_printf(file, "# Draws %s.pdf and %s.png; run it with gnuplot in this folder.\n", stem, stem));
  GP_TRY(atomic_file_printf(file, "stem = '%s'\ndata = stem.'.dat'\ntitle = '%s'\n", stem, quoted(desc->title, title)));
  GP_TRY(
      atomic_file_printf(file, "top = title eq '' ? 0.98 : 0.93\nrate_in_decades = %d\n", stays_decades_lower(desc)));
  GP_TRY(atomic_file_printf(file, "loss_empty = %d\ntop1_empty = %d\ntop5_empty = %d\n", IS_EMPTY(desc, loss),
                            IS_EMPTY(desc, top1), IS_EMPTY(desc, top5)));
  GP_TRY(atomic_file_printf(file, "dot = %s\n", desc->count == 1 ? "1.4" : desc->count <= 30 ? "0.8" : "0"));
  GP_TRY(atomic_file_printf(file, "set xrange [%.6g:%.6g]\nset xtics %lld\n", (double)first - margin,
                            (double)last + margin, tick_of(last - first)));
  GP_TRY(atomic_file_printf(file, "png = strstrt(GPVAL_TERMINALS, 'pngcairo') ? 'pngcairo' : 'png'\n"));
  GP_TRY(atomic_file_write(file, script_style, sizeof script_style - 1));
  GP_TRY(atomic_file_write(file, script_panels, sizeof script_panels - 1));
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  return status;
}

/* ---- Drawing ---- */

gp_status train_curves_draw(const train_curves_desc *desc) {
  gp_status status = GP_OK;
  const char *pdf = desc->pdf_filename == NULL ? "train_epochs.pdf" : desc->pdf_filename;
  char stem[NAME_LIMIT + 1], name[NAME_LIMIT + sizeof ".dat"];
  char *data_path = NULL, *script_path = NULL;
  if (desc->count == 0) return GP_OK;
  GP_TRY(train_curves_check_filename(pdf));
  snprintf(stem, sizeof stem, "%.*s", (int)strlen(pdf) - 4, pdf);
  snprintf(name, sizeof name, "%s.dat", stem);
  GP_TRY(path_join(&data_path, desc->out_dir, name));
  GP_TRY(write_data(data_path, desc));
  snprintf(name, sizeof name, "%s.gp", stem);
  GP_TRY(path_join(&script_path, desc->out_dir, name));
  GP_TRY(write_script(script_path, stem, desc));
  GP_TRY(curves_run_gnuplot(desc->out_dir, name));
cleanup:
  gp_free(data_path);
  gp_free(script_path);
  return status;
}
