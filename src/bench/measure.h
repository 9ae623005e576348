/* The speed of poolings at the places of a network, on one device. */
#ifndef GP_BENCH_MEASURE_H
#define GP_BENCH_MEASURE_H

#include "bench/operator.h"
#include "bench/places.h"
#include "bench/times.h"

/* The words for a bench_desc's fields, by their numbers; ended by NULL. */
extern const char *const bench_layout_names[], *const bench_dtype_names[], *const bench_stochasticity_names[];

/* What is measured at every place: a kind of ours, or a peer's. */
typedef struct bench_subject {
  const char *name;
  gp_pool_kind kind;
  gp_stochasticity stochasticity;
  bench_operator_maker create; /* of a peer, which may be unable to do it; NULL: ours */
} bench_subject;

/* The subject of a kind: without draws where the kind has none. */
bench_subject bench_subject_of(gp_pool_kind kind, gp_stochasticity stochasticity);

/* Those of a kind by name, or of all for "all", into an array for gp_free(), with room for `extra` more at its end; NULL if there is
 * no such kind. */
GP_NODISCARD gp_status bench_subjects_make(bench_subject **out, int64_t *count, const char *kind,
                                           gp_stochasticity stochasticity, int64_t extra);

typedef struct bench_results bench_results;

/* Told of each place, from the first to the last, when its rows are whole: where copies are measured of each size, as soon as the
 * place is measured; otherwise after the last one, when the copies' speed is known. Its failure ends the measurement. */
typedef gp_status (*bench_listener)(const bench_results *results, int64_t place);

typedef struct bench_desc {
  bench_device *device;
  const char *network; /* for the table's head */
  const bench_places *places;
  const bench_subject *subjects;
  int64_t subject_count;
  int64_t batch, repeat;
  gp_layout layout;
  gp_dtype dtype;
  bench_listener place_done; /* or NULL */
} bench_desc;

/* The pooling of a subject at a place. */
gp_pool_desc bench_describe(const bench_desc *desc, const bench_place *place, const bench_subject *subject);

enum { BENCH_REASON_SIZE = 160 };

/* What came out of one subject at one place. */
typedef struct bench_row {
  bench_times seconds[BENCH_PASSES];
  size_t bytes[BENCH_PASSES];        /* that must move: x and y; x, grad_y and grad_x */
  double copy_seconds[BENCH_PASSES]; /* that a copy takes to read and write as many */
  char reason[BENCH_REASON_SIZE];    /* why it could not be measured; "" otherwise */
} bench_row;

/* Zero-initialise. */
struct bench_results {
  bench_desc desc;
  bench_row *rows;        /* [place][subject] */
  bench_times copy_speed; /* bytes a second where copies of one size are measured (bench_device_ops); otherwise 0 */
};

/* Measures call by call in turn, so that whatever else the machine does disturbs all alike. What `desc` points to must outlive the
 * results. */
GP_NODISCARD gp_status bench_measure(bench_results *out, const bench_desc *desc);
void bench_results_clear(bench_results *results);

#endif
