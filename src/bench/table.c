#include "bench/table.h"

#include "base/parallel.h"
#include "base/status.h"
#include "bench/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const pass_names[BENCH_PASSES] = {"forward", "backward", "inference"};

static bool copies_each(const bench_results *r) { return r->desc.device->ops->copy != NULL; }

static const bench_row *row_at(const bench_results *r, int64_t place, int64_t subject) {
  return &r->rows[place * r->desc.subject_count + subject];
}

/* As long as the host takes to queue a call, so that shorter ones may have waited for it. */
static const double SHORT_SECONDS = 20e-6;
#define SHORT_CALLS                                                                                                \
  "note: calls of less than 20 us are among these, about what it takes to queue one: a larger --batch shows what " \
  "the GPU can do\n"

static bool calls_are_short(const bench_results *r) {
  const int64_t rows = r->desc.places->count * r->desc.subject_count;
  for (int64_t i = 0; copies_each(r) && i < rows; ++i)
    for (int pass = 0; pass < BENCH_PASSES; ++pass)
      if (r->rows[i].reason[0] == '\0' && r->rows[i].seconds[pass].median < SHORT_SECONDS) return true;
  return false;
}

static gp_status written(void) {
  return fflush(stdout) == 0 && !ferror(stdout) ? GP_OK : gp_fail(GP_ERROR_IO, "cannot write the results");
}

/* ---- For people ---- */

static int place_width(const bench_results *r) {
  int width = 5;
  for (int64_t p = 0; p < r->desc.places->count; ++p) {
    const int length = (int)strlen(r->desc.places->places[p].name);
    if (length > width) width = length;
  }
  return width;
}

static void print_row(const bench_results *r, const char *place, const bench_subject *subject, const bench_row *row) {
  const int width = place_width(r);
  const char *stochasticity = bench_stochasticity_names[subject->stochasticity];
  if (row->reason[0] != '\0') {
    printf("%-*s  %-14s  %-4s  not supported: %s\n", width, place, subject->name, stochasticity, row->reason);
    return;
  }
  for (int pass = 0; pass < BENCH_PASSES; ++pass) {
    const bench_times *s = &row->seconds[pass];
    const double bytes = (double)row->bytes[pass], copy = row->copy_seconds[pass];
    printf("%-*s  %-14s  %-4s  %-9s %10.4f %10.4f %10.4f %10.2f %8.2f %9.2f", width, place, subject->name,
           stochasticity, pass_names[pass], 1e3 * s->median, 1e3 * s->min, 1e3 * s->max, 1e-6 * bytes,
           1e-9 * bytes / s->median, s->median / copy);
    if (copies_each(r)) printf(" %10.2f %7.1f%%", 1e-9 * bytes / copy, 100 * copy / s->median);
    putchar('\n');
  }
}

/* Over the places. */
static bench_row sum_rows(const bench_results *r, int64_t subject) {
  bench_row sum = {0};
  for (int64_t p = 0; p < r->desc.places->count; ++p) {
    const bench_row *row = row_at(r, p, subject);
    if (row->reason[0] != '\0') return *row;
    for (int pass = 0; pass < BENCH_PASSES; ++pass) {
      sum.seconds[pass].median += row->seconds[pass].median;
      sum.seconds[pass].min += row->seconds[pass].min;
      sum.seconds[pass].max += row->seconds[pass].max;
      sum.bytes[pass] += row->bytes[pass];
      sum.copy_seconds[pass] += row->copy_seconds[pass];
    }
  }
  return sum;
}

static void print_head(const bench_results *r) {
  const bench_desc *desc = &r->desc;
  printf("%s, batch %" PRId64 ", %s, %s, %s\n", desc->network, desc->batch, bench_layout_names[desc->layout],
         bench_dtype_names[desc->dtype], desc->device->text);
  if (copies_each(r))
    printf("copying on the device: as many bytes as each pass must move, half of them read\n\n");
  else
    printf("copying %d MiB: %.2f GB/s (%.2f ... %.2f)\n\n", BENCH_COPY_BYTES >> 20, 1e-9 * r->copy_speed.median,
           1e-9 * r->copy_speed.min, 1e-9 * r->copy_speed.max);
  printf("%-*s  %-14s  %-4s  %-9s %10s %10s %10s %10s %8s %9s", place_width(r), "place", "kind", "draw", "pass",
         "median ms", "min ms", "max ms", "MB", "GB/s", "ratio");
  if (copies_each(r)) printf(" %10s %8s", "copy GB/s", "of copy");
  putchar('\n');
}

