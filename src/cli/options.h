/* Rows that several commands' option tables hold. The first argument is the type of the command's config struct, which
 * has a field of the option's name. */
#ifndef GP_CLI_OPTIONS_H
#define GP_CLI_OPTIONS_H

#include "nn/nn.h"
#include "train/option.h"

#define CLI_OPTION_HELP(config)                                                                                 \
  {                                                                                                             \
    .name = "help", .short_name = 'h', .offset = offsetof(config, help), .type = OPTION_BOOL, .section = "run", \
    .help = "print this and exit"                                                                               \
  }

#define CLI_OPTION_THREADS(config)                                                                                  \
  {                                                                                                                 \
    .name = "threads", .offset = offsetof(config, threads), .type = OPTION_INT64, .section = "run", .metavar = "N", \
    .default_text = "0", .min = 0, .max = 4096, .help = "threads that compute; 0: as the machine has"               \
  }

#define CLI_OPTION_PRECISION(config)                                                                     \
  {                                                                                                      \
    .name = "precision", .offset = offsetof(config, precision), .type = OPTION_CHOICE, .section = "run", \
    .choices = NN_PRECISION_NAMES, .default_text = "float32", .help = "of activations and convolutions"  \
  }

/* Of a plain state dict; other files name their own. */
#define CLI_OPTION_MODEL_FILE(config)                                                                      \
  {                                                                                                        \
    .name = "model-file", .offset = offsetof(config, model_file), .type = OPTION_PATH, .section = "model", \
    .metavar = "FILE", .help = "trained model or checkpoint (.safetensors)"                                \
  }
#define CLI_OPTION_MODEL_ARCH(config)                                                                               \
  {                                                                                                                 \
    .name = "arch", .offset = offsetof(config, arch), .type = OPTION_STRING, .section = "model", .metavar = "NAME", \
    .help = "net of a plain state dict, e.g. saved from PyTorch; other files name their own"                        \
  }
#define CLI_OPTION_MODEL_POOL(config)                                                                               \
  {                                                                                                                 \
    .name = "pool", .offset = offsetof(config, pool), .type = OPTION_STRING, .section = "model", .metavar = "NAME", \
    .help = "pooling of a plain state dict"                                                                         \
  }

/* A net to be made. */
#define CLI_OPTION_NET_ARCH(config)                                                                               \
  {                                                                                                               \
    .name = "arch", .offset = offsetof(config, arch), .type = OPTION_STRING, .section = "net", .metavar = "NAME", \
    .default_text = "resnet20", .help = "net; `gausspool info --list` names them"                                 \
  }
#define CLI_OPTION_NET_POOL(config)                                                                               \
  {                                                                                                               \
    .name = "pool", .offset = offsetof(config, pool), .type = OPTION_STRING, .section = "net", .metavar = "NAME", \
    .default_text = "gauss_CN", .help = "pooling; `gausspool info --list` names them"                             \
  }
/* 0 means what the net was published for: cli_usual_sizes(). */
#define CLI_OPTION_CLASSES(config)                                                                                  \
  {                                                                                                                 \
    .name = "classes", .offset = offsetof(config, classes), .type = OPTION_INT64, .section = "net", .metavar = "N", \
    .default_text = "0", .min = 0, .max = 1000000, .help = "classes; 0: as published for the net"                   \
  }
#define CLI_OPTION_CHANNELS(config)                                                                                   \
  {                                                                                                                   \
    .name = "channels", .offset = offsetof(config, channels), .type = OPTION_INT64, .section = "net", .metavar = "N", \
    .default_text = "0", .min = 0, .max = 3, .help = "channels of the images: 1 grey, 3 colour; 0: as for the net"    \
  }
#define CLI_OPTION_IMAGE(config, option, field)                                                                     \
  {                                                                                                                 \
    .name = option, .offset = offsetof(config, field), .type = OPTION_INT64, .section = "net", .metavar = "PIXELS", \
    .default_text = "0", .min = 0, .max = 16384,                                                                    \
    .help = "height and width of the images; 0: as for the net, 224 or in the CIFAR-style ones 32"                  \
  }

/* Test images. */
#define CLI_OPTION_DATASET(config, in_section, text)                                                      \
  {                                                                                                       \
    .name = "dataset", .offset = offsetof(config, dataset), .type = OPTION_STRING, .section = in_section, \
    .metavar = "NAME", .help = text                                                                       \
  }
#define CLI_OPTION_DATA(config, in_section)                                                                         \
  {                                                                                                                 \
    .name = "data", .offset = offsetof(config, data), .type = OPTION_PATH, .section = in_section, .metavar = "DIR", \
    .help = "its folder (default: where the data set's package puts it)"                                            \
  }
#define CLI_OPTION_LOGITS_OUT(config, text)                                                                 \
  {                                                                                                         \
    .name = "logits-out", .offset = offsetof(config, logits_out), .type = OPTION_PATH, .section = "output", \
    .metavar = "FILE.npy", .help = text                                                                     \
  }

#endif
