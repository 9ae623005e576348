/* The structure of ONNX files, read back with protobuf-c: names, shapes, operators, attributes, weights, metadata. (That other
 * programs compute the same with them is tested in tests/cli/test_onnx.py.) */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <onnx.pb-c.h>

#include "base/memory.h"
#include "export/onnx_model.h"
#include "train/file.h"

enum { HEIGHT = 9, WIDTH = 7, CLASSES = 4 };

static char path[64];

static int make_path(void **state) {
  (void)state;
  snprintf(path, sizeof path, "test_export_XXXXXX");
  const int fd = mkstemp(path);
  return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
  (void)state;
  return unlink(path);
}

/* ---- Nets ---- */

static nn_ref conv(nn_graph *g, nn_ref x, const char *name, int64_t out, bool bias) {
  return nn_conv(
      g, x,
      &(nn_conv_desc){.name = name, .out = out, .kernel = 3, .padding = 1, .stride = 2, .groups = 2, .bias = bias});
}

/* Two convolutions, of one of which sigma alone reads, a pooling with guides, and a classifier. */
static nn_graph *guided(gp_pool_kind kind) {
  nn_graph *g = NULL;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = nn_input(g, 2, HEIGHT, WIDTH);
  x = nn_relu(g, nn_batch_norm(g, conv(g, x, "stem.conv", 6, true), &(nn_batch_norm_desc){.name = "stem.norm"}));
  nn_ref z = nn_global_avg_pool(g, x);
  nn_ref mu = nn_linear(g, z, &(nn_linear_desc){.name = "mu", .out = 6, .conv_shape = true});
  nn_ref sigma = nn_sigmoid(g, nn_linear(g, z, &(nn_linear_desc){.name = "sigma", .out = 6, .conv_shape = true}));
  x = nn_pool(g, x,
              &(nn_pool_desc){.name = "pool",
                              .kind = kind,
                              .kernel = 3,
                              .stride = 2,
                              .padding = 1,
                              .ceil_mode = true,
                              .stochasticity = GP_STOCHASTIC_CN,
                              .mu = mu,
                              .sigma = sigma,
                              .weight = mu});
  x = nn_linear(g, nn_dropout(g, x, 0.5), &(nn_linear_desc){.name = "fc", .out = CLASSES});
  nn_cross_entropy(g, nn_dropout(g, x, 0.1), &(nn_cross_entropy_desc){0});
  assert_int_equal(nn_graph_status(g), GP_OK);
  return g;
}

static nn_net *net_of(nn_graph *g) {
  nn_net *net = NULL;
  if (nn_net_create(&net, &g, &(nn_net_desc){.batch = 1}) != GP_OK) fail_msg("%s", gp_last_error());
  assert_int_equal(nn_net_init(net, 3), GP_OK);
  return net;
}

static model_info info_of(void) {
  static char *names[CLASSES] = {"cat", "dog", "\"quoted\"", "h\xc3\xa9ron"};
  return (model_info){.arch = "resnet8",
                      .pool = "gauss_CN",
                      .dataset = "zoo",
                      .classes = CLASSES,
                      .class_names = names,
                      .channels = 2,
                      .height = HEIGHT,
                      .width = WIDTH,
                      .resize = 12,
                      .mean = {0.25f, 0.5f},
                      .std = {0.125f, 1}};
}

static Onnx__ModelProto *read_back(void) {
  void *data = NULL;
  size_t bytes = 0;
  assert_int_equal(file_read_whole(path, 0, &data, &bytes), GP_OK);
  Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, bytes, data);
  assert_non_null(model);
  gp_free(data);
  return model;
}

static Onnx__ModelProto *written(nn_graph *g, onnx_summary *summary) {
  nn_net *net = net_of(g);
  const model_info info = info_of();
  if (onnx_write(path, net, &info, summary) != GP_OK) fail_msg("%s", gp_last_error());
  nn_net_destroy(&net);
  return read_back();
}

static void release(Onnx__ModelProto *model) { onnx__model_proto__free_unpacked(model, NULL); }

/* ---- Looking ---- */

static const Onnx__NodeProto *node_of(const Onnx__ModelProto *model, const char *op, const char *name) {
  for (size_t i = 0; i < model->graph->n_node; ++i) {
    const Onnx__NodeProto *node = model->graph->node[i];
    if (strcmp(node->op_type, op) == 0 && strncmp(node->name, name, strlen(name)) == 0) return node;
  }
  fail_msg("no %s in %s", op, name);
  return NULL;
}

