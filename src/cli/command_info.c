/* gausspool info */
#include "base/status.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "data/source.h"
#include "models/models.h"
#include "train/model_file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct info_config {
  char *arch, *pool, *dataset, *data;
  int64_t classes, image_size, channels, batch;
  bool list, json, help;
} info_config;

#define FIELD(name) .offset = offsetof(info_config, name)
static const option_desc options[] = {
    CLI_OPTION_NET_ARCH(info_config),
    CLI_OPTION_NET_POOL(info_config),
    CLI_OPTION_CLASSES(info_config),
    CLI_OPTION_IMAGE(info_config, "image-size", image_size),
    CLI_OPTION_CHANNELS(info_config),
    CLI_OPTION_DATASET(info_config, "net", "take classes, image size and channels from a data set"),
    CLI_OPTION_DATA(info_config, "net"),
    {.name = "batch",
     FIELD(batch),
     .type = OPTION_INT64,
     .section = "net",
     .metavar = "N",
     .default_text = "1",
     .min = 1,
     .max = 1 << 20,
     .help = "images at once, for the memory of a training step"},
    {.name = "json", FIELD(json), .type = OPTION_BOOL, .section = "run", .help = "print the net as one JSON object"},
    {.name = "list", FIELD(list), .type = OPTION_BOOL, .section = "run", .help = "list nets, poolings and data sets"},
    CLI_OPTION_HELP(info_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

enum { LINE_WIDTH = 100, NAMES_AT = 20 };

/* The heading, and names in columns' worth of lines behind it. */
typedef struct name_list {
  const char *heading;
  int column; /* 0: nothing printed yet */
} name_list;

static void print_name(name_list *list, const char *name) {
  const int length = (int)strlen(name);
  if (list->column == 0) list->column = printf("%-*s", NAMES_AT, list->heading);
  if (list->column + 1 + length > LINE_WIDTH) {
    putchar('\n');
    list->column = printf("%-*s", NAMES_AT, "");
  }
  list->column += printf(" %s", name);
}

/* A list for each family: its nets follow each other. */
static gp_status print_nets(void) {
  name_list list = {0};
  for (int32_t i = 0; model_arch_name(i) != NULL; ++i) {
    model_usual usual;
    gp_status status = model_usual_of(&usual, model_arch_name(i));
    if (status != GP_OK) return status;
    if (list.heading != NULL && strcmp(list.heading, usual.family) != 0) {
      putchar('\n');
      list.column = 0;
    }
    list.heading = usual.family;
    print_name(&list, model_arch_name(i));
  }
  putchar('\n');
  return GP_OK;
}

static gp_status print_list(void) {
  name_list poolings = {.heading = ""};
  puts("nets (--arch)");
  gp_status status = print_nets();
  if (status != GP_OK) return status;
  puts("\npoolings (--pool)");
  for (int32_t i = 0; model_pool_name(i) != NULL; ++i) print_name(&poolings, model_pool_name(i));
  puts("\n\ndata sets (--dataset)");
  for (int32_t i = 0; data_set_name(i) != NULL; ++i)
    printf("%-*s %s\n", NAMES_AT, data_set_name(i), data_set_summary(i));
  return GP_OK;
}

/* ---- The table ---- */

static void shape_text(nn_shape shape, char *buffer, size_t size) {
  snprintf(buffer, size, "%" PRId64 " x %" PRId64 " x %" PRId64, shape.channels, shape.height, shape.width);
}

static int name_width(const nn_net *net) {
  int width = 5;
  for (int32_t i = 0; i < nn_net_layer_count(net); ++i) {
    const int length = (int)strlen(nn_net_layer(net, i).name);
    if (length > width) width = length;
  }
  return width;
}

static const char *number_or_dash(int64_t value, char buffer[CLI_NUMBER_SIZE]) {
  return value == 0 ? "-" : cli_number(value, buffer);
}

static void print_layers(const nn_net *net) {
  const int width = name_width(net);
  int64_t activations = 0;
  char shape[64], parameters[CLI_NUMBER_SIZE], macs[CLI_NUMBER_SIZE], bytes[CLI_NUMBER_SIZE];
  printf("%-*s  %-18s  %-17s  %12s  %15s  %14s\n", width, "layer", "operation", "output", "parameters", "multiply-adds",
         "bytes/image");
  for (int32_t i = 0; i < nn_net_layer_count(net); ++i) {
    const nn_layer_info layer = nn_net_layer(net, i);
    shape_text(layer.output, shape, sizeof shape);
    activations += layer.activation_bytes;
    printf("%-*s  %-18s  %-17s  %12s  %15s  %14s\n", width, layer.name[0] != '\0' ? layer.name : "-", layer.op, shape,
           number_or_dash(layer.parameters, parameters), number_or_dash(layer.macs, macs),
           number_or_dash(layer.activation_bytes, bytes));
  }
  printf("%-*s  %-18s  %-17s  %12s  %15s  %14s\n", width, "total", "", "",
         cli_number(nn_net_parameter_count(net), parameters), cli_number(nn_net_macs(net), macs),
         cli_number(activations, bytes));
}

/* ---- Memory ---- */

/* Bytes of activations at the batch size that was asked for. */
typedef struct info_memory {
  nn_mode mode;
  size_t bytes, without_reuse;
} info_memory;

static gp_status measure_memory(info_memory *memory, nn_net *net, int64_t batch) {
  nn_plan *plan = NULL;
  gp_status status =
      nn_plan_create(&plan, net, &(nn_plan_desc){.batch = batch, .mode = memory->mode, .reserve_later = true});
  if (status != GP_OK) return status;
  memory->bytes = nn_plan_activation_bytes(plan);
  memory->without_reuse = nn_plan_activation_bytes_without_reuse(plan);
  nn_plan_destroy(&plan);
  return GP_OK;
}

static void print_memory(const info_memory *memory, int64_t batch) {
  printf("activations in %s, batch %" PRId64 ": %.2f MiB (%.2f MiB without reuse)\n",
         memory->mode == NN_TRAIN ? "training" : "inference", batch, (double)memory->bytes / (1 << 20),
         (double)memory->without_reuse / (1 << 20));
}

/* ---- All of it ---- */

static void print_text(const model_info *info, const nn_net *net) {
  const double parameters = (double)nn_net_parameter_count(net);
  printf("%s, %s, %" PRId64 " classes, images of %" PRId64 " x %" PRId64 " x %" PRId64 "\n\n", info->arch, info->pool,
         info->classes, info->channels, info->height, info->width);
  print_layers(net);
  printf("\nparameters: %.2f M (%.2f MiB)\nmultiply-adds: %.2f G an image\n", parameters / 1e6,
         parameters * 4 / (1 << 20), (double)nn_net_macs(net) / 1e9);
}

/* NULL without memory. */
static json_t *layer_json(const nn_layer_info *layer) {
  const nn_shape shape = layer->output;
  return json_pack("{s:s, s:s, s:[I,I,I], s:I, s:I, s:I}", "name", layer->name, "op", layer->op, "output",
                   (json_int_t)shape.channels, (json_int_t)shape.height, (json_int_t)shape.width, "parameters",
                   (json_int_t)layer->parameters, "macs", (json_int_t)layer->macs, "activation_bytes",
                   (json_int_t)layer->activation_bytes);
}

/* Counts and layers are of one image; activation_bytes is inference's at this batch size, training_activation_bytes, for
 * more than one image, a training step's. */
static gp_status print_json(const model_info *info, const nn_net *net, int64_t batch, const info_memory memory[2]) {
  json_t *layers = json_array();
  bool whole = layers != NULL;
  for (int32_t i = 0; i < nn_net_layer_count(net); ++i) {
    const nn_layer_info layer = nn_net_layer(net, i);
    whole = whole && json_array_append_new(layers, layer_json(&layer)) == 0;
  }
  json_t *object = json_pack(
      "{s:s, s:s, s:I, s:[I,I,I], s:I, s:I, s:I, s:I, s:o*, s:o}", "arch", info->arch, "pool", info->pool, "classes",
      (json_int_t)info->classes, "image", (json_int_t)info->channels, (json_int_t)info->height, (json_int_t)info->width,
      "batch", (json_int_t)batch, "parameters", (json_int_t)nn_net_parameter_count(net), "macs",
      (json_int_t)nn_net_macs(net), "activation_bytes", (json_int_t)memory[0].bytes, "training_activation_bytes",
      batch > 1 ? json_integer((json_int_t)memory[1].bytes) : NULL, "layers", layers);
  char *text = whole && object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
  json_decref(object);
  if (text == NULL) return gp_fail(GP_ERROR_OUT_OF_MEMORY, "info: no memory for the net as JSON");
  puts(text);
  free(text);
  return GP_OK;
}

static gp_status describe(const info_config *config, model_info *info) {
  gp_status status = GP_OK;
  data_source *source = NULL;
  snprintf(info->arch, sizeof info->arch, "%s", config->arch);
  snprintf(info->pool, sizeof info->pool, "%s", config->pool);
  info->classes = config->classes;
  info->channels = config->channels;
  info->height = info->width = config->image_size;
  if (config->dataset[0] == '\0') goto cleanup;
  GP_TRY(data_source_create(&source, &(data_source_desc){.dataset = config->dataset,
                                                         .dir = config->data[0] != '\0' ? config->data : NULL,
                                                         .split = DATA_TEST}));
  const data_source_info *data = data_source_get_info(source);
  info->classes = data->classes;
  info->channels = data->channels;
  if (data->height > 0) info->height = data->height;
  if (data->width > 0) info->width = data->width;
cleanup:
  data_source_destroy(&source);
  return status;
}

static gp_status print_info(void *opaque) {
  const info_config *config = opaque;
  gp_status status = GP_OK;
  if (config->list) return print_list();
  model_info info = {0};
  nn_net *net = NULL;
  info_memory memory[2] = {{.mode = NN_INFER}, {.mode = NN_TRAIN}};
  const int modes = config->batch > 1 ? 2 : 1; /* nobody trains on one image */
  GP_TRY(describe(config, &info));
  GP_TRY(model_net_create(&net, &info, &(model_net_desc){.batch = config->batch, .trainable = config->batch > 1}));
  for (int i = 0; i < modes; ++i) GP_TRY(measure_memory(&memory[i], net, config->batch));
  if (config->json) {
    GP_TRY(print_json(&info, net, config->batch, memory));
  } else {
    print_text(&info, net);
    for (int i = 0; i < modes; ++i) print_memory(&memory[i], config->batch);
  }
cleanup:
  nn_net_destroy(&net);
  model_info_clear(&info);
  return status;
}

static gp_status check(void *opaque) {
  info_config *config = opaque;
  gp_status status = cli_check_names(config->arch, config->pool, config->dataset);
  if (status == GP_OK) status = cli_usual_sizes(config->arch, &config->channels, &config->image_size, &config->classes);
  return status;
}

int command_info(const cli_command *command, int argc, char *const argv[]) {
  info_config config = {0};
  const cli_course course = {
      .table = &table, .config = &config, .help = &config.help, .check = check, .run = print_info};
  return cli_run(command, &course, argc, argv);
}
