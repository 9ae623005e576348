/* gausspool-cuda-bench: `gausspool bench pool --device cuda` as a program of its own, which needs nothing but a C compiler to build and
 * libgausspool_cuda and NVIDIA's driver to run. */
#include "base/memory.h"
#include "base/status.h"
#include "bench/table.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILURE = 1, USAGE = 2, MOST_IMAGES = 1 << 20, MOST_REPEATS = 100000 };

typedef struct configuration {
  const char *network, *kind, *device;
  int64_t batch, repeat;
  int layout, dtype, stochasticity;
  bool json, help;
} configuration;

static const char usage[] =
    "usage: gausspool-cuda-bench [options]\n"
    "\n"
    "Measures the pooling operator on a GPU at the places of a network: milliseconds by events of many calls in a "
    "row,\n"
    "GB/s (10^9 bytes) of the bytes that must move, and the speed of copying as many within the GPU.\n"
    "\n"
    "  --network NAME|FILE      whose places: resnet50 (the default), vgg16, densenet169, or a file's\n"
    "  --batch N                images at once (256)\n"
    "  --layout NAME            nchw, nhwc (the default), nchw8c, nchw16c\n"
    "  --dtype NAME             float32 (the default), float64, bfloat16, float16\n"
    "  --kind NAME|all          what to compute (isp_gaussian)\n"
    "  --stochasticity NAME     none, CN (the default), HWCN\n"
    "  --repeat R               times that each is measured (10); the median counts\n"
    "  --device cuda[:N]        the GPU (cuda: the first)\n"
    "  --json                   a line of JSON for each place and pooling, as soon as the place is measured\n"
    "\n"
    "libgausspool_cuda.so.0 is found beside the program, where the system looks, or in GAUSSPOOL_CUDA_LIBRARY; the "
    "driver\n"
    "where the system looks or in GAUSSPOOL_CUDA_DRIVER.\n";

static gp_status read_number(const char *option, const char *text, int64_t most, int64_t *out) {
  char *end = NULL;
  const long long value = strtoll(text, &end, 10);
  if (end == text || *end != '\0' || value < 1 || value > most)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "--%s: expected a whole number from 1 to %" PRId64 ", found \"%s\"",
                   option, most, text);
  *out = value;
  return GP_OK;
}

static gp_status read_name(const char *option, const char *text, const char *const *names, int *out) {
  char list[128] = "";
  for (int i = 0; names[i] != NULL; ++i) {
    if (strcmp(names[i], text) == 0) {
      *out = i;
      return GP_OK;
    }
    snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i == 0 ? "" : ", ", names[i]);
  }
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "--%s: expected one of %s, found \"%s\"", option, list, text);
}

static gp_status read_option(configuration *c, const char *option, const char *text) {
  if (strcmp(option, "network") == 0) c->network = text;
  if (strcmp(option, "kind") == 0) c->kind = text;
  if (strcmp(option, "device") == 0) c->device = text;
  if (strcmp(option, "json") == 0) c->json = true;
  if (strcmp(option, "help") == 0) c->help = true;
  if (strcmp(option, "batch") == 0) return read_number(option, text, MOST_IMAGES, &c->batch);
  if (strcmp(option, "repeat") == 0) return read_number(option, text, MOST_REPEATS, &c->repeat);
  if (strcmp(option, "layout") == 0) return read_name(option, text, bench_layout_names, &c->layout);
  if (strcmp(option, "dtype") == 0) return read_name(option, text, bench_dtype_names, &c->dtype);
  if (strcmp(option, "stochasticity") == 0)
    return read_name(option, text, bench_stochasticity_names, &c->stochasticity);
  return GP_OK;
}

static gp_status read_options(configuration *c, int argc, char *argv[]) {
  static const struct option options[] = {{"network", required_argument, NULL, 0},
                                          {"batch", required_argument, NULL, 0},
                                          {"layout", required_argument, NULL, 0},
                                          {"dtype", required_argument, NULL, 0},
                                          {"kind", required_argument, NULL, 0},
                                          {"stochasticity", required_argument, NULL, 0},
                                          {"repeat", required_argument, NULL, 0},
                                          {"device", required_argument, NULL, 0},
                                          {"json", no_argument, NULL, 0},
                                          {"help", no_argument, NULL, 0},
                                          {NULL, 0, NULL, 0}};
  gp_status status = GP_OK;
  int found = -1, which = 0;
  opterr = 0;
  while (status == GP_OK && (found = getopt_long(argc, argv, "", options, &which)) == 0)
    status = read_option(c, options[which].name, optarg);
  if (status == GP_OK && (found != -1 || optind < argc))
    status = gp_fail(GP_ERROR_INVALID_ARGUMENT, "\"%s\": no such option, or one without its value; --help lists them",
                     argv[found != -1 ? optind - 1 : optind]);
  return status;
}

static gp_status measure(const configuration *c, bench_desc *desc, int index) {
  gp_status status = GP_OK;
  bench_results results = {0};
  GP_TRY(bench_cuda_open(&desc->device, index));
  desc->place_done = c->json ? bench_print_json : bench_print_table;
  GP_TRY(bench_measure(&results, desc));
cleanup:
  bench_results_clear(&results);
  bench_device_close(&desc->device);
  return status;
}

/* What the options' reader cannot say of them. */
static gp_status check(const configuration *c, int64_t subjects, int *index) {
  gp_status status = GP_OK;
  GP_TRY(bench_device_parse(c->device, index));
  if (*index < 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "--device: expected cuda or cuda:N, found cpu; see gausspool bench pool");
  if (subjects == 0) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "--kind: there is no kind \"%s\"", c->kind);
cleanup:
  return status;
}

static gp_status run(const configuration *c, bool *wrong_usage) {
  gp_status status = GP_OK;
  bench_places places = {0};
  bench_subject *subjects = NULL;
  int index = 0;
  bench_desc desc = {.network = c->network,
                     .places = &places,
                     .batch = c->batch,
                     .repeat = c->repeat,
                     .layout = (gp_layout)c->layout,
                     .dtype = (gp_dtype)c->dtype};
  GP_TRY(bench_subjects_make(&subjects, &desc.subject_count, c->kind, (gp_stochasticity)c->stochasticity, 0));
  desc.subjects = subjects;
  status = check(c, desc.subject_count, &index);
  *wrong_usage = status != GP_OK;
  GP_TRY(status);
  GP_TRY(bench_places_read(&places, c->network));
  status = measure(c, &desc, index);
cleanup:
  bench_places_clear(&places);
  gp_free(subjects);
  return status;
}

int main(int argc, char *argv[]) {
  configuration c = {.network = "resnet50",
                     .kind = "isp_gaussian",
                     .device = "cuda",
                     .batch = 256,
                     .repeat = 10,
                     .layout = GP_NHWC,
                     .dtype = GP_FLOAT32,
                     .stochasticity = GP_STOCHASTIC_CN};
  gp_status status = read_options(&c, argc, argv);
  bool wrong_usage = status != GP_OK;
  if (status == GP_OK && c.help) return fputs(usage, stdout) < 0 ? FAILURE : 0;
  if (status == GP_OK) status = run(&c, &wrong_usage);
  if (status == GP_OK) return 0;
  fprintf(stderr, "gausspool-cuda-bench: %s\n", gp_last_error());
  return wrong_usage ? USAGE : FAILURE;
}