static size_t count_ops(const Onnx__ModelProto *model, const char *op) {
  size_t count = 0;
  for (size_t i = 0; i < model->graph->n_node; ++i) count += strcmp(model->graph->node[i]->op_type, op) == 0;
  return count;
}

static const Onnx__TensorProto *tensor_of(const Onnx__ModelProto *model, const char *name) {
  for (size_t i = 0; i < model->graph->n_initializer; ++i)
    if (strcmp(model->graph->initializer[i]->name, name) == 0) return model->graph->initializer[i];
  return NULL;
}

static const Onnx__AttributeProto *attribute_of(const Onnx__NodeProto *node, const char *name) {
  for (size_t i = 0; i < node->n_attribute; ++i)
    if (strcmp(node->attribute[i]->name, name) == 0) return node->attribute[i];
  fail_msg("%s has no %s", node->name, name);
  return NULL;
}

static void check_ints(const Onnx__NodeProto *node, const char *name, size_t count, const int64_t *expected) {
  const Onnx__AttributeProto *attribute = attribute_of(node, name);
  assert_int_equal(attribute->type, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
  assert_int_equal(attribute->n_ints, count);
  for (size_t i = 0; i < count; ++i) assert_int_equal(attribute->ints[i], expected[i]);
}

static const char *metadata_of(const Onnx__ModelProto *model, const char *key) {
  for (size_t i = 0; i < model->n_metadata_props; ++i)
    if (strcmp(model->metadata_props[i]->key, key) == 0) return model->metadata_props[i]->value;
  fail_msg("no metadata %s", key);
  return NULL;
}

static void check_shape(const Onnx__ValueInfoProto *value, const char *name, size_t rank, const int64_t *expected) {
  const Onnx__TensorShapeProto *shape = value->type->tensor_type->shape;
  assert_string_equal(value->name, name);
  assert_int_equal(value->type->tensor_type->elem_type, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
  assert_int_equal(shape->n_dim, rank + 1);
  assert_string_equal(shape->dim[0]->dim_param, "batch");
  for (size_t i = 0; i < rank; ++i) assert_int_equal(shape->dim[i + 1]->dim_value, expected[i]);
}

/* ---- Tests ---- */

static void header_and_interface(void **state) {
  (void)state;
  onnx_summary summary;
  Onnx__ModelProto *model = written(guided(GP_POOL_ISP_GAUSSIAN), &summary);
  assert_int_equal(model->ir_version, 7);
  assert_int_equal(model->n_opset_import, 1);
  assert_string_equal(model->opset_import[0]->domain, "");
  assert_int_equal(model->opset_import[0]->version, ONNX_OPSET);
  assert_string_equal(model->producer_name, "gausspool");
  assert_string_equal(model->producer_version, gp_version());
  assert_int_equal(model->graph->n_input, 1);
  check_shape(model->graph->input[0], ONNX_INPUT, 3, (int64_t[]){2, HEIGHT, WIDTH});
  assert_int_equal(model->graph->n_output, 1);
  check_shape(model->graph->output[0], ONNX_OUTPUT, 1, (int64_t[]){CLASSES});
  assert_int_equal(summary.nodes, model->graph->n_node);
  assert_int_equal(summary.initializers, model->graph->n_initializer);
  assert_int_equal(summary.bytes, onnx__model_proto__get_packed_size(model));
  assert_string_equal(metadata_of(model, "arch"), "resnet8");
  assert_string_equal(metadata_of(model, "input_shape"), "[2,9,7]");
  assert_string_equal(metadata_of(model, "resize"), "[12]");
  assert_string_equal(metadata_of(model, "mean"), "[0.25,0.5]");
  assert_string_equal(metadata_of(model, "class_names"), "[\"cat\",\"dog\",\"\\\"quoted\\\"\",\"h\xc3\xa9ron\"]");
  release(model);
}

/* Every input is the graph's, a constant, or made before; every name is made once; every constant is read. */
static void names_are_in_order(void **state) {
  (void)state;
  for (gp_pool_kind kind = 0; gp_pool_kind_name(kind) != NULL; ++kind) {
    Onnx__ModelProto *model = written(guided(kind), NULL);
    const Onnx__GraphProto *graph = model->graph;
    for (size_t c = 0; c < graph->n_initializer; ++c) {
      const char *name = graph->initializer[c]->name;
      if (tensor_of(model, name) != graph->initializer[c]) fail_msg("%s is there twice", name);
      size_t readers = 0;
      for (size_t i = 0; i < graph->n_node; ++i)
        for (size_t k = 0; k < graph->node[i]->n_input; ++k) readers += strcmp(graph->node[i]->input[k], name) == 0;
      if (readers == 0) fail_msg("%s: nobody reads %s", gp_pool_kind_name(kind), name);
    }
    for (size_t i = 0; i < graph->n_node; ++i) {
      const Onnx__NodeProto *node = graph->node[i];
      for (size_t k = 0; k < node->n_input; ++k) {
        bool known = strcmp(node->input[k], ONNX_INPUT) == 0 || tensor_of(model, node->input[k]) != NULL;
        for (size_t j = 0; j < i; ++j) known = known || strcmp(graph->node[j]->output[0], node->input[k]) == 0;
        if (!known) fail_msg("%s reads %s, which nobody made before", node->name, node->input[k]);
      }
      for (size_t j = 0; j < i; ++j) assert_string_not_equal(graph->node[j]->output[0], node->output[0]);
    }
    assert_string_equal(graph->node[graph->n_node - 1]->output[0], ONNX_OUTPUT);
    release(model);
  }
}

static void layers_have_their_attributes_and_weights(void **state) {
  (void)state;
  nn_net *net = net_of(guided(GP_POOL_ISP_GAUSSIAN));
  Onnx__ModelProto *model = written(guided(GP_POOL_ISP_GAUSSIAN), NULL);
  const Onnx__NodeProto *node = node_of(model, "Conv", "stem.conv");
  check_ints(node, "kernel_shape", 2, (int64_t[]){3, 3});
  check_ints(node, "strides", 2, (int64_t[]){2, 2});
  check_ints(node, "dilations", 2, (int64_t[]){1, 1});
  check_ints(node, "pads", 4, (int64_t[]){1, 1, 1, 1});
  assert_int_equal(attribute_of(node, "group")->i, 2);
  assert_int_equal(node->n_input, 3);
  assert_string_equal(node->input[1], "stem.conv.weight");
  assert_string_equal(node->input[2], "stem.conv.bias");
  node = node_of(model, "BatchNormalization", "stem.norm");
  assert_int_equal(node->n_input, 5);
  assert_string_equal(node->input[4], "stem.norm.running_var");
  assert_true(attribute_of(node, "epsilon")->f == 1e-5f);
  assert_int_equal(attribute_of(node_of(model, "Gemm", "fc"), "transB")->i, 1);
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info expected = nn_net_state(net, i);
    const Onnx__TensorProto *tensor = tensor_of(model, expected.name);
    if (expected.is_int64 || strncmp(expected.name, "sigma", 5) == 0) {
      assert_null(tensor); /* of no use at inference */
      continue;
    }
    float values[512];
    assert_true(expected.elements <= 512);
    assert_int_equal(nn_net_state_read(net, i, NN_VALUE, values), GP_OK);
    if (tensor == NULL) fail_msg("no %s", expected.name);
    assert_int_equal(tensor->data_type, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    assert_int_equal(tensor->n_dims, expected.rank);
    for (int32_t d = 0; d < expected.rank; ++d) assert_int_equal(tensor->dims[d], expected.shape[d]);
    assert_int_equal(tensor->raw_data.len, (size_t)expected.elements * sizeof(float));
    assert_memory_equal(tensor->raw_data.data, values, tensor->raw_data.len);
  }
  nn_net_destroy(&net);
  release(model);
}

/* The library's own poolings where they are the same; with what ceil_mode adds, averages are not. */
static void poolings_are_standard_operators(void **state) {
  (void)state;
  Onnx__ModelProto *model = written(guided(GP_POOL_MAX), NULL);
  /* 5×4 with padding 1, windows of 3 that step by 2: 3 rows, and 3 columns of which the last begins at 3 of 4. */
  check_ints(node_of(model, "MaxPool", "pool"), "pads", 4, (int64_t[]){1, 1, 1, 2});
  release(model);
  model = written(guided(GP_POOL_AVERAGE), NULL);
  assert_int_equal(count_ops(model, "AveragePool"), 0);
  const Onnx__TensorProto *divisor = tensor_of(model, "pool/divisor");
  assert_non_null(divisor);
  assert_int_equal(divisor->n_dims, 4);
  float values[9];
  assert_int_equal(divisor->raw_data.len, sizeof values);
  memcpy(values, divisor->raw_data.data, sizeof values);
  for (int i = 0; i < 9; ++i) assert_true(values[i] == (i % 3 == 2 ? 6 : 9));
  release(model);
}

static nn_graph *plain_average(int32_t kernel, int64_t height, int64_t width) {
  nn_graph *g = NULL;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = nn_input(g, 2, HEIGHT, WIDTH);
  if (kernel > 0) x = nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_AVERAGE, .kernel = kernel});
  if (height > 0) x = nn_adaptive_avg_pool(g, x, height, width);
  x = nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = CLASSES});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
  return g;
}

