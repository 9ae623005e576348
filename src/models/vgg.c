/* VGG (Simonyan and Zisserman, ICLR 2015) as published for Gaussian pooling: `orig` with batch norm in place of dropout or
 * without either; `bow`, whose last pooling is a 1×1 convolution to 4096 channels and a global average. Layers are named
 * by their number, counted as in torch.nn.Sequential. */
#include <stdio.h>
#include <string.h>

#include "models/registry.h"

enum { STAGES = 5, CELLS = 7, WIDE = 4096 };
static const double eps = 1e-4;

typedef struct spec {
  const char *arch;
  int32_t convolutions[STAGES]; /* of each stage; a pooling follows each */
  bool bow, norm;
} spec;

static const int64_t widths[STAGES] = {64, 128, 256, 512, 512};

static const spec nets[] = {
    {"vgg11orig", {1, 1, 2, 2, 2}, false, false}, {"vgg11orig_bn", {1, 1, 2, 2, 2}, false, true},
    {"vgg13orig", {2, 2, 2, 2, 2}, false, false}, {"vgg13orig_bn", {2, 2, 2, 2, 2}, false, true},
    {"vgg16orig", {2, 2, 3, 3, 3}, false, false}, {"vgg16orig_bn", {2, 2, 3, 3, 3}, false, true},
    {"vgg19orig", {2, 2, 4, 4, 4}, false, false}, {"vgg19orig_bn", {2, 2, 4, 4, 4}, false, true},
    {"vgg11bow", {1, 1, 2, 2, 2}, true, false},   {"vgg11bow_bn", {1, 1, 2, 2, 2}, true, true},
    {"vgg13bow", {2, 2, 2, 2, 2}, true, false},   {"vgg13bow_bn", {2, 2, 2, 2, 2}, true, true},
    {"vgg16bow", {2, 2, 3, 3, 3}, true, false},   {"vgg16bow_bn", {2, 2, 3, 3, 3}, true, true},
    {"vgg19bow", {2, 2, 4, 4, 4}, true, false},   {"vgg19bow_bn", {2, 2, 4, 4, 4}, true, true},
};

/* A torch.nn.Sequential being built: layers without parameters are numbered too. */
typedef struct sequence {
  const model_context *m;
  const spec *s;
  nn_ref x;
  int32_t next;
  char name[16];
} sequence;

static const char *next_name(sequence *q) {
  snprintf(q->name, sizeof q->name, "%d", q->next++);
  return q->name;
}

/* Batch norm, if the net has it, and ReLU. */
static void activate(sequence *q) {
  nn_graph *g = q->m->graph;
  if (q->s->norm) q->x = nn_batch_norm(g, q->x, &(nn_batch_norm_desc){.name = next_name(q), .eps = eps});
  q->x = nn_relu(g, q->x);
  ++q->next;
}

static void convolve(sequence *q, int64_t out, int32_t kernel) {
  q->x = nn_conv(q->m->graph, q->x,
                 &(nn_conv_desc){.name = next_name(q),
                                 .out = out,
                                 .kernel = kernel,
                                 .padding = kernel / 2,
                                 .bias = true,
                                 .init = q->m->family->convolution_init});
  activate(q);
}

static void connect(sequence *q, int64_t out) {
  q->x = nn_linear(q->m->graph, q->x,
                   &(nn_linear_desc){.name = next_name(q), .out = out, .init = q->m->family->convolution_init});
}

static nn_ref features(const model_context *m, const spec *s, nn_ref x) {
  sequence q = {.m = m, .s = s, .x = x};
  nn_push_scope(m->graph, "features");
  for (int32_t stage = 0; stage < STAGES; ++stage) {
    for (int32_t i = 0; i < s->convolutions[stage]; ++i) convolve(&q, widths[stage], 3);
    if (s->bow && stage == STAGES - 1)
      convolve(&q, WIDE, 1);
    else
      q.x = model_pool(m, q.x, next_name(&q), (model_window){2, 2, 0});
  }
  nn_pop_scope(m->graph);
  return q.x;
}

static nn_ref classifier(const model_context *m, const spec *s, nn_ref x) {
  sequence q = {.m = m, .s = s, .x = x};
  nn_push_scope(m->graph, "classifier");
  for (int32_t hidden = s->bow ? 1 : 2; hidden > 0; --hidden) {
    connect(&q, WIDE);
    activate(&q);
  }
  connect(&q, m->desc->classes);
  nn_pop_scope(m->graph);
  return q.x;
}

static nn_ref build(const model_context *m, nn_ref x, int32_t net) {
  const spec *s = &nets[net];
  int64_t cells = s->bow ? 1 : CELLS;
  x = nn_adaptive_avg_pool(m->graph, features(m, s, x), cells, cells);
  return classifier(m, s, x);
}

static const char *arch(int32_t net) { return net < (int32_t)(sizeof nets / sizeof *nets) ? nets[net].arch : NULL; }

/* torchvision's vgg16 and vgg16_bn are vgg16orig and vgg16orig_bn but for these things. */
static bool hint(const char *name, char text[MODEL_HINT_SIZE]) {
  for (int32_t i = 0; arch(i) != NULL; ++i) {
    char theirs[32];
    const char *orig = strstr(arch(i), "orig");
    if (orig == NULL) continue;
    snprintf(theirs, sizeof theirs, "%.*s%s", (int)(orig - arch(i)), arch(i), orig + strlen("orig"));
    if (strcmp(theirs, name) != 0) continue;
    snprintf(text, MODEL_HINT_SIZE, "%s is torchvision's %s %s", arch(i), name,
             nets[i].norm ? "with eps 1e-4 in its batch norms, and batch norms in place of the classifier's dropout"
                          : "without its dropout");
    return true;
  }
  return false;
}

const model_family model_vgg = {.usual = {"VGG", 3, 224, 1000},
                                .convolution_init = NN_INIT_NORMAL_001,
                                .needs_pooling = true,
                                .arch = arch,
                                .build = build,
                                .hint = hint};