gp_status bench_print_table(const bench_results *r, int64_t place) {
  const bench_desc *desc = &r->desc;
  if (place == 0) print_head(r);
  for (int64_t s = 0; s < desc->subject_count; ++s)
    print_row(r, desc->places->places[place].name, &desc->subjects[s], row_at(r, place, s));
  if (place == desc->places->count - 1) {
    for (int64_t s = 0; s < desc->subject_count; ++s) {
      const bench_row sum = sum_rows(r, s);
      print_row(r, "sum", &desc->subjects[s], &sum);
    }
    if (calls_are_short(r)) printf("\n" SHORT_CALLS);
  }
  return written();
}

/* ---- For programs ---- */

/* A text between quotation marks; what a file calls a place is printable ASCII. */
static void print_text(const char *name, const char *text) {
  printf("\"%s\": \"", name);
  for (; *text != '\0'; ++text) printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  printf("\"");
}

static void print_texts(const bench_desc *desc, const char *place, const bench_subject *subject) {
  const char *const fields[][2] = {{"place", place},
                                   {"kind", subject->name},
                                   {"stochasticity", bench_stochasticity_names[subject->stochasticity]},
                                   {"layout", bench_layout_names[desc->layout]},
                                   {"dtype", bench_dtype_names[desc->dtype]}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; ++i) {
    printf(i == 0 ? "{" : ", ");
    print_text(fields[i][0], fields[i][1]);
  }
}

static void print_object(const bench_results *r, const char *place, const bench_subject *subject,
                         const bench_row *row) {
  const bench_desc *desc = &r->desc;
  if (row->reason[0] != '\0') {
    fprintf(stderr, "%s: %s, %s: not supported: %s\n", program_invocation_short_name, place, subject->name,
            row->reason);
    return;
  }
  print_texts(desc, place, subject);
  if (!copies_each(r)) printf(", \"threads\": %d", (int)gp_max_threads());
  printf(", \"batch\": %" PRId64, desc->batch);
  for (int pass = 0; pass < BENCH_PASSES; ++pass)
    printf(", \"%s_ms\": %.7g", pass_names[pass], 1e3 * row->seconds[pass].median);
  for (int pass = 0; pass < BENCH_INFERENCE; ++pass) printf(", \"%s_bytes\": %zu", pass_names[pass], row->bytes[pass]);
  if (copies_each(r)) {
    for (int pass = 0; pass < BENCH_INFERENCE; ++pass)
      printf(", \"%s_copy_gb_per_s\": %.7g", pass_names[pass],
             1e-9 * (double)row->bytes[pass] / row->copy_seconds[pass]);
    for (int pass = 0; pass < BENCH_PASSES; ++pass)
      printf(", \"%s_of_copy\": %.7g", pass_names[pass], row->copy_seconds[pass] / row->seconds[pass].median);
    printf(", ");
    print_text("device", desc->device->name);
    printf(", ");
    print_text("device_is", desc->device->text);
  } else {
    printf(", \"copy_gb_per_s\": %.7g", 1e-9 * r->copy_speed.median);
  }
  printf("}\n");
}

gp_status bench_print_json(const bench_results *r, int64_t place) {
  const bench_desc *desc = &r->desc;
  for (int64_t s = 0; s < desc->subject_count; ++s)
    print_object(r, desc->places->places[place].name, &desc->subjects[s], row_at(r, place, s));
  if (place == desc->places->count - 1 && calls_are_short(r))
    fprintf(stderr, "%s: " SHORT_CALLS, program_invocation_short_name);
  return written();
}