static void averages(void **state) {
  (void)state;
  Onnx__ModelProto *model = written(plain_average(2, 0, 0), NULL);
  check_ints(node_of(model, "AveragePool", "pool"), "strides", 2, (int64_t[]){2, 2});
  release(model);
  model = written(plain_average(0, 3, 1), NULL);
  check_ints(node_of(model, "AveragePool", "adaptive"), "kernel_shape", 2, (int64_t[]){3, 7});
  release(model);
  model = written(plain_average(0, 4, 3), NULL);
  assert_int_equal(count_ops(model, "MatMul"), 2);
  const Onnx__TensorProto *rows = tensor_of(model, "adaptive_avg_pool_1/rows");
  assert_non_null(rows);
  float shares[4 * HEIGHT];
  assert_int_equal(rows->raw_data.len, sizeof shares);
  memcpy(shares, rows->raw_data.data, sizeof shares);
  for (int cell = 0; cell < 4; ++cell) {
    float sum = 0;
    for (int i = 0; i < HEIGHT; ++i) sum += shares[cell * HEIGHT + i];
    assert_true(fabsf(sum - 1) < 1e-6f);
  }
  assert_true(shares[3 * HEIGHT + 5] == 0 && shares[3 * HEIGHT + 6] == 1.0f / 3); /* 27/4 to 36/4 */
  release(model);
}

