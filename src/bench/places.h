/* The poolings of a network, for measuring: a text file with a line for each place,
 *
 *     name channels height width kernel_h kernel_w stride_h stride_w pad_h pad_w
 *
 * sizes of the input; # begins a comment. The files of bench/networks are built in. */
#ifndef GP_BENCH_PLACES_H
#define GP_BENCH_PLACES_H

#include <gausspool/gausspool.h>

enum { BENCH_PLACE_NAME_SIZE = 64 };

typedef struct bench_place {
  char name[BENCH_PLACE_NAME_SIZE];
  int64_t channels, height, width;
  int32_t kernel[2], stride[2], padding[2];
} bench_place;

typedef struct bench_places {
  bench_place *places;
  int64_t count; /* at least 1 */
} bench_places;

/* The places of the network built in under that name, otherwise those of a file. Errors, naming file and line:
 * GP_ERROR_NOT_FOUND, GP_ERROR_IO, GP_ERROR_CORRUPT. */
GP_NODISCARD gp_status bench_places_read(bench_places *out, const char *network);
void bench_places_clear(bench_places *places);

/* The pooling at a place: kind, dtype, layout and batch are the caller's to fill in. */
gp_pool_desc bench_place_desc(const bench_place *place);

/* A network built in, see the generated source: its file, a zero byte after it. */
typedef struct bench_network {
  const char *name, *text;
} bench_network;
extern const bench_network bench_networks[]; /* ended by a NULL name */

#endif
