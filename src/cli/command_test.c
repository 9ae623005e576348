/* gausspool test */
#include "base/memory.h"
#include "base/status.h"
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/leave_out.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/ranks.h"
#include "train/evaluate.h"
#include "train/npy.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct test_config {
  char *model_file, *dataset, *data, *arch, *pool, *nonblacklist, *logits_out, *per_class, *confusion;
  int64_t batch_size, workers, threads;
  int on_bad_image; /* index into its choices: */
  int precision;
  bool flip_average, help;
  dist_comm *comm; /* no option */
} test_config;

enum { BAD_FAIL = 0, BAD_SKIP };

#define FIELD(name) .offset = offsetof(test_config, name)
static const option_desc options[] = {
    CLI_OPTION_MODEL_FILE(test_config),
    CLI_OPTION_MODEL_ARCH(test_config),
    CLI_OPTION_MODEL_POOL(test_config),
    CLI_OPTION_DATASET(test_config, "data", "data set (default: the one the model was trained on)"),
    CLI_OPTION_DATA(test_config, "data"),
    {.name = "nonblacklist",
     FIELD(nonblacklist),
     .type = OPTION_PATH,
     .section = "data",
     .metavar = "LIST",
     .help = "file that lists test images to leave out, a path, name or number a line"},
    {.name = "on-bad-image",
     FIELD(on_bad_image),
     .type = OPTION_CHOICE,
     .section = "data",
     .choices = "fail|skip",
     .default_text = "fail",
     .help = "what to do about an image that cannot be read: stop, or leave it out and say so"},
    {.name = "flip-average",
     FIELD(flip_average),
     .type = OPTION_BOOL,
     .section = "model",
     .help = "average the scores of each image and its mirror image"},
    {.name = "per-class",
     FIELD(per_class),
     .type = OPTION_PATH,
     .section = "output",
     .metavar = "FILE.csv",
     .help = "write the errors of each class"},
    {.name = "confusion",
     FIELD(confusion),
     .type = OPTION_PATH,
     .section = "output",
     .metavar = "FILE.csv",
     .help = "write how often each class was taken for which"},
    CLI_OPTION_LOGITS_OUT(test_config,
                          "write the raw scores of all images, in file order, as a NumPy array [images][classes]; "
                          "those of an image that cannot be read are NaN"),
    {.name = "batch-size",
     FIELD(batch_size),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "256",
     .min = 1,
     .max = 1 << 20,
     .help = "images at once"},
    {.name = "workers",
     FIELD(workers),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "2",
     .min = 0,
     .max = 256,
     .help = "threads that read images"},
    CLI_OPTION_PRECISION(test_config),
    CLI_OPTION_THREADS(test_config),
    CLI_OPTION_HELP(test_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

/* What a test works with and makes, besides the model. */
typedef struct tester {
  const test_config *config;
  cli_model model;
  data_loader *loader;
  train_plans plans;
  cli_left_out left_out;
  train_tally *tally; /* NULL: not asked for */
  float *logits;      /* likewise */
  int64_t bad;        /* images that could not be read */
  char refusal[1024]; /* what is wrong with the first of them, unless they are to be left out */
} tester;

static void report_bad(void *context, const char *name, const char *message) {
  tester *t = context;
  const bool named = strstr(message, name) != NULL;
  if (cli_is_left_out(&t->left_out, t->model.source, name)) return;
  if (t->config->on_bad_image == BAD_FAIL) {
    if (t->refusal[0] == '\0')
      snprintf(t->refusal, sizeof t->refusal, "%s%s%s", named ? "" : name, named ? "" : ": ", message);
    return;
  }
  t->bad += 1;
  const bool alone = dist_size(t->config->comm) == 1;
  printf("bad image %lld%s%s left out: %s%s%s\n", (long long)t->bad, alone ? "" : " of ",
         alone ? "" : dist_name(t->config->comm), named ? "" : name, named ? "" : ": ", message);
}

static gp_status prepare(tester *t) {
  gp_status status = GP_OK;
  const test_config *config = t->config;
  const bool confusion = config->confusion[0] != '\0', listed = config->nonblacklist[0] != '\0';
  /* An image that the list leaves out may be one that cannot be read; report_bad() tells them apart. */
  const bool mark = listed || config->on_bad_image == BAD_SKIP;
  const int64_t samples = data_source_get_info(t->model.source)->count, classes = t->model.info.classes;
  const data_share share = {DATA_SHARE_BATCHES, dist_rank(config->comm), dist_size(config->comm)};
  for (int i = 0; i < 3 && dist_rank(config->comm) == 0; ++i)
    GP_TRY(cli_check_output((const char *[]){config->logits_out, config->per_class, config->confusion}[i]));
  if (listed) GP_TRY(cli_leave_out(&t->left_out, t->model.source, config->nonblacklist));
  if (config->logits_out[0] != '\0') GP_TRY(GP_ALLOC(&t->logits, (size_t)(samples * classes)));
  if (confusion || config->per_class[0] != '\0') GP_TRY(train_tally_create(&t->tally, classes, confusion));
  GP_TRY(data_loader_create(&t->loader, &(data_loader_desc){.source = t->model.source,
                                                            .transform = cli_model_transform(&t->model),
                                                            .batch_size = config->batch_size,
                                                            .share = share,
                                                            .bad = mark ? DATA_BAD_MARK : DATA_BAD_FAIL,
                                                            .report_bad = report_bad,
                                                            .context = t,
                                                            .workers = (int32_t)config->workers}));
  GP_TRY(train_plans_create(
      &t->plans, t->model.net,
      &(train_plans_desc){.mode = NN_INFER, .batch = config->batch_size, .samples = samples, .share = share}));
cleanup:
  return status;
}

static gp_status evaluate(tester *t, const train_observer *observer) {
  gp_status status = GP_OK;
  train_meter meter;
  GP_TRY(train_evaluate(&meter, &(train_evaluate_desc){.plans = &t->plans,
                                                       .net = t->model.net,
                                                       .loader = t->loader,
                                                       .observer = observer,
                                                       .flip_average = t->config->flip_average,
                                                       .left_out = t->left_out.samples,
                                                       .refusal = t->refusal,
                                                       .comm = t->config->comm,
                                                       .tally = t->tally,
                                                       .logits = t->logits}));
  if (dist_rank(t->config->comm) == 0)
    cli_print_scores(train_meter_loss(&meter), train_meter_top1(&meter), train_meter_top5(&meter));
cleanup:
  return status;
}

static gp_status write_results(const tester *t) {
  gp_status status = GP_OK;
  const test_config *config = t->config;
  const model_info *info = &t->model.info;
  const char *const *names = (const char *const *)info->class_names;
  if (t->logits != NULL)
    GP_TRY(
        npy_write_float32(config->logits_out, t->logits, data_source_get_info(t->model.source)->count, info->classes));
  if (config->per_class[0] != '\0') GP_TRY(train_tally_write_classes(t->tally, names, config->per_class));
  if (config->confusion[0] != '\0') GP_TRY(train_tally_write_confusion(t->tally, names, config->confusion));
cleanup:
  return status;
}

static void clear(tester *t) {
  train_tally_destroy(&t->tally);
  gp_free(t->logits);
  gp_free(t->left_out.samples);
  train_plans_clear(&t->plans);
  data_loader_destroy(&t->loader);
  cli_model_close(&t->model);
}

static void print_task(const tester *t) {
  const model_info *info = &t->model.info;
  const data_source_info *data = data_source_get_info(t->model.source);
  printf("%s, %s, trained on %s; testing %lld images of %s\n", info->arch, info->pool, info->dataset,
         (long long)(data->count - t->left_out.count), data->dataset);
  if (t->config->nonblacklist[0] == '\0') return;
  printf("left out by %s: %lld images", t->config->nonblacklist, (long long)t->left_out.count);
  if (t->left_out.not_found > 0) printf("; %lld of its lines name none", (long long)t->left_out.not_found);
  putchar('\n');
}

static gp_status open_test(tester *t) {
  gp_status status = GP_OK;
  const test_config *config = t->config;
  GP_TRY(cli_model_open(&t->model, &(cli_model_desc){.path = config->model_file,
                                                     .arch = config->arch,
                                                     .pool = config->pool,
                                                     .dataset = config->dataset,
                                                     .data = config->data,
                                                     .skip_bad = config->on_bad_image == BAD_SKIP,
                                                     .open_source = true,
                                                     .batch = config->batch_size,
                                                     .precision = (nn_precision)config->precision}));
  GP_TRY(prepare(t));
cleanup:
  return status;
}

static gp_status test(void *opaque) {
  const test_config *config = opaque;
  const bool first = dist_rank(config->comm) == 0;
  gp_status status = GP_OK;
  tester t = {.config = config};
  cli_progress *progress = NULL;
  train_observer observer = {0};
  GP_TRY(cli_ranks_set_threads(config->comm, config->threads, NULL));
  GP_TRY(dist_agree_later(config->comm, open_test(&t)));
  if (first) print_task(&t);
  /* A bar for whoever looks on; nothing into files and pipes but the result. */
  if (isatty(STDERR_FILENO) && first) {
    GP_TRY(cli_progress_create(&progress, &(cli_progress_desc){.stream = stderr}));
    observer = cli_progress_observer(progress);
  }
  GP_TRY(evaluate(&t, &observer));
  GP_TRY(dist_agree_later(config->comm, first ? write_results(&t) : GP_OK));
cleanup:
  cli_progress_destroy(&progress);
  clear(&t);
  return status;
}

static gp_status check(void *opaque) {
  const test_config *config = opaque;
  if (config->model_file[0] == '\0')
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "test: expected --model-file FILE, found none");
  return cli_check_names(config->arch, config->pool, config->dataset);
}

int command_test(const cli_command *command, int argc, char *const argv[]) {
  test_config config = {0};
  const cli_course course = {
      .table = &table, .config = &config, .help = &config.help, .check = check, .run = test, .comm = &config.comm};
  return cli_run(command, &course, argc, argv);
}