static void too_large_a_model_is_refused(void **state) {
  (void)state;
  onnx_model *m = NULL;
  assert_int_equal(onnx_model_create(&m), GP_OK);
  assert_non_null(onnx_floats(m, 1000));
  assert_null(onnx_floats(m, (int64_t)1 << 29)); /* 2 GiB: not even asked for */
  assert_int_equal(onnx_model_status(m), GP_ERROR_UNSUPPORTED);
  assert_non_null(strstr(gp_last_error(), "2 GiB"));
  assert_null(onnx_number(m, 1));
  assert_int_equal(onnx_model_commit(m, path, NULL), GP_ERROR_UNSUPPORTED);
  onnx_model_destroy(&m);
  assert_int_equal(onnx_model_create(&m), GP_OK);
  assert_null(onnx_floats(m, INT64_MAX / 2));
  onnx_model_destroy(&m);
}

static void failures_leave_the_old_file(void **state) {
  (void)state;
  nn_net *net = net_of(guided(GP_POOL_GATED));
  model_info info = info_of();
  onnx_summary summary, again;
  assert_int_equal(onnx_write(path, net, &info, &summary), GP_OK);
  for (uint64_t n = 1;; ++n) {
    gp_alloc_fail_after(n);
    gp_status status = onnx_write(path, net, &info, &again);
    gp_alloc_fail_after(0);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_true(n < 100000);
  }
  assert_memory_equal(&summary, &again, sizeof summary);
  info.class_names = NULL;
  assert_int_equal(onnx_write(path, net, &info, NULL), GP_ERROR_INVALID_ARGUMENT);
  Onnx__ModelProto *model = read_back();
  assert_int_equal(model->graph->n_node, summary.nodes);
  release(model);
  nn_net_destroy(&net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(header_and_interface),
      cmocka_unit_test(names_are_in_order),
      cmocka_unit_test(layers_have_their_attributes_and_weights),
      cmocka_unit_test(poolings_are_standard_operators),
      cmocka_unit_test(averages),
      cmocka_unit_test(too_large_a_model_is_refused),
      cmocka_unit_test(failures_leave_the_old_file),
  };
  return cmocka_run_group_tests(tests, make_path, remove_path);
}
